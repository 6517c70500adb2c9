"""An open run: what is known of it while its cell is at work, and what its card shows."""

from __future__ import annotations

import logging
import os
import threading
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.capture.compute import Meter
from prodkit.capture.context import Stamp
from prodkit.capture.lineage import watch
from prodkit.capture.prompts import Recogniser, matching
from prodkit.capture.tally import Tally, is_unpriced
from prodkit.capture.variants import Stead
from prodkit.ledger import Ledger, spending
from prodkit.records import CallRecord, RunHandle, RunSummary, Status, TraceRecord, new_id, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from prodkit.capture.inputs import CheckedInput
    from prodkit.capture.options import RunOptions
    from prodkit.capture.validations import Verdict
    from prodkit.manifest import Manifest, Project
    from prodkit.records import DatasetRecord

JOB_RUN = "PRODKIT_JOB_RUN"
_RECENT = 256
_SUMS = ("session", "compare")  # runs whose figures are those of the runs below them together


class OpenRun:
    """A run from `open_run` to `close_run`. Users meet it as what `with prodkit.run(...) as run` gives.

    Attributes:
        inputs: the checked dataframes by name, bad rows set aside.
        outputs: dataframes that the run has made; put yours here to have them recorded.
        status: `running` until the run is closed.
    """

    def __init__(self, options: RunOptions, project: Project, parent: OpenRun | None) -> None:
        self.options, self.project, self.parent = options, project, parent
        self.key = new_id("run")
        self.ledger = Ledger.open(project)
        self.handle = RunHandle(self.key, options.name)
        self.started, self.ended = now(), None
        self.status = Status.RUNNING
        self.stopped = False
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.checked: tuple[CheckedInput, ...] = ()
        self.verdicts: list[Verdict] = []
        self.datasets: tuple[DatasetRecord, ...] = ()
        self.tally, self.meter, self.recogniser = Tally(), Meter(), Recogniser()
        self.sight = watch(project)
        self.twins: set[str] = set()  # requests that a framework's span in another trace repeats
        self._own_stead = Stead(options.variant) if options.variant is not None else None
        self._notices: dict[str, None] = {}
        self._kept_for: tuple[date, int, tuple[str, date]] = (date.min, 0, ("", date.min))
        self.failed_requests: set[int] = set()  # of calls that were given up; see `layers`
        self._lock = threading.Lock()
        above: Stamp = parent.stamp if parent is not None else Stamp()
        self.stamp: Stamp = Stamp(options.user, options.session, options.source, options.purpose).over(above)

    ended: datetime | None

    def stop(self) -> None:
        """Let no further call of this run start; those under way end by themselves. May be called from any thread."""
        self.stopped = True

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.options.name

    @property
    def manifest(self) -> Manifest:
        """The project's manifest."""
        return self.project.manifest

    @property
    def closed(self) -> bool:
        """Whether the run is over."""
        return self.status is not Status.RUNNING

    @property
    def stead(self) -> Stead | None:
        """What stands in for the code's model and prompt; None outside of a comparison."""
        above = self.parent
        return self._own_stead or (above.stead if above is not None else None)

    @property
    def budget_limit(self) -> Decimal | None:
        """The run's own limit in US dollars."""
        return self.options.budget

    @property
    def limited_by(self) -> OpenRun:
        """The nearest run, from this one upwards, that has a limit of its own; this one where none has."""
        run: OpenRun | None = self
        while run is not None and run.budget_limit is None:
            run = run.parent
        return run or self

    @property
    def budget_key(self) -> str:
        """What the manifest's `per_run` is counted by: the job over its attempts, else the outermost run here."""
        outermost = self
        while outermost.parent is not None:
            outermost = outermost.parent
        return os.environ.get(JOB_RUN) or outermost.key

    @property
    def run_id(self) -> str:
        """The MLflow run's id; empty while MLflow can't be reached."""
        return self.handle.run_id

    @property
    def dataset_digests(self) -> tuple[str, ...]:
        """The digests of the run's inputs, which its calls are recorded with."""
        return tuple(one.digest for one in self.datasets if one.context == "input")

    def retention(self, moment: datetime) -> tuple[str, date]:
        """Whose retention period holds for a call of now, and its last day: the shortest of the data that went in."""
        day, read = moment.date(), len(self.datasets)
        if self._kept_for[:2] != (day, read):  # it changes with the data that is read, and not from call to call
            periods = [(self.manifest.compliance.retention_days, "compliance")]
            for one in self.datasets:
                days = one.attributes.get("retention_days", "")
                if days and one.context == "input":
                    periods.append((int(days), one.attributes.get("data_source_name", one.name)))
            shortest, name = min(periods)
            self._kept_for = day, read, (name, day + timedelta(days=shortest))
        return self._kept_for[2]

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """The calls that have ended so far; the latest thousand with prompt and answer."""
        return tuple(self.tally.calls)

    @property
    def cost(self) -> Decimal:
        """US dollars spent so far, as far as prices are known."""
        return self.tally.cost

    @property
    def url(self) -> str:
        """A link to the run in MLflow, or the command that opens it; empty while MLflow doesn't know it."""
        return self.ledger.url(self.handle)

    def region_of(self, model: str) -> str:
        """Where a model runs, as the manifest says."""
        spec = self.manifest.model_named(model)
        return spec.region if spec is not None else ""

    def guess_output(self, model: str, first: int, least: int) -> int:
        """An upper guess at the tokens of this model's next answer."""
        return self.tally.guess_output(model, first, least)

    def prompts_in(self, prompt: Any) -> tuple[str, ...]:
        """URIs of the registered prompts that this request was made with."""
        stead = self.stead.prompt if self.stead is not None else None
        return tuple(version.uri for version in matching(prompt, self.recogniser.known, stead))

    def take(self, trace: TraceRecord) -> None:
        """Count the calls of a trace that is complete, and log it; figures of a run that is over are corrected."""
        tallies = [self.tally, *(run.tally for run in self._above() if run.options.kind in _SUMS)]
        for call in trace.calls:
            for tally in tallies:
                tally.add(call)
            self.recogniser.add(call, self)
            if call.status is not Status.REFUSED:
                spending.note(calls=1, unpriced=is_unpriced(call), usd=call.cost.usd or Decimal(0))
        try:
            redacted = self.ledger.log_trace(trace)
            for tally in tallies:
                tally.redact(redacted)
        finally:  # a call that couldn't be written is counted all the same
            if self.closed and trace.calls:
                self.ledger.log_metrics(self.handle, self.tally.metrics())

    def _above(self) -> Iterator[OpenRun]:
        run = self.parent
        while run is not None:
            yield run
            run = run.parent

    def recent(self) -> list[CallRecord]:
        """The latest guarded calls that no framework's span has been found to repeat."""
        latest = self.tally.calls[-_RECENT:]
        return [call for call in reversed(latest) if call.request_id not in self.twins]

    def take_untraced(self, call: CallRecord) -> None:
        """Count and log a call that no span stands for."""
        record = TraceRecord(trace_id="", spans=(), calls=(call,), run_key=self.key)
        self.take(record)

    def judged(self, verdict: Verdict) -> int:
        """Take what a check of data has found; returns how many there have been."""
        with self._lock:
            self.verdicts.append(verdict)
            return len(self.verdicts)

    def note(self, text: str, *, error: BaseException | None = None) -> None:
        """One sentence for the card; with an error also in the log, because something is being lost."""
        with self._lock:
            known = text in self._notices
            self._notices[text] = None
        if error is not None and not known:
            # not a warning: MLflow's autologging swallows those while a call is traced
            logging.getLogger("prodkit").error("%s %s", text, error)

    def announce(self, text: str) -> None:
        """A threshold of a budget was crossed: on the card, and at once for who is watching."""
        self.note(text)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user must know, one sentence each."""
        said = list(self._notices)
        if count := self.tally.replayed:
            said.append(f"{count} of the calls got answers that were paid for before, and cost nothing now.")
        return tuple([*said, self.ledger.problem] if self.ledger.problem else said)

    def summary(self) -> RunSummary:
        """What the run's card shows, now."""
        tally = self.tally
        verdicts = list(self.verdicts)
        return RunSummary(
            name=self.name,
            status=self.status,
            started=self.started,
            ended=self.ended,
            calls=tally.sent,
            errors=tally.count(Status.ERROR, Status.ABORTED),
            unpriced=tally.unpriced,
            estimated=tally.estimated,
            degraded=tally.degraded,
            refused=tally.count(Status.REFUSED),
            failed_attempts=tally.failed_attempts,
            input_tokens=tally.tokens("input_tokens"),
            output_tokens=tally.tokens("output_tokens"),
            cost_usd=tally.cost,
            budget_usd=self.budget_limit,
            p50_seconds=tally.percentile(0.5),
            p95_seconds=tally.percentile(0.95),
            simulated=tally.simulated,
            models=tally.models,
            by_model=tally.by_model,
            prompts=tuple(sorted(tally.prompts | set(self.recogniser.uris))),
            datasets=self.datasets,
            findings=tuple(finding for verdict in verdicts for finding in verdict.findings),
            rows_checked=sum(verdict.checked for verdict in verdicts) if verdicts else None,
            rows_quarantined=sum(verdict.set_aside for verdict in verdicts) if verdicts else None,
            redactions=tally.redactions,
            notices=self.notices,
            run_id=self.handle.run_id,
            url=self.url,
        )
