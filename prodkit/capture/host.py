"""Where the seam, the guard and the ledger meet: each finished trace is completed, counted and handed to the ledger."""

from __future__ import annotations

import json
import weakref
from typing import TYPE_CHECKING, Any

from prodkit.capture import calls
from prodkit.capture.context import current_run, current_stamp
from prodkit.capture.traces import STAMP, to_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.capture.calls import Call
    from prodkit.capture.exporter import FinishedTrace
    from prodkit.capture.leaf import Leaf
    from prodkit.capture.runs import OpenRun
    from prodkit.ledger import Ledger
    from prodkit.records import RunHandle, TraceRecord


class CaptureHost:
    """Answers the seam's questions out of the open runs."""

    def __init__(self) -> None:
        self._ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()

    def owner(self) -> Any:
        """The open run of this thread or task."""
        return current_run()

    def experiment_id(self, owner: Any) -> str:
        """The experiment of the run."""
        return str(owner.handle.experiment_id)

    def active(self) -> RunHandle | None:
        """The cell's run; between cells the user's own `mlflow.start_run` is left alone."""
        run = current_run()
        return None if run is None or run.options.kind == "session" else run.handle

    def marks(self) -> dict[str, str]:
        """Who asks, for the spans of SDKs that the guard doesn't see."""
        stamp = current_stamp()
        return {STAMP: json.dumps([stamp.user, stamp.session, stamp.source, stamp.purpose])} if stamp else {}

    def pending(self, span_ids: Sequence[str]) -> bool:
        """Whether a call of these spans goes on."""
        return calls.pending(span_ids)

    def finished(self, trace: FinishedTrace) -> None:
        """Complete the trace with what the guard knows, and log it. An error here must not break the user's call."""
        self._take(trace.owner, lambda run: to_record(trace, run))

    def ended(self, call: Call, leaf: Leaf, failure: dict[str, Any] | None) -> None:
        """As `finished`, for a call that stands alone."""
        self._take(call.run, lambda _: call.alone(leaf, failure))

    def _take(self, run: OpenRun, told: Callable[[OpenRun], TraceRecord]) -> None:
        try:
            record = told(run)
            self._ledgers.add(run.ledger)
            run.take(record)
        except Exception as error:
            run.note(f"A trace couldn't be logged: {type(error).__name__}.", error=error)

    def flush(self) -> None:
        """Ship what the projects of this process have recorded."""
        for ledger in list(self._ledgers):
            ledger.flush()

    def problem(self, text: str) -> None:
        """Say on the run's card what can't be captured."""
        run = current_run()
        if run is not None:
            run.note(text)
