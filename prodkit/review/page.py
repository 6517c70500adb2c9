"""The facts as one page: HTML for MLflow's preview, markdown for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.ledger import Ledger
from prodkit.ledger.mlflow_view import place_of_runs
from prodkit.ledger.review import run_tree
from prodkit.records import RunHandle
from prodkit.review.facts import gather
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.ledger.review import RunView
    from prodkit.manifest import Project
    from prodkit.review.facts import Facts

HTML = "review.html"
MARKDOWN = "review.md"


def to_html(facts: Facts) -> str:
    """A page of its own: no script, nothing fetched, light and dark."""
    return render("review.html.j2", facts=facts, digest=facts.digest)


def to_markdown(facts: Facts) -> str:
    """The same as markdown tables."""
    return render("review.md.j2", facts=facts, digest=facts.digest, cell=_cell)


def publish(project: Project, run_id: str) -> Facts:
    """Write both pages to the run's artifacts and say in the experiment's note where they are.

    Raises:
        ConfigError: `review.no-run`.
    """
    facts = gather(project, run_id)
    root, _ = run_tree(project, run_id)
    ledger = Ledger.open(project)
    handle = handle_of(root)
    ledger.log_text(handle, to_html(facts), HTML)
    ledger.log_text(handle, to_markdown(facts), MARKDOWN)
    ledger.note_experiment(note(facts, root.experiment_id))
    return facts


def note(facts: Facts, experiment_id: str) -> str:
    """What MLflow shows above every tab of the experiment; folded, it shows the first line only."""
    page = f"#/experiments/{experiment_id}/runs/{facts.run_id}/artifacts/{HTML}"
    purpose, answers = facts.purpose or "no purpose given.", facts.answers or "nobody yet"
    return (
        f"**{facts.service}**: {purpose} Answers for it: **{answers}**. "
        f"[Latest review]({page}), [runs by cost and data]({place_of_runs(experiment_id)})\n\n"
        f"Lifecycle {facts.lifecycle}, risk class {facts.risk_class}. Each reviewed run holds `{HTML}`: data, prompts, "
        f"models, cost, open findings and the decision; the latest is of {facts.name}, {facts.started}, run "
        f"`{facts.run_id}`.\n\nTo decide: `prodkit review RUN --approve` or "
        "`--reject --note '...'`; or here, the run's tag `prodkit.review` set to `approved` or `rejected`, or an "
        "assessment of that name and value at one of its traces, which also records who you are."
    )


def handle_of(run: RunView) -> RunHandle:
    """A handle of a run that another process has opened."""
    key = run.tags.get("prodkit.key", run.run_id)
    return RunHandle(key=key, name=run.name, run_id=run.run_id, experiment_id=run.experiment_id)


def _cell(text: object) -> str:
    """Text that can't break a markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
