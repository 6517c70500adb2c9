"""Reading back what MLflow holds of a project's runs, as frozen views, for faces and reports that show it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger.client import asking, found_or_none, newest_versions, search_runs, search_traces, search_versions
from prodkit.ledger.mlflow_prices import METRIC
from prodkit.records import PromptVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.manifest import Project

SUMMED = (
    "cost_usd", "llm_calls", "llm_errors", "llm_calls_unpriced", "llm_calls_estimated", "llm_calls_degraded",
    "llm_calls_refused", "input_tokens", "output_tokens", "rows_checked", "rows_failed",
)  # fmt: skip
_APPROVED = "approved"
_PARENT = "mlflow.parentRunId"
_FEW = 10  # parents that are asked for one by one
_SKEW = timedelta(hours=1)  # between the clocks of the machines that runs began on


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset of a run. `attributes` are those of the data source, as the manifest had them at the time."""

    name: str
    digest: str
    source: str
    context: str = ""
    contract: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptView:
    """A prompt version of a run, beside the version that was approved last (0 and "" when none was)."""

    name: str
    version: int
    template: str
    approved_version: int = 0
    approved_template: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as MLflow shows it. `status` is MLflow's word (RUNNING, FINISHED, FAILED, KILLED)."""

    run_id: str
    name: str
    status: str
    started: datetime
    parent: str = ""
    experiment_id: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetView, ...] = ()

    @property
    def kind(self) -> str:
        """session, cell, job, attempt or item; "" for a run that isn't prodkit's."""
        return self.tags.get("prodkit.kind", "")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person has said at a trace in MLflow's UI. `runs` are the trace's run and those above it."""

    person: str
    value: str
    note: str
    given: datetime
    runs: tuple[str, ...]


def roll_up(cells: Iterable[RunView]) -> dict[str, float]:
    """The figures of captured cells together, as metrics of the run above them: sums, and the worst p95.

    A figure that no cell has is left out, because not known isn't 0. Rows of the same data count once.
    """
    cells = list(cells)
    totals: dict[str, float] = {}
    for name in SUMMED:
        groups = same_data(cells) if name.startswith("rows_") else [(cell,) for cell in cells]
        told = [[cell.metrics[name] for cell in group if name in cell.metrics] for group in groups]
        known = [Decimal(repr(max(figures))) for figures in told if figures]
        if known:
            totals[name] = float(sum(known, Decimal(0)))
    # as MLflow would have it: its own figure where it has another one, else ours
    if any(METRIC in cell.metrics for cell in cells):
        theirs = [cell.metrics.get(METRIC, cell.metrics.get("cost_usd", 0.0)) for cell in cells]
        totals[METRIC] = float(sum((Decimal(repr(one)) for one in theirs), Decimal(0)))
    slowest = [cell.metrics["p95_seconds"] for cell in cells if "p95_seconds" in cell.metrics]
    return totals | ({"p95_seconds": max(slowest)} if slowest else {})


def same_data(runs: Iterable[RunView]) -> list[tuple[RunView, ...]]:
    """The runs in groups that used the same data, as the attempts of a job do: what one found in it, all found."""
    groups: dict[tuple[str, ...], list[RunView]] = {}
    for run in runs:
        digests = tuple(sorted(one.digest for one in run.datasets)) or (run.run_id,)
        groups.setdefault((run.name, *digests), []).append(run)
    return [tuple(group) for group in groups.values()]


def runs_since(project: Project, since: datetime) -> list[RunView]:
    """All of the project's runs that began at or after `since`, oldest first."""
    return _search(project, f"attributes.start_time >= {_milliseconds(since)}")


def runs_tagged(project: Project, tag: str, value: str) -> list[RunView]:
    """The project's runs that carry this tag with this value, oldest first."""
    quoted = value.replace("'", "")
    return _search(project, f"tags.`{tag}` = '{quoted}'")


def run_tree(project: Project, run_id: str) -> tuple[RunView, tuple[RunView, ...]]:
    """A run and all runs below it, oldest first.

    Raises:
        ConfigError: `review.no-run`, the project's MLflow has no such run.
    """
    tree = find_tree(project, run_id)
    if tree is None:
        raise ConfigError(
            "review.no-run", f"There is no run `{run_id}`.", where="MLflow", fix="list runs with `prodkit runs`"
        )
    return tree


def find_tree(project: Project, run_id: str) -> tuple[RunView, tuple[RunView, ...]] | None:
    """As `run_tree`; None when the project's MLflow has no such run."""
    with asking(project.tracking_uri) as client:
        root = found_or_none(lambda: client.get_run(run_id))
        return None if root is None else (_view(root), tuple(_below(client, root)))


def prompts_of(project: Project, runs: tuple[RunView, ...]) -> tuple[PromptView, ...]:
    """The prompt versions that are linked to these runs, each once, with the last approved version beside it."""
    linked = {
        (item["name"], int(item["version"]))
        for run in runs
        for item in json.loads(run.tags.get("mlflow.linkedPrompts", "[]"))
    }
    if not linked:
        return ()
    with asking(project.tracking_uri) as client:
        return tuple(_prompt(client, name, version) for name, version in sorted(linked))


def approve_prompts(project: Project, prompts: tuple[PromptView, ...]) -> None:
    """Point the alias `approved` of each prompt to the version that was seen."""
    if not prompts:
        return
    with asking(project.tracking_uri) as client:
        for prompt in prompts:
            client.set_prompt_alias(prompt.name, _APPROVED, prompt.version)


def registered_prompt(project: Project, name: str, version: int | None = None) -> PromptVersion | None:
    """A version of a prompt as the registry has it, the newest by default; None when there is no such version."""
    with asking(project.tracking_uri) as client:
        if version is None:
            found = next(iter(search_versions(client, name, most=1)), None)
        else:
            found = found_or_none(lambda: client.get_prompt_version(name, version))
    if found is None:
        return None
    return PromptVersion(name, int(found.version), "", str(found.template))


def registered_prompts(project: Project) -> dict[str, int]:
    """Name -> newest version of the prompts in the registry."""
    with asking(project.tracking_uri) as client:
        return newest_versions(client)


def judgements(project: Project, name: str, values: tuple[str, ...]) -> list[Judgement]:
    """The assessments of this name with one of these values that people have given in the project, oldest first."""
    with asking(project.tracking_uri) as client:
        return sorted(_judgements(client, project.experiment, name, values), key=lambda one: one.given)


def _judgements(client: Any, experiment_name: str, name: str, values: tuple[str, ...]) -> list[Judgement]:
    experiment = client.get_experiment_by_name(experiment_name)
    found, parents = [], dict[str, str]()
    for value in values if experiment is not None else ():
        for trace in search_traces(client, [experiment.experiment_id], f"feedback.`{name}` = '{value}'"):
            runs = _upwards(client, trace.info.trace_metadata.get("mlflow.sourceRun", ""), parents)
            found += [
                Judgement(
                    person=str(item.source.source_id),
                    value=value,
                    note=item.rationale or "",
                    given=datetime.fromtimestamp((item.last_update_time_ms or item.create_time_ms) / 1000, UTC),
                    runs=runs,
                )
                for item in trace.info.assessments
                if item.name == name and item.value == value and item.source.source_type == "HUMAN"
            ]
    return found


def _upwards(client: Any, run_id: str, parents: dict[str, str]) -> tuple[str, ...]:
    """A run and those above it; `parents` keeps what was asked for already."""
    found: list[str] = []
    while run_id and run_id not in found:
        found.append(run_id)
        if run_id not in parents:
            parents[run_id] = client.get_run(run_id).data.tags.get(_PARENT, "")
        run_id = parents[run_id]
    return tuple(found)


def _below(client: Any, root: Any) -> list[RunView]:
    found: list[Any] = []
    level = [root.info.run_id]
    while level:
        children = _children(client, root, level)
        found += children
        level = [run.info.run_id for run in children]
    return [_view(run) for run in found]


def _children(client: Any, root: Any, parents: Sequence[str]) -> list[Any]:
    place = [root.info.experiment_id]
    if len(parents) <= _FEW:
        return [run for parent in parents for run in search_runs(client, place, f"tags.`{_PARENT}` = '{parent}'")]
    # one question for many parents: MLflow can't be asked for one tag with several values
    begun = datetime.fromtimestamp(root.info.start_time / 1000, UTC) - _SKEW
    condition = f"tags.`{_PARENT}` IS NOT NULL AND attributes.start_time >= {_milliseconds(begun)}"
    if root.info.end_time:
        ended = datetime.fromtimestamp(root.info.end_time / 1000, UTC) + _SKEW
        condition += f" AND attributes.start_time <= {_milliseconds(ended)}"
    known = set(parents)
    return [run for run in search_runs(client, place, condition) if run.data.tags.get(_PARENT) in known]


def _search(project: Project, condition: str) -> list[RunView]:
    with asking(project.tracking_uri) as client:
        experiment = client.get_experiment_by_name(project.experiment)
        if experiment is None:
            return []
        return [_view(run) for run in search_runs(client, [experiment.experiment_id], condition)]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _view(run: Any) -> RunView:
    return RunView(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        parent=run.data.tags.get(_PARENT, ""),
        experiment_id=run.info.experiment_id,
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        datasets=tuple(_dataset(item) for item in (run.inputs.dataset_inputs if run.inputs else ())),
    )


def _dataset(item: Any) -> DatasetView:
    tags = {tag.key: tag.value for tag in item.tags}
    profile = json.loads(item.dataset.profile or "{}")
    source = json.loads(item.dataset.source or "{}")
    return DatasetView(
        name=item.dataset.name,
        digest=item.dataset.digest,
        source=str(source.get("uri", "")),
        context=tags.get("mlflow.data.context", ""),
        contract=tags.get("prodkit.contract", ""),
        attributes={key: str(value) for key, value in profile.items() if isinstance(value, str | int | float)},
    )


def _prompt(client: Any, name: str, version: int) -> PromptView:
    seen = client.get_prompt_version(name, version)
    approved = found_or_none(lambda: client.get_prompt_version_by_alias(name, _APPROVED))
    if approved is None:  # nobody approved any version yet
        return PromptView(name, version, str(seen.template))
    return PromptView(name, version, str(seen.template), int(approved.version), str(approved.template))
