"""Opening and closing a run: the session above it, its data checked first, its figures logged last."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from typing import TYPE_CHECKING

from prodkit.capture import autolog, calls, code, guard, inputs, profiles, provenance
from prodkit.capture.context import current_run, enter, leave, open_runs
from prodkit.capture.host import CaptureHost
from prodkit.capture.options import RunOptions
from prodkit.capture.runs import OpenRun
from prodkit.errors import BudgetError, DataError, ProdkitError
from prodkit.manifest import find_project
from prodkit.records import RunSpec, RunSummary, Status, now

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.manifest import Project

PARENT_RUN = "PRODKIT_PARENT_RUN"
PARENT_KEY = "PRODKIT_PARENT_KEY"
_LEFT = (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)
_PARAM_LENGTH = 6_000  # as much as MLflow keeps

_host = CaptureHost()
_sessions: dict[tuple[int, Path, str], OpenRun] = {}  # (process, project, notebook) -> session run
_lock = threading.RLock()


def open_run(options: RunOptions) -> OpenRun:
    """Open a run: journal it, check its data, and capture every model call from here on.

    The run belongs to the current thread or task and to what they start; close it with `close_run`.

    Raises:
        ParameterError: an input isn't there.
        DataError: the data breaks its contract, or the run is strict and uses unchecked data; the refusal is logged.
        ProdkitError: the kill switch is on.
        ConfigError: the manifest is wrong, or the journal can't be written.
    """
    project = options.project or find_project()
    parent = _parent(options, project)
    run = OpenRun(options, project, parent)
    autolog.switch_on(_host, project.tracking_uri)
    guard.place()
    _start(run)
    try:
        _check_inputs(run)
        run.sight.__enter__()
    except BaseException as error:
        close_run(run, error)
        raise
    return run


def close_run(run: OpenRun, error: BaseException | None = None) -> RunSummary:
    """Close a run and log its figures; `error` is what ended it. Closing twice changes nothing."""
    with _lock:
        if run.closed:
            return run.summary()
        _end_streams(run)
        for call in calls.orphans(run):
            call.end_span()
        still = autolog.release_all(run) + sum(call.leaf is not None for call in calls.unfinished(run))
        if still:
            what = "1 trace was" if still == 1 else f"{still} traces were"
            run.note(f"{what} still open when the run ended; what is open is logged when it ends.")
        run.ended = now()
        run.sight.__exit__(None, None, None)
        leave(run)
        run.status = _status(error)
    seen = provenance.look(run)
    _log_outputs(run)
    settled = all(sighting.settled for sighting in seen)
    if settled:
        provenance.log(run, seen)
    _log_end(run, error)
    if not settled:  # files are read for their ids while the user goes on
        run.ledger.later(run.handle, functools.partial(provenance.log, run, seen))
    if not open_runs():
        autolog.switch_off()
    return run.summary()


def _parent(options: RunOptions, project: Project) -> OpenRun | None:
    above = current_run()
    if above is not None and above.project.root == project.root:
        return above
    return open_session(project, options.notebook) if options.in_session else None


def open_session(project: Project, notebook: Path | None = None) -> OpenRun:
    """The session run of this process and notebook: opened once, closed when the process ends."""
    with _lock:
        key = (os.getpid(), project.root, str(notebook or ""))
        session = _sessions.get(key)
        if session is None or session.closed:
            name = notebook.stem if notebook is not None else "session"
            options = RunOptions(name=name, kind="session", notebook=notebook, project=project)
            session = _sessions[key] = OpenRun(options, project, None)
            _start(session)
            if len(_sessions) == 1:
                atexit.register(_close_sessions)
        return session


def _close_sessions() -> None:
    for (pid, *_), session in list(_sessions.items()):
        if pid == os.getpid():
            close_run(session)


def _start(run: OpenRun) -> None:
    """Journal the run, and make it the current one."""
    options = run.options
    above_key = run.parent.key if run.parent is not None else os.environ.get(PARENT_KEY, "")
    above_id = run.parent.handle.run_id if run.parent is not None else os.environ.get(PARENT_RUN, "")
    said = {
        "prodkit.kind": options.kind,
        "prodkit.cell": options.cell,
        "prodkit.user": run.stamp.user,
        "prodkit.data_source": run.stamp.source,
        "prodkit.strict": str(options.strict).lower() if options.strict else "",
    }
    tags = {name: value for name, value in said.items() if value}
    params = dict(options.params)
    if options.budget is not None:
        params["budget_usd"] = str(options.budget)
    if options.code:
        params["source"] = options.code[:_PARAM_LENGTH]
    run.handle = run.ledger.start_run(
        RunSpec(
            name=run.name,
            kind=options.kind,
            key=run.key,
            parent_key=above_key,
            parent_run_id=above_id,
            started=run.started,
            params=params,
            tags={**tags, **code.describe(run.project.root, options.notebook), **options.tags},
        )
    )
    enter(run)


def _check_inputs(run: OpenRun) -> None:
    from prodkit.capture.admission import check_kill_switch

    options = run.options
    check_kill_switch(run)
    checked = []
    for name, frame in inputs.find(options).items():
        one = inputs.check(name, frame, run)
        checked.append(one)
        run.checked = tuple(checked)
        run.inputs[name] = one.frame
        _log_check(run, one)
        profiles.follow(run, one)
        if options.namespace is not None and options.namespace.get(name) is frame:
            options.namespace[name] = one.frame
    run.datasets = tuple(one.record for one in checked)
    if options.strict:
        _refuse_unchecked(run)


def _refuse_unchecked(run: OpenRun) -> None:
    options = run.options
    if not options.code:
        run.note("The run is strict, but its code can't be read here: only its inputs were checked.")
        return
    names = [name for name in code.names_used(options.code) if name not in run.inputs]
    found = inputs.unchecked(names, options.namespace or {})
    if found:
        raise inputs.refuse_unchecked(found)


def _log_check(run: OpenRun, one: inputs.CheckedInput) -> None:
    """The dataset, and what its check found, for the reviewers."""
    run.ledger.log_dataset(run.handle, one.record)
    validation = one.validation
    if validation is None:
        return
    if one.quarantine is not None:
        root, place = run.project.root, one.quarantine  # the state may lie outside of the project
        place = place.relative_to(root) if place.is_relative_to(root) else place
        run.note(f"{validation.failed} of {validation.checked} rows of `{one.name}` were set aside in {place}.")
    elif not validation.ok:
        broken = f"{validation.failed} of {validation.checked} rows of `{one.name}`"
        run.note(f"{broken} break their contract and are used all the same.")


def _end_streams(run: OpenRun) -> None:
    """What is read of a stream until its cell ends is what is recorded."""
    for call in calls.unfinished(run):
        reader = call.reader() if call.reader is not None else None
        if reader is not None:
            run.note("A stream wasn't read to its end; its cost is estimated.")
            reader.finish()


def _status(error: BaseException | None) -> Status:
    if error is None:
        return Status.OK
    if isinstance(error, _LEFT) or getattr(error, "code", "") == "capture.stopped":
        return Status.ABORTED
    refused = isinstance(error, BudgetError | DataError) or getattr(error, "code", "") == "capture.kill-switch"
    return Status.REFUSED if refused else Status.ERROR


def _log_outputs(run: OpenRun) -> None:
    """The frames that the run has made, by content."""
    found = dict(run.outputs)
    for name in run.options.outputs:
        if name in (run.options.namespace or {}):
            found[name] = run.options.namespace[name]  # type: ignore[index]  # in a namespace that is there
        elif name not in found:
            run.note(f"The output `{name}` wasn't made.")
    for name, frame in found.items():
        if not inputs.is_frame(frame):
            run.note(f"The output `{name}` is a {type(frame).__name__}, not a dataframe; it isn't recorded.")
            continue
        source, spec = inputs.source_of(name, frame, run.project)
        record = inputs.describe(name, frame, source, spec, context="output")
        run.datasets = (*run.datasets, record)
        run.ledger.log_dataset(run.handle, record)


def _log_end(run: OpenRun, error: BaseException | None) -> None:
    """Prompts, figures, source and the end, in this order: after the end nobody looks."""
    run.recogniser.register(run)
    metrics = run.tally.metrics() | run.meter.read(run.manifest.compute).metrics()
    for verdict in run.verdicts:
        for name, value in verdict.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value
    params, tags = {}, {}
    for one in run.checked:
        params[f"fingerprint.{one.name}"] = one.record.fingerprint
    if run.options.code:
        run.ledger.log_text(run.handle, run.options.code, "source/cell.py")
    if error is not None:
        tags["prodkit.error"] = error.code if isinstance(error, ProdkitError) else type(error).__name__
    if run.tally.models:
        params["models"] = ", ".join(run.tally.models)
    if run.tally.simulated:
        tags["prodkit.simulated"] = "true"
    run.ledger.end_run(run.handle, status=run.status, metrics=metrics, tags=tags, params=params)
