"""Yes or no, by whom, to what exactly. The record goes through the ledger: journal first, then tags in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prodkit.errors import ConfigError, TransientError
from prodkit.ledger import Ledger
from prodkit.ledger.review import approve_prompts, prompts_of, run_tree, runs_tagged
from prodkit.records import now
from prodkit.review.facts import gather
from prodkit.review.page import handle_of, publish
from prodkit.review.verdicts import APPROVED, REJECTED, Verdict, latest

if TYPE_CHECKING:
    from prodkit.manifest import Project

_PATIENCE = 180.0  # seconds for a server that is slow; one that is away ends it at once


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
        TransientError: `review.pending`, MLflow doesn't take it now.
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

    A verdict is recorded by `decide`, or in MLflow's UI by a person who sets the run's tag `prodkit.review` to
    `approved` or `rejected`, or gives a trace of it an assessment of this name and value. All hold for the digest of
    the job that the run was made by.

    Raises:
        ConfigError: `review.not-approved` or `review.rejected`.
    """
    verdict = latest(project, runs_tagged(project, "prodkit.job_digest", job_digest))
    if verdict is None:
        raise ConfigError(
            "review.not-approved",
            "Nobody has approved this job as it is now.",
            where=job_digest,
            fix="run it once without --require-approval, then `prodkit review RUN --approve --note ...`",
        )
    if verdict.word != APPROVED:
        why = verdict.note or "no reason given"
        where = f"run {verdict.run_id}"
        raise ConfigError(
            "review.rejected", f"The job was {verdict.word} by {verdict.by}: {why}", where=where, fix="change it"
        )
    return verdict.run_id


def _record(project: Project, decision: Decision) -> None:
    root, _ = run_tree(project, decision.run_id)
    ledger = Ledger.open(project)
    ledger.set_tags(
        handle_of(root),
        Verdict(
            decision.verdict,
            decision.person,
            root.run_id,
            now().isoformat(timespec="seconds"),
            decision.note,
            decision.digest,
        ).as_tags(),
    )
    report = ledger.flush(_PATIENCE)
    if report.pending:
        raise TransientError(
            "review.pending",
            f"The decision is in the journal but hasn't reached MLflow: {report.reason}",
            fix="the same command again when MLflow answers: it also marks the prompts and renews the page",
        )
