"""One batch of records on its way into one MLflow: sorted by kind, merged into as few calls as there are."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from prodkit.ledger import events, telling
from prodkit.ledger.mlflow_adapter import Mlflow, OutgoingRun, OutgoingTrace
from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError
from prodkit.ledger.mlflow_prices import METRIC, Opinion, with_opinion
from prodkit.ledger.shipments import Rejection, Shipments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.ledger.chain import Entry
    from prodkit.ledger.creation import Creation
    from prodkit.ledger.keys import Keyring
    from prodkit.ledger.places import Places
    from prodkit.ledger.reading import Step

_STATUS = {"ok": "FINISHED", "error": "FAILED", "aborted": "KILLED", "refused": "FAILED", "running": "RUNNING"}
_RUN_TAGS = frozenset({"prodkit.name", "prodkit.run_key"})
_RUN_METADATA = frozenset({"mlflow.user"})
"""What the run that a trace is linked to says already."""
_PROMPT_URI = re.compile(r"prompts:/(?P<name>[\w.-]+)/(?P<at>@?)(?P<version>[0-9a-f]+)")


class Cargo:
    """A batch for one destination.

    Args:
        mlflow: where it goes.
        creation: creates runs and prompt versions once.
        shipments: MLflow's ids for ours.
        destination: the destination's name in `shipments`.
        keyring: opens sealed content.
        places: the ledger's files.
    """

    def __init__(
        self,
        mlflow: Mlflow,
        creation: Creation,
        shipments: Shipments,
        destination: str,
        keyring: Keyring,
        places: Places,
    ) -> None:
        self._mlflow = mlflow
        self._creation = creation
        self._shipments = shipments
        self._destination = destination
        self._keyring = keyring
        self._places = places
        self._runs: dict[str, str] = {}
        self._linked: set[tuple[str, str, int]] = set()
        self.rejections: list[Rejection] = []
        self.opinions: dict[str, Opinion] = {}
        """By run key: MLflow's own figures beside ours, with those of earlier batches."""

    def send(self, steps: Sequence[Step], *, strict: bool) -> int:
        """Send the steps; returns how many were taken.

        Args:
            steps: lines of one stream, in order.
            strict: stop before the first that names a run which isn't known yet, instead of sending it without.

        Raises:
            UnreachableError: MLflow doesn't take anything now.
        """
        entries: list[Entry] = []
        taken = 0
        for step in steps:
            if step.entry is None:
                self._reject_line(step)
            elif not self._open_run(step.entry) and strict:
                break
            else:
                entries.append(step.entry)
            taken += 1
        for send in (
            self._prompts,
            self._traces,
            self._opinions,
            self._updates,
            self._datasets,
            self._artifacts,
            self._rest,
            self._ends,
        ):
            send(entries)
        return taken

    def _open_run(self, entry: Entry) -> bool:
        """Make sure that the run which an entry belongs to is there; False when nobody has opened it."""
        if entry.kind == events.RUN_START:
            self._attempt(entry, partial(self._begin, entry))
            return True
        key = entry.public.get("run_key", "")
        return not key or bool(self._run_id(key)) or self._continue(entry, key)

    def _continue(self, entry: Entry, key: str) -> bool:
        """Begin a run anew whose records were sent to another address before."""

        def begin() -> None:
            if (run := self._creation.continue_run(key)) is not None:
                self._runs[key] = run.run_id

        self._attempt(entry, begin)
        return bool(self._runs.get(key))

    def _begin(self, entry: Entry) -> None:
        self._runs[entry.public["key"]] = self._creation.ensure_run(entry.public).run_id

    def _run_id(self, key: str) -> str:
        if not self._runs.get(key):
            run = self._shipments.run(self._destination, key) if key else None
            self._runs[key] = run.run_id if run else ""
        return self._runs[key]

    def _prompts(self, entries: Sequence[Entry]) -> None:
        for entry in _of(entries, events.PROMPT):
            self._attempt(entry, partial(self._prompt, entry))

    def _prompt(self, entry: Entry) -> None:
        version = self._creation.ensure_prompt(entry.public)
        self._link(self._run_id(entry.public.get("run_key", "")), entry.public["name"], version)

    def _link(self, run_id: str, name: str, version: int) -> None:
        if run_id and (run_id, name, version) not in self._linked:
            self._mlflow.link_prompt(run_id, name, version)
            self._linked.add((run_id, name, version))

    def _traces(self, entries: Sequence[Entry]) -> None:
        pairs = [(entry, trace) for entry in entries if events.is_trace(entry) and (trace := self._trace(entry))]
        if not pairs:
            return
        judged = [with_opinion(trace) for _, trace in pairs]
        pairs = [(entry, trace) for (entry, _), (trace, _) in zip(pairs, judged, strict=True)]
        try:
            self._mlflow.log_traces([trace for _, trace in pairs])
        except (RejectedError, UncertainError):
            for entry, trace in pairs:  # one of them is bad: find out which
                self._attempt(entry, partial(self._mlflow.log_traces, [trace]))
        refused = {(item.stream, item.seq) for item in self.rejections}
        for (entry, _), (_, opinion) in zip(pairs, judged, strict=True):
            if (entry.stream, entry.seq) not in refused:
                self._count(entry.public["run_key"], opinion)
        for _, trace in pairs:
            for name, version in trace.prompts:
                self._link(trace.run_id, name, version)

    def _count(self, key: str, opinion: Opinion) -> None:
        if key:
            before = self.opinions.get(key) or self._shipments.opinion(self._destination, key)
            self.opinions[key] = before + opinion

    def _opinions(self, entries: Sequence[Entry]) -> None:
        """The sum over the run's calls as MLflow would have it, where it would have another one."""
        last = {entry.public["run_key"]: entry for entry in entries if events.is_trace(entry)}
        for key, opinion in self.opinions.items():
            run_id = self._run_id(key)
            if run_id and opinion.differing and key in last:
                metric = (METRIC, float(opinion.theirs), _milliseconds(last[key]))
                update = OutgoingRun(run_id, metrics=(metric,))
                self._attempt(last[key], partial(self._mlflow.update_run, update))

    def _trace(self, entry: Entry) -> OutgoingTrace | None:
        content = self._keyring.open(entry.keys, entry.sealed)
        if content is None:  # erased before it was shipped
            return None
        call = events.read_call(entry.public, content) if entry.kind == events.CALL else None
        requests = entry.public["requests"] if call is None else [call.request_id]
        if call is not None and call.span is not None:
            span, tags, metadata = telling.alone(call, call.span, self._mlflow.experiment_id)
            spans = [span]
        else:
            said = content if call is None else content["trace"]
            spans, tags, metadata = said["spans"], said["tags"], said["metadata"]
        run_id = self._run_id(entry.public["run_key"])
        if run_id:  # each label is a row and two index entries of each trace
            tags, metadata = _without(tags, _RUN_TAGS), _without(metadata, _RUN_METADATA)
        return OutgoingTrace(
            trace_id=entry.public["trace_id"],
            spans=tuple(spans),
            run_id=run_id,
            tags={**tags, "prodkit.requests": ",".join(requests)},
            metadata=metadata,
            prompts=tuple(pair for uri in entry.public.get("prompts", ()) if (pair := self._version(uri))),
        )

    def _version(self, uri: str) -> tuple[str, int] | None:
        match = _PROMPT_URI.fullmatch(uri)
        if match is None:
            return None
        if not match["at"]:
            return match["name"], int(match["version"])
        version = self._shipments.prompt(self._destination, match["name"], match["version"])
        return None if version is None else (match["name"], version)

    def _updates(self, entries: Sequence[Entry]) -> None:
        by_run: dict[str, list[Entry]] = {}
        for entry in _of(entries, events.RUN_UPDATE, events.RUN_END):
            by_run.setdefault(entry.public["run_key"], []).append(entry)
        for key, parts in by_run.items():
            run_id = self._known(key, parts)
            if not run_id:
                continue
            try:
                self._mlflow.update_run(_merged(run_id, parts))
            except (RejectedError, UncertainError):
                for part in parts:
                    self._attempt(part, partial(self._mlflow.update_run, _merged(run_id, [part])))

    def _ends(self, entries: Sequence[Entry]) -> None:
        for entry in _of(entries, events.RUN_END):
            if run_id := self._run_id(entry.public["run_key"]):
                status = _STATUS[entry.public["status"]]
                self._attempt(entry, partial(self._mlflow.end_run, run_id, status, _milliseconds(entry)))

    def _datasets(self, entries: Sequence[Entry]) -> None:
        for entry in _of(entries, events.DATASET):
            if run_id := self._known(entry.public["run_key"], [entry]):
                dataset = events.read_dataset(entry.public)
                self._attempt(entry, partial(self._mlflow.log_dataset, run_id, dataset))

    def _artifacts(self, entries: Sequence[Entry]) -> None:
        for entry in _of(entries, events.ARTIFACT):
            if run_id := self._known(entry.public["run_key"], [entry]):
                self._attempt(entry, partial(self._artifact, entry, run_id))

    def _artifact(self, entry: Entry, run_id: str) -> None:
        folder, _, name = entry.public["path"].rpartition("/")
        file = self._places.spool / entry.public["spool"] / name
        if not file.exists():
            if entry.public["path"] in self._mlflow.list_artifacts(run_id):
                return  # a process was killed between shipping and noting it
            raise RejectedError("its file is gone from the spool")
        self._mlflow.log_artifact(run_id, file, folder)

    def _rest(self, entries: Sequence[Entry]) -> None:
        for entry in _of(entries, events.NOTE):
            self._attempt(entry, partial(self._mlflow.note_experiment, entry.public["markdown"]))
        for entry in _of(entries, events.FEEDBACK):
            self._attempt(entry, partial(self._feedback, entry))
        for entry in _of(entries, events.ERASE):
            self._attempt(entry, partial(self._mlflow.delete_traces, entry.public["trace_ids"]))

    def _feedback(self, entry: Entry) -> None:
        said = self._keyring.open(entry.keys, entry.sealed)
        if said is None:  # erased before it was shipped
            return
        if not entry.public["trace_id"]:
            raise RejectedError("its call has no trace")
        self._mlflow.log_feedback(events.read_feedback(entry.public, said))

    def _known(self, key: str, entries: Sequence[Entry]) -> str:
        run_id = self._run_id(key)
        if not run_id:
            for entry in entries:
                self._reject(entry, "its run isn't in the journal")
        return run_id

    def _attempt(self, entry: Entry, act: Callable[[], Any]) -> None:
        """Do it; a record that MLflow refuses for good is noted, so that it doesn't hold up the rest."""
        try:
            act()
        except RejectedError as error:
            self._reject(entry, str(error))
        except UncertainError as error:
            if not self._mlflow.can_write():
                raise UnreachableError(f"it fails inside: {error}") from error
            try:
                act()
            except (RejectedError, UncertainError) as again:
                self._reject(entry, str(again))

    def _reject(self, entry: Entry, reason: str) -> None:
        self.rejections.append(Rejection(entry.stream, entry.seq, entry.kind, reason))

    def _reject_line(self, step: Step) -> None:
        self.rejections.append(Rejection(step.cursor.stream, step.cursor.seq + 1, "?", "the line isn't intact"))


def _of(entries: Sequence[Entry], *kinds: str) -> list[Entry]:
    return [entry for entry in entries if entry.kind in kinds]


def _without(labels: dict[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in names}


def _milliseconds(entry: Entry) -> int:
    return int(datetime.fromisoformat(entry.time).timestamp() * 1000)


def _merged(run_id: str, entries: Sequence[Entry]) -> OutgoingRun:
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[tuple[str, float, int]] = []
    for entry in entries:
        params.update(entry.public["params"])
        tags.update(entry.public["tags"])
        metrics.extend((name, float(value), _milliseconds(entry)) for name, value in entry.public["metrics"].items())
    return OutgoingRun(run_id, params, tuple(metrics), tags)
