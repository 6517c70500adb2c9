"""Who has said yes or no to a run: by the command, by a tag in MLflow's UI, or by an assessment there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.ledger.review import judgements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prodkit.ledger.review import RunView
    from prodkit.manifest import Project

TAG = "prodkit.review"  # the tag, and the name of the assessment
APPROVED, REJECTED = "approved", "rejected"
SOMEBODY = "somebody in MLflow's UI"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of a run. `digest` names the facts that were seen; empty where MLflow's UI didn't record them."""

    word: str
    by: str
    run_id: str
    time: str = ""
    note: str = ""
    digest: str = ""

    def as_tags(self) -> dict[str, str]:
        """The tags that record it. The word stands there twice: a hand in the UI changes only one of the two."""
        return {
            TAG: self.word,
            f"{TAG}.recorded": self.word,
            f"{TAG}.by": self.by,
            f"{TAG}.note": self.note,
            f"{TAG}.digest": self.digest,
            f"{TAG}.time": self.time,
        }

    def as_told(self) -> dict[str, str]:
        """For the page; what isn't known is left out."""
        told = {"decision": self.word, "by": self.by, "time": self.time, "note": self.note, "digest": self.digest}
        return {name: value for name, value in told.items() if value}


def latest(project: Project, runs: Iterable[RunView]) -> Verdict | None:
    """The newest verdict on any of these runs, or at a trace of theirs or of a run below; None when there is none.

    A tag that was set by hand has no time of its own: it is taken for as old as its run, so that whatever is recorded
    with a time after that counts, and of two without order the rejection.
    """
    by_id = {run.run_id: run for run in runs}
    found = [verdict for run in by_id.values() for verdict in _in_tags(run)]
    found += _in_traces(project, by_id)

    def order(verdict: Verdict) -> tuple[str, bool]:
        begun = by_id[verdict.run_id].started.isoformat(timespec="seconds")
        return verdict.time or begun, verdict.word != APPROVED

    return max(found, key=order, default=None)


def _in_tags(run: RunView) -> Iterator[Verdict]:
    word = run.tags.get(TAG, "").strip().lower()
    if not word:
        return
    if run.tags.get(f"{TAG}.recorded") != word:  # changed by hand since: who and when are another verdict's
        yield Verdict(word, SOMEBODY, run.run_id)
        return
    told = {name: run.tags.get(f"{TAG}.{name}", "") for name in ("by", "time", "note", "digest")}
    yield Verdict(word, run_id=run.run_id, **told)


def _in_traces(project: Project, runs: Mapping[str, RunView]) -> Iterator[Verdict]:
    for one in judgements(project, TAG, (APPROVED, REJECTED)):
        run_id = next((run_id for run_id in one.runs if run_id in runs), "")
        if run_id:
            yield Verdict(one.value, one.person, run_id, one.given.isoformat(timespec="seconds"), one.note)
