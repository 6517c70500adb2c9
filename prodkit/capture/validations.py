"""What checks of data have found, where a reviewer looks: report and figures at the run, a span among its traces."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.capture import autolog
from prodkit.capture.context import current_run
from prodkit.contracts.checking import listeners
from prodkit.ledger.telling import to_base64
from prodkit.records import TraceRecord

if TYPE_CHECKING:
    from prodkit.capture.runs import OpenRun
    from prodkit.contracts import Validation
    from prodkit.errors import DataError
    from prodkit.records import Finding

KIND = "TASK"
MOST_REPORTS = 20
"""Reports that one run keeps; a loop that checks thousands of batches has a span for each of them all the same."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check has found, without the data."""

    name: str
    checked: int
    set_aside: int
    findings: tuple[Finding, ...]
    metrics: dict[str, float]


def record(run: OpenRun, name: str, validation: Validation, *, fingerprint: str = "") -> None:
    """Record a check with a run: the report as artifacts, the figures, and a span.

    Args:
        run: the open run.
        name: what the dataset is called.
        validation: what was found.
        fingerprint: content id of the rows that go on, where it is known.
    """
    refused = _refusal(validation)
    set_aside = validation.failed if validation.mode == "quarantine" and refused is None else 0
    verdict = Verdict(name, validation.checked, set_aside, validation.findings, validation.metrics())
    if run.judged(verdict) <= MOST_REPORTS:
        run.ledger.log_text(run.handle, validation.to_html(), f"validation/{name}.html")
        run.ledger.log_text(run.handle, validation.to_markdown(), f"validation/{name}.md")
    else:
        run.note(f"The run has checked data more than {MOST_REPORTS} times; the later reports are in its traces alone.")
    _log_span(run, verdict, validation, fingerprint, refused)


def _refusal(validation: Validation) -> DataError | None:
    """What using the rows would raise; None where they may be used."""
    may_split = validation.mode == "warn" or (validation.mode == "quarantine" and not validation.whole)
    return None if validation.ok or may_split else validation.refuse_error()


def _log_span(
    run: OpenRun, verdict: Verdict, validation: Validation, fingerprint: str, refused: DataError | None
) -> None:
    inputs = {
        "dataset": verdict.name,
        "fingerprint": fingerprint or None,
        "contract": validation.contract,
        "version": validation.version or None,
        "mode": validation.mode,
        "engine": validation.engine,
    }
    outputs = {
        "ok": validation.ok,
        "rules": validation.rules,
        "rows_checked": validation.checked,
        "rows_failed": validation.failed,
        "rows_set_aside": verdict.set_aside,
        "failed": {finding.rule: finding.count for finding in validation.findings},
        "unchecked": list(validation.unchecked),
    }
    name, began = f"validate {verdict.name}", time.time_ns() - int(validation.seconds * 1e9)
    span = autolog.open_span(name, KIND, inputs, start=began)
    if span is not None:
        autolog.end_span(span, outputs, refused)
    else:  # MLflow hasn't been imported yet, and a check is no reason to wait for it
        run.take(_lone(run, name, began, inputs, outputs, str(refused or "")))


def _lone(
    run: OpenRun, name: str, began: int, inputs: dict[str, Any], outputs: dict[str, Any], problem: str
) -> TraceRecord:
    """A trace of one span, in the form that MLflow gives."""
    raw = secrets.token_bytes(16)
    attributes = {
        "mlflow.traceRequestId": f"tr-{raw.hex()}",
        "mlflow.spanType": KIND,
        "mlflow.spanInputs": inputs,
        "mlflow.spanOutputs": outputs,
    }
    span: dict[str, Any] = {
        "trace_id": to_base64(raw),
        "span_id": to_base64(secrets.token_bytes(8)),
        "parent_span_id": None,
        "name": name,
        "start_time_unix_nano": began,
        "end_time_unix_nano": time.time_ns(),
        "events": [],
        "status": {"code": "STATUS_CODE_ERROR" if problem else "STATUS_CODE_OK", "message": problem},
        "attributes": {key: json.dumps(value) for key, value in attributes.items()},
        "links": [],
    }
    said = {
        "mlflow.trace_schema.version": "3",
        "mlflow.sourceRun": run.handle.run_id,
        "mlflow.trace.user": run.stamp.user,
        "mlflow.trace.session": run.stamp.session,
    }
    return TraceRecord(
        trace_id=f"tr-{raw.hex()}",
        spans=(span,),
        calls=(),
        run_key=run.key,
        tags={"mlflow.traceName": name, "prodkit.name": run.name, "prodkit.run_key": run.key},
        metadata={key: value for key, value in said.items() if value},
    )


def _follow(validation: Validation) -> None:
    """A check that the user's own code makes, inside of a run."""
    run = current_run()
    if run is None:
        return
    try:
        record(run, validation.contract, validation)
    except Exception as error:  # it must not break the user's own check
        run.note(f"A check of data couldn't be recorded: {type(error).__name__}.", error=error)


listeners.append(_follow)
