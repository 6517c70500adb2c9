"""What the retention period has run out for is gone, byte by byte; what is younger is there, and the journal proves it."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from prodkit.jobs import retention
from prodkit.jobs.ends import Outcome
from prodkit.jobs.history import History
from prodkit.ledger import Ledger, events
from prodkit.ledger.audit import Audit
from prodkit.ledger.mlflow_adapter import Mlflow
from prodkit.ledger.retention import act
from prodkit.ledger.segments import list_segments
from prodkit.manifest import find_project
from prodkit.records import DatasetRecord, FeedbackRecord, Status, now

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.manifest import Project

OLD, YOUNG = "CANARYold4711", "CANARYyoung4712"
AGO = timedelta(days=200)


@dataclass
class Filled:
    """A project with a run of 200 days ago and one of now."""

    project: Project
    old: Any
    young: Any
    where_old: set[str]


def holding(state: Path, word: str) -> set[str]:
    """The files below the state folder in which a word stands, whatever they are."""
    files = [path for path in state.rglob("*") if path.is_file()]
    return {str(path.relative_to(state)) for path in files if word.encode() in path.read_bytes()}


def write(ledger: Ledger, word: str, make_trace: Any, make_spec: Any, **more: Any) -> Any:
    run = ledger.start_run(make_spec(params={"source": f"ask({word!r})"}))
    trace = make_trace(run.key, prompt=f"prompt {word}", response=f"answer {word}", **more)
    ledger.log_trace(trace)
    ledger.log_dataset(run, DatasetRecord(f"table-{word}", f"file:///{word}", "d" + word[-4:]))
    ledger.log_text(run, f"notes {word}", "notes.txt")
    ledger.log_feedback(
        FeedbackRecord("f-" + word, trace.calls[0].request_id, trace.trace_id, "ada", 4.0, comment=word)
    )
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0
    ledger.close()
    Ledger._opened.pop(ledger.project.state, None)
    return run


def leave_files(state: Path, word: str, days: float) -> None:
    for name in ("quarantine/run-1/rows.jsonl", "spool/art-1/x.txt", "ui.log", "jobs/sample/job-1/attempt-1.ipynb"):
        path = state / name.replace("1", word[-4:]).replace("ui.log", f"ui{word[-4:]}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(word)
        os.utime(path, (time.time() - days * 86_400,) * 2)
    history = History(state / "jobs" / "history.db")
    history.begin("job-" + word[-4:], "sample", params={"text": word})
    history.end("job-" + word[-4:], Outcome.OK)


@pytest.fixture
def filled(project, open_ledger, make_trace, make_spec, monkeypatch) -> Filled:
    with monkeypatch.context() as patch:
        patch.setattr("prodkit.ledger.journal.now", lambda: now() - AGO)
        patch.setattr("prodkit.jobs.history._time", lambda _: now() - AGO)
        old = write(open_ledger(project), OLD, make_trace, make_spec)
        leave_files(project.state, OLD, 200)
    young = write(open_ledger(project), YOUNG, make_trace, make_spec)
    leave_files(project.state, YOUNG, 1)
    return Filled(project, old, young, holding(project.state, OLD))


def test_expired_bytes_are_gone_and_younger_ones_are_there(filled, client):
    """Database with free pages and WAL, artifacts, quarantine, spool, logs, notebooks, history: nothing old is left."""
    state = filled.project.state
    assert {"mlflow.db", "jobs/history.db"} <= filled.where_old
    assert any(name.startswith("artifacts/") for name in filled.where_old)
    before = holding(state, YOUNG)
    done = retention.clean_project(filled.project)

    assert holding(state, OLD) == set()
    assert holding(state, YOUNG) == before
    assert (done.ledger.traces, done.ledger.runs, done.ledger.requests) == (1, 1, 1)
    assert done.ledger.freed > 0
    assert done.ledger.left == ()
    [call] = [call for _, call, _ in Audit(filled.project).calls()]
    assert YOUNG in str(call.prompt)
    assert [run.info.run_id for run in client.search_runs(["1"])] == [filled.young.run_id]


def test_the_journal_says_what_was_removed_and_proves_the_rest(filled):
    """`verify` names the records, the day and the policy; the remaining chain, checkpoints and cursors still hold."""
    before = Audit(filled.project).verify()
    act.clean(filled.project)
    outcome = Audit(filled.project).verify()
    assert outcome.ok, outcome.flaws
    [removal] = outcome.removals
    assert (removal.days, removal.time[:10]) == (180.0, now().date().isoformat())
    assert outcome.records == before.records - removal.record + 2  # and the note itself, in a segment of its own
    assert act.clean(filled.project).records == 0


def test_a_segment_that_no_note_names_is_missed(filled):
    """Whoever removes records without the project's key is found out, before and after a real removal."""
    segments = list_segments(filled.project.state / "journal")
    segments[0].path.rename(segments[0].path.with_suffix(".away"))
    outcome = Audit(filled.project).verify()
    assert not outcome.ok
    assert any(flaw.kind == "deleted" for flaw in outcome.flaws)
    segments[0].path.with_suffix(".away").rename(segments[0].path)
    act.clean(filled.project)
    next(iter(list_segments(filled.project.state / "journal"))).path.unlink()
    assert not Audit(filled.project).verify().ok


def test_a_forged_note_is_no_note(filled, monkeypatch):
    """A note that was signed with another key explains nothing."""
    other = act.Ledger.open(filled.project).keyring.__class__(filled.project.state / "elsewhere")
    genuine = act.sign_note
    monkeypatch.setattr(act, "sign_note", lambda _, days, ends: genuine(other, days, ends))
    act.clean(filled.project)
    assert not Audit(filled.project).verify().ok


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (act._Cleaner, "_note"), (act._Cleaner, "_unlink"), (Mlflow, "delete_traces"), (Mlflow, "remove_run"),
        (Mlflow, "forget"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cleaning_that_was_killed_is_gone_on_with(filled, monkeypatch, owner, name, when):
    """Ended before or after any of its steps, it leaves a journal that verifies, and the next one removes the rest."""

    class Killed(BaseException):
        pass

    whole = getattr(owner, name)

    def killed(*args: Any) -> None:
        if when == "after":
            whole(*args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            act.clean(filled.project)
    assert Audit(filled.project).verify().ok
    act.clean(filled.project)
    assert Audit(filled.project).verify().ok
    state = filled.project.state
    assert not {one for one in holding(state, OLD) if one.startswith(("mlflow", "artifacts", "journal", "retention"))}
    assert act.Outbox(state / act.OUTBOX).count() == 0


def test_what_is_not_shipped_stays(project, open_ledger, make_trace, make_spec, monkeypatch):
    """Records that no MLflow has yet outlive their period; they go when they were shipped."""
    with monkeypatch.context() as patch:
        patch.setattr("prodkit.ledger.journal.now", lambda: now() - AGO)
        write(open_ledger(project), OLD, make_trace, make_spec)
        ledger = open_ledger(project)
        ledger.log_trace(make_trace())
        ledger.close()
    Ledger._opened.pop(project.state, None)
    open_ledger(project).log_metrics(ledger.start_run(make_spec()), {"x": 1.0})
    ledger.close()
    Ledger._opened.pop(project.state, None)
    done = act.clean(project)
    assert (done.requests, done.waiting) == (1, 1)
    Audit(project).sync()
    assert act.clean(project).requests == 1


def test_a_run_that_goes_on_stays(project, open_ledger, make_trace, make_spec, monkeypatch):
    """While the process that began a run lives, neither the run nor its records go, however old they are."""
    with monkeypatch.context() as patch:
        patch.setattr("prodkit.ledger.journal.now", lambda: now() - AGO)
        ledger = open_ledger(project)
        run = ledger.start_run(make_spec())
        ledger.log_trace(make_trace(run.key))
    ledger.journal._size = ledger.journal._segment_bytes  # the next record begins a new segment
    ledger.log_trace(make_trace(run.key))
    assert ledger.flush().pending == 0
    assert act.clean(project).records == 0
    ledger.end_run(run, status=Status.OK)
    ledger.flush()
    done = act.clean(project)
    assert (done.requests, done.runs) == (1, 0)  # younger records still belong to the run


def test_the_shorter_period_of_a_data_source_is_kept(project, open_ledger, make_trace, make_spec):
    """Content from a source with fewer days can't be read after its day, and its trace is gone, while the rest stays."""
    ledger = open_ledger(project)
    yesterday = now().date() - timedelta(days=1)
    run = ledger.start_run(make_spec())
    short = make_trace(run.key, prompt=OLD, retention_class="tickets", expires=yesterday)
    other = make_trace(run.key, prompt=YOUNG, retention_class=events.COMPLIANCE, expires=yesterday)
    for trace in (short, other):
        ledger.log_trace(trace)
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0
    done = act.clean(project)
    assert (done.days_ended, done.traces, done.records) == ((yesterday.isoformat(),), 1, 0)
    assert [(call.request_id, erased) for _, call, erased in Audit(project).calls()] == [
        (short.calls[0].request_id, True), (other.calls[0].request_id, False),
    ]  # fmt: skip
    assert Audit(project).verify().ok
    assert not {name for name in holding(project.state, OLD) if name.startswith("mlflow")}
    assert act.clean(project).days_ended == ()


def test_a_run_that_somebody_has_decided_on_stays_without_its_artifacts(filled, client):
    """An approval is evidence: the run keeps its tags, and loses what it held of content."""
    client.set_tag(filled.old.run_id, "prodkit.review", "approved")
    act.clean(filled.project)
    assert client.get_run(filled.old.run_id).data.tags["prodkit.review"] == "approved"
    assert not any(name.startswith("artifacts/") for name in holding(filled.project.state, OLD))


def test_a_place_that_cannot_be_reached_is_cleaned_later(filled, monkeypatch):
    """What an MLflow that is away still holds is listed, said, and removed when it is back."""
    with monkeypatch.context() as patch:
        patch.setattr(act, "probe", lambda _: "nobody answers")
        done = act.clean(filled.project)
    assert (done.records > 0, done.traces) == (True, 0)
    assert "nobody answers" in done.left[0]
    assert holding(filled.project.state, OLD) & {"mlflow.db"}
    done = act.clean(filled.project)
    assert (done.records, done.traces, done.left) == (0, 1, ())
    assert not holding(filled.project.state, OLD) & {"mlflow.db"}


def test_the_next_job_cleans_once_a_day(filled, monkeypatch):
    """A job looks once a day; a failure is no job's failure."""
    assert retention.clean_if_due(filled.project).ledger.requests == 1
    assert retention.clean_if_due(filled.project) is None
    stamp = filled.project.state / retention.STAMP
    os.utime(stamp, (time.time() - 90_000,) * 2)

    def fail(*_args: Any, **_options: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(act, "clean", fail)
    assert retention.clean_if_due(filled.project) is None


def test_the_manifest_says_how_long(filled):
    """With a longer period in the manifest nothing goes."""
    root = filled.project.root
    manifest = yaml.safe_load((root / "prodkit.yaml").read_text()) | {"compliance": {"retention_days": 365}}
    (root / "prodkit.yaml").write_text(yaml.safe_dump(manifest))
    longer = find_project(root)
    assert longer.manifest.compliance.retention_days == 365
    assert act.preview(longer).records == 0
    assert act.clean(longer).records == 0
    assert act.preview(dataclasses.replace(longer, manifest=filled.project.manifest)).requests == 1
