"""Yes or no, by whom, to what exactly. The record goes through the ledger: journal first, then tags in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prodkit.errors import ConfigError
from prodkit.ledger import Ledger
from prodkit.ledger.review import approve_prompts, prompts_of, run_tree, runs_tagged
from prodkit.records import now
from prodkit.review.facts import gather
from prodkit.review.page import handle_of, publish

if TYPE_CHECKING:
    from prodkit.manifest import Project
    from prodkit.review.facts import Facts

TAG = "prodkit.review"
APPROVED = "approved"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of a digest."""

    run_id: str
    verdict: Literal["approved", "rejected"]
    person: str
    note: str
    digest: str
    job_digest: str


def decide(
    project: Project, run_id: str, *, verdict: Literal["approved", "rejected"], person: str, note: str
) -> Decision:
    """Record a verdict on a run, with the person and the digest of what was seen.

    An approval also points the alias `approved` of the run's prompts to the versions that were seen.

    Raises:
        ConfigError: `review.no-run`; `review.nobody` without a person; `review.no-note`, a rejection without a reason.
    """
    if not person.strip():
        raise ConfigError("review.nobody", "A decision needs a person.", fix="say --by NAME, or set git's user.email")
    if verdict == REJECTED and not note.strip():
        raise ConfigError("review.no-note", "A rejection needs its reason.", fix="say --note '...'")
    facts = gather(project, run_id)
    decision = Decision(run_id, verdict, person, note, facts.digest, facts.job_digest)
    _record(project, decision)
    if verdict == APPROVED:
        root, below = run_tree(project, run_id)
        approve_prompts(project, prompts_of(project, (root, *below)))
    publish(project, run_id)
    return decision


def require_approval(project: Project, job_digest: str) -> str:
    """The run on which this very job was approved; the latest verdict counts.

    A verdict is recorded by `decide`, or by a person who sets the tag `prodkit.review` to `approved` or `rejected`
    in MLflow's UI. Both hold for the digest of the job that the run was made by.

    Raises:
        ConfigError: `review.not-approved` or `review.rejected`.
    """
    judged = [run for run in runs_tagged(project, "prodkit.job_digest", job_digest) if run.tags.get(TAG)]
    if not judged:
        raise ConfigError(
            "review.not-approved",
            "Nobody has approved this job as it is now.",
            where=job_digest,
            fix="run it once without --require-approval, then `prodkit review RUN --approve --note ...`",
        )
    latest = max(judged, key=lambda run: (run.tags.get(f"{TAG}.time", ""), run.started))
    if latest.tags[TAG] != APPROVED:
        why = latest.tags.get(f"{TAG}.note", "no reason given")
        raise ConfigError(
            "review.rejected", f"The job was {latest.tags[TAG]}: {why}", where=f"run {latest.run_id}", fix="change it"
        )
    return latest.run_id


def _record(project: Project, decision: Decision) -> None:
    root, _ = run_tree(project, decision.run_id)
    ledger = Ledger.open(project)
    ledger.set_tags(
        handle_of(root),
        {
            TAG: decision.verdict,
            f"{TAG}.by": decision.person,
            f"{TAG}.note": decision.note,
            f"{TAG}.digest": decision.digest,
            f"{TAG}.time": now().isoformat(timespec="seconds"),
        },
    )
    report = ledger.flush()
    if report.pending:
        raise ConfigError(
            "review.pending",
            f"The decision is in the journal but hasn't reached MLflow: {report.reason}",
            fix="`prodkit audit sync` when MLflow answers again",
        )


def read_aloud(facts: Facts) -> str:
    """One line on the decision so far."""
    decision = facts.decision
    if not decision.get("decision"):
        return "not decided yet"
    when = f" at {decision['time']}" if "time" in decision else ""
    by = decision.get("by", "somebody in MLflow's UI")
    seen = "" if decision.get("digest") in {facts.digest, None} else " (of an earlier state of these facts)"
    return f"{decision['decision']} by {by}{when}{seen}" + (f": {decision['note']}" if decision.get("note") else "")
