"""What an auditor asks of the ledger: is it whole, what happened in one request, what is held of one person."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger import cache, events, replay
from prodkit.ledger.chain import Entry, decode, intact
from prodkit.ledger.checkpoints import claims_of, keep_checkpoint, local_checkpoints, take_checkpoint
from prodkit.ledger.client import check
from prodkit.ledger.destinations import connect, current_destination, describe, tracking_uri
from prodkit.ledger.erasure import Scrubbed, Scrubber, words_of
from prodkit.ledger.finding import find_entry, rare_entries, time_of
from prodkit.ledger.journal import Event
from prodkit.ledger.ledger import Ledger
from prodkit.ledger.mlflow_adapter import OutgoingRun
from prodkit.ledger.mlflow_errors import explained
from prodkit.ledger.prompts import is_made_with, texts_in
from prodkit.ledger.reach import probe, public_uri
from prodkit.ledger.reading import count_pending
from prodkit.ledger.retargeting import plan_retarget
from prodkit.ledger.retargets import Retargets
from prodkit.ledger.segments import by_stream, read_lines
from prodkit.ledger.shipments import Rejection, Shipments
from prodkit.ledger.shipping import BUSY, Shipped, Shipping
from prodkit.ledger.verify import Claim, Verification, verify_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from prodkit.ledger.checkpoints import Checkpoint
    from prodkit.ledger.retargets import Retarget
    from prodkit.manifest import Project
    from prodkit.records import CallRecord, DatasetRecord, FeedbackRecord


PATIENCE = 30.0
"""Seconds to wait for another process that is shipping."""

_POLL = 0.1
_AROUND = (events.RUN_END, events.RUN_UPDATE, events.DATASET, events.FEEDBACK)
_REVIEW, _USER = "prodkit.review", "prodkit.user"


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt version as it was recorded."""

    name: str
    version: int | None
    digest: str
    template: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything the journal knows of one request. `erased` says that its content is gone on purpose."""

    call: CallRecord
    subject: str
    erased: bool
    redactions: dict[str, int]
    recorded: str  # stream, number and time of its record
    runs: tuple[dict[str, Any], ...] = ()  # from the run that it belongs to up to the session
    datasets: tuple[DatasetRecord, ...] = ()
    prompts: tuple[PromptText, ...] = ()
    reviews: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did."""

    keys: int
    requests: int
    traces: int
    shipped: Shipped = field(default_factory=Shipped)
    scrubbed: Scrubbed = field(default_factory=Scrubbed)


class Audit:
    """The ledger of a project, seen by an auditor.

    Args:
        project: the project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._ledger = Ledger.open(project)
        self._places = self._ledger.places
        self._shipments = Shipments(self._places)

    def verify(self, *, remote: bool = False, files: tuple[Path, ...] = ()) -> Verification:
        """Check the journal against itself, its checkpoints and its cursors.

        Args:
            remote: also against the checkpoints in MLflow, which no one on this machine can have rewritten.
            files: checkpoints that were kept elsewhere.

        Raises:
            ConfigError: there is no journal, or MLflow doesn't let us in.
            TransientError: MLflow can't be reached.
        """
        self._require()
        found = local_checkpoints(self._places.checkpoints)
        found += [(str(file), file.read_text(encoding="utf-8")) for file in files]
        if remote:
            with explained(public_uri(tracking_uri(self.project))):
                found += self._mlflow().checkpoints()
        key = self._ledger.keyring.signing_key.public_key().public_bytes_raw().hex()
        claims, flaws = claims_of(found, key)
        outcome = verify_journal(self._places.journal, [*claims, *self._cursors()], key=key)
        return dataclasses.replace(outcome, flaws=(*flaws, *outcome.flaws), checkpoints=len(found))

    def checkpoint(self) -> tuple[Checkpoint, Path]:
        """Sign the journal as it is now; returns the checkpoint and its local copy."""
        self._require()
        taken = take_checkpoint(self._places.journal, self._ledger.keyring)
        return taken, keep_checkpoint(self._places.checkpoints, taken)

    def explain(self, request_id: str) -> Explanation:
        """One request with everything that belongs to it.

        Raises:
            ConfigError: the journal holds no such request.
        """
        self._require()
        folder = self._places.journal
        entry = find_entry(folder, events.CALL, f'"request_id":{json.dumps(request_id)}', time_of(request_id))
        if entry is None:
            raise ConfigError(
                "audit.unknown-request",
                "The journal holds no such request.",
                where=str(self._places.journal),
                fix="`prodkit audit export` lists all of them",
            )
        call, erased = self._call(entry)
        specs = self._specs(call.run_key)
        begun = [datetime.fromisoformat(spec["started"]) for spec in specs]
        around: dict[str, list[Entry]] = {}
        for found in rare_entries(folder, _AROUND, min(begun, default=None) or time_of(call.run_key)):
            around.setdefault(found.kind, []).append(found)
        runs = self._runs(specs, around.get(events.RUN_END, []))
        keys = {run["key"] for run in runs[:1]}
        return Explanation(
            call=call,
            subject=entry.public["subject"],
            erased=erased,
            redactions=dict(entry.public.get("redactions", {})),
            recorded=f"stream {entry.stream}, record {entry.seq}, {entry.time}",
            runs=tuple(runs),
            datasets=tuple(
                events.read_dataset(e.public) for e in around.get(events.DATASET, ()) if e.public["run_key"] in keys
            ),
            prompts=tuple(self._prompts(call)),
            reviews=(
                *self._decisions(runs, around.get(events.RUN_UPDATE, [])),
                *self._reviews(call, around.get(events.FEEDBACK, [])),
            ),
        )

    def calls(self, *, user: str | None = None) -> Iterator[tuple[Entry, CallRecord, bool]]:
        """All requests in the order of the journal: (record, call, whether its content is erased)."""
        self._require()
        subject = None if user is None else self._ledger.keyring.pseudonym(user)
        for entry in self.entries(events.CALL):
            if subject is None or entry.public["subject"] == subject:
                yield (entry, *self._call(entry))

    def erase(self, user: str, *, without_mlflow: bool = False) -> Erasure:
        """Remove a person's content: keys destroyed, words taken out of artifacts and files, traces deleted in MLflow.

        The chain stays whole, and says that and when it was done.

        Args:
            user: the id as it was given to `prodkit.request(user=...)`.
            without_mlflow: go on when MLflow can't be reached. Its traces are deleted when it can be again, but by
                then nobody knows the words to look for in its artifacts.

        Raises:
            ConfigError: nothing is held of this user, or MLflow doesn't let us in.
            TransientError: MLflow can't be reached; nothing was erased, and it can be said again.
        """
        self._require()
        subject = self._ledger.keyring.pseudonym(user)
        requests = sum(entry.public["subject"] == subject for entry in self.entries(events.CALL))
        told = [entry for entry in self.entries(events.TRACE, events.CALL) if events.is_trace(entry)]
        traces = [entry.public["trace_id"] for entry in told if subject in events.subjects_of(entry)]
        if not requests and not traces and not self._ledger.keyring.knows(user):
            raise ConfigError(
                "audit.unknown-user",
                "The journal holds nothing of this user.",
                fix="give the id as it was given to `prodkit.request(user=...)`",
            )
        with explained(public_uri(tracking_uri(self.project))):
            return self._erase(user, subject, requests, traces, without_mlflow=without_mlflow)

    def _erase(self, user: str, subject: str, requests: int, traces: list[str], *, without_mlflow: bool) -> Erasure:
        if not without_mlflow:
            self._mlflow()  # while the words can still be read, or not at all
            self.sync()
        scrubbed = self._scrub(user, subject, traces)
        keys = self._ledger.keyring.erase(user)
        replay.erase_subject(self.project, subject)
        cache.erase_subject(self.project, subject)
        public = {"subject": subject, "keys": keys, "requests": requests, "trace_ids": traces}
        self._ledger.journal.append_all([Event(events.ERASE, public)]).durable()
        shipped = self.sync()
        if not without_mlflow and not shipped.pending:
            self._mlflow().forget()
        return Erasure(keys, requests, len(traces), shipped, scrubbed)

    def _scrub(self, user: str, subject: str, traces: Sequence[str]) -> Scrubbed:
        """Take the person's words out of everything but the journal."""
        calls = [(call, entry.public["subject"] == subject) for entry, call, erased in self.calls() if not erased]
        scrubber = Scrubber(words_of(calls, [e.public["template"] for e in self.entries(events.PROMPT)]), user)
        scrubber.folder(self.project.state)
        scrubber.notebooks(self.project.root)
        specs = {entry.public["key"]: entry.public for entry in self.entries(events.RUN_START)}
        keys = _with_parents({call.run_key for call, own in calls if own}, specs)
        named = {key for key, spec in specs.items() if spec["tags"].get(_USER) == user}
        for destination in self._shipments.destinations() if self._places.ship_db.exists() else ():
            runs = {
                key: run.run_id
                for key in keys | named
                if (run := self._shipments.run(destination, key)) is not None and run.run_id
            }
            where = describe(destination, self.project.root)
            mlflow = connect(self.project, self._places, destination)
            if reason := probe(mlflow.uri):
                scrubber.done.left.append(
                    f"MLflow at {where}: artifacts and traces, because it wasn't reached ({reason})"
                )
                continue
            scrubber.artifacts(mlflow, sorted(runs.values()))
            for key in named & runs.keys():
                mlflow.update_run(OutgoingRun(runs[key], tags={_USER: subject}))
            if destination != current_destination(self.project):  # the current one follows from the journal's record
                mlflow.delete_traces(traces)
        return scrubber.done

    def sync(self, *, again: bool = False, timeout: float = PATIENCE) -> Shipped:
        """Ship everything that waits, in this process, or see to it that the process which is at it gets it done.

        Args:
            again: also what MLflow has refused before, which the other process wouldn't try.
            timeout: seconds to wait for the other process.
        """
        shipping = Shipping(self._places, self._ledger.keyring, partial(connect, self.project, self._places))
        deadline = time.monotonic() + timeout
        before = self.pending()
        shipped = shipping.run(again=again)
        while shipped.reason == BUSY and (shipped.pending or again) and time.monotonic() < deadline:
            time.sleep(_POLL)
            shipped = shipping.run(again=again)
            others = before - shipped.pending
            shipped = dataclasses.replace(shipped, records=max(shipped.records, others))
        if shipped.reason == BUSY and (theirs := shipping.shipments.noted("problem")[0]):
            return dataclasses.replace(shipped, reason=f"{BUSY}, and has this to say: {theirs}")
        return shipped

    def retarget(self, old: str, new: str) -> Retarget:
        """Decide that what goes to one address goes to another from now on; what waits there waits no longer.

        The decision is a record of its own: it is on the disk when this returns, and no earlier record is changed.

        Args:
            old: an address that records go to, as the messages show it; with `|` and an experiment, only that one.
            new: the other address, in the same form. No password: that comes from the environment.

        Raises:
            ConfigError: `audit.unknown-address`, no record goes to `old`; `audit.same-address`.
        """
        self._require()
        decided = plan_retarget(self.project, self._places, self._shipments, old, new)
        receipt = self._ledger.journal.append_all([Event(events.RETARGET, decided)])
        receipt.durable()
        retargets = Retargets(self._shipments.db)
        retargets.add(
            receipt.stream, receipt.seq, decided
        )  # shipping would do it, too: a kill in between loses nothing
        return retargets.all()[-1]

    def pending(self) -> int:
        """How many records wait to be shipped."""
        return count_pending(self._places.journal, self._shipments)

    def rejections(self) -> list[Rejection]:
        """What MLflow refused for good."""
        return self._shipments.rejections()

    def entries(self, *kinds: str) -> Iterator[Entry]:
        """The intact records of some kinds, stream by stream."""
        marks = [f'"kind":"{kind}"'.encode() for kind in kinds]
        for segments in by_stream(self._places.journal).values():
            for segment in segments:
                for _, line in read_lines(segment.path):
                    if any(mark in line[:400] for mark in marks) and intact(line) is not None:
                        yield decode(line)

    def _call(self, entry: Entry) -> tuple[CallRecord, bool]:
        private = self._ledger.keyring.open(entry.keys, entry.sealed)
        return events.read_call(entry.public, private), private is None

    def _specs(self, key: str) -> list[dict[str, Any]]:
        """How a run and those above it began."""
        specs: list[dict[str, Any]] = []
        while key and len(specs) < 100:  # noqa: PLR2004  a parent that is its own child must not hang us
            found = find_entry(self._places.journal, events.RUN_START, f'"key":{json.dumps(key)}', time_of(key))
            if found is None:
                break
            specs.append(found.public)
            key = found.public.get("parent_key", "")
        return specs

    def _runs(self, specs: Sequence[dict[str, Any]], ended: Sequence[Entry]) -> list[dict[str, Any]]:
        ends = {entry.public["run_key"]: entry.public["status"] for entry in ended}
        runs: list[dict[str, Any]] = []
        for spec in specs:
            shipped = self._shipments.find_run(current_destination(self.project), spec["key"])
            status = ends.get(spec["key"], "open")
            runs.append({**spec, "status": status, "run_id": shipped.run_id if shipped else ""})
        return runs

    def _prompts(self, call: CallRecord) -> list[PromptText]:
        """The versions that the call names; else those of its run that its text was made with.

        The constant part of many prompts is known only after some of them, so the first calls name no version.
        """
        destination = current_destination(self.project)
        named: dict[str, PromptText] = {}
        made: dict[str, PromptText] = {}
        texts = list(texts_in(call.prompt))
        for entry in rare_entries(self._places.journal, (events.PROMPT,)):
            name, digest, template = (entry.public[key] for key in ("name", "digest", "template"))
            version = self._shipments.prompt(destination, name, digest)
            found = PromptText(name, version, digest, template, entry.public["parameters"])
            if {f"prompts:/{name}/{version}", f"prompts:/{name}/@{digest[:12]}"} & set(call.prompts):
                named[digest] = found
            elif entry.public["run_key"] == call.run_key and any(is_made_with(template, text) for text in texts):
                made[name] = found  # the last one of a name: what was recognised is looked at again at the end
        return list((named or made).values())

    def _decisions(self, runs: Sequence[dict[str, Any]], updates: Sequence[Entry]) -> Iterator[str]:
        """What was decided on the request's run, or on a run above it."""
        told: dict[str, dict[str, str]] = {run["key"]: {} for run in runs}
        for entry in updates:
            if entry.public["run_key"] in told:
                told[entry.public["run_key"]].update(entry.public["tags"])
        for run in runs:
            tags = told[run["key"]]
            if verdict := tags.get(_REVIEW):
                note = f": {tags[f'{_REVIEW}.note']}" if tags.get(f"{_REVIEW}.note") else ""
                yield f"{run['kind']} {run['name']} {verdict} by {tags.get(f'{_REVIEW}.by', 'somebody')}{note}"

    def _reviews(self, call: CallRecord, feedback: Sequence[Entry]) -> list[str]:
        """What people said: as the journal has it, and in MLflow's own UI, as far as MLflow can be reached."""
        said = [
            events.read_feedback(entry.public, private)
            for entry in feedback
            if entry.public["request_id"] == call.request_id
            and (private := self._ledger.keyring.open(entry.keys, entry.sealed)) is not None
        ]
        if call.trace_id and not probe(tracking_uri(self.project)):
            known = {one.id for one in said}
            with contextlib.suppress(Exception):  # a request is explained without MLflow, too
                said += [one for one in self._mlflow().reviews(call.trace_id) if one.id not in known]
        return [_read_aloud(one) for one in said]

    def _mlflow(self) -> Any:
        check(tracking_uri(self.project))
        return connect(self.project, self._places, current_destination(self.project))

    def _cursors(self) -> list[Claim]:
        if not self._places.ship_db.exists():
            return []
        return [
            Claim(cursor.stream, cursor.seq, cursor.hash, "the shipping cursor")
            for cursor in self._shipments.heads().values()
            if cursor.hash
        ]

    def _require(self) -> None:
        if not self._places.journal.is_dir() or not any(self._places.journal.iterdir()):
            raise ConfigError(
                "audit.no-journal",
                "This project has no journal yet.",
                where=str(self._places.journal),
                fix="run a captured cell first, or pass --project",
            )


def _with_parents(keys: set[str], specs: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The runs, and all above them."""
    found: set[str] = set()
    while keys:
        found |= keys
        keys = {specs[key].get("parent_key", "") for key in keys if key in specs} - found - {""}
    return found


def _read_aloud(feedback: FeedbackRecord) -> str:
    return f"{feedback.name}: {feedback.value} ({feedback.person})" + (
        f": {feedback.comment}" if feedback.comment else ""
    )
