"""What a reviewer needs to know of a run, gathered from MLflow and the manifest. Nothing here renders or decides."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.ledger.mlflow_prices import METRIC
from prodkit.ledger.review import SUMMED, DatasetView, PromptView, RunView, prompts_of, roll_up, run_tree, same_data
from prodkit.ownership import check, matrix
from prodkit.records import now
from prodkit.review.items import Items, items_of
from prodkit.review.rehearsals import Rehearsed, newest
from prodkit.review.verdicts import latest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prodkit.manifest import Manifest, Project


@dataclass(frozen=True, slots=True)
class DataUse:
    """A dataset that was used, with what the manifest says of its source."""

    name: str
    source: str
    digest: str
    context: str
    contract: str
    result: str  # "" when no contract was checked
    owner: str
    region: str
    classification: str
    personal: bool
    retention_days: str
    resident: bool | None  # None: the manifest asks for no residency, or the region isn't known


@dataclass(frozen=True, slots=True)
class PromptUse:
    """A prompt version that was used, and how it differs from the one that was approved last."""

    name: str
    version: int
    template: str
    approved_version: int
    diff: str  # unified; "" when it is the approved one, or when none was approved


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that was called."""

    name: str
    provider: str
    region: str
    known: bool  # whether the manifest lists it


@dataclass(frozen=True, slots=True)
class Accountable:
    """One activity and who answers for it."""

    activity: str
    person: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything on the page. `digest` names exactly these facts; an approval is of a digest."""

    service: str
    purpose: str
    lifecycle: str
    risk_class: str
    run_id: str
    name: str
    kind: str
    status: str
    started: str
    commit: str
    job_digest: str  # "" for a run that isn't of a job
    simulated: bool
    cost_usd: str
    cost_usd_mlflow: str  # "" where MLflow's own price catalog agrees
    totals: dict[str, int]
    p95_seconds: float | None
    data: tuple[DataUse, ...]
    rules_broken: dict[str, int]
    prompts: tuple[PromptUse, ...]
    models: tuple[ModelUse, ...]
    owners: tuple[Accountable, ...]
    attempts: int
    rehearsed: Rehearsed | None = None
    items: Items | None = None  # of a fan-out
    findings: tuple[str, ...] = ()
    decision: dict[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> str:
        """Who answers when it doesn't work; empty while nobody does."""
        return next((row.person for row in self.owners if row.activity == "uptime"), "")

    @property
    def digest(self) -> str:
        """`sha256:` over the facts without the decision, so that deciding doesn't change what was decided on."""
        told = asdict(self)
        told.pop("decision")
        return "sha256:" + hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def gather(project: Project, run_id: str) -> Facts:
    """The facts of a run and of all runs below it.

    Raises:
        ConfigError: `review.no-run`.
    """
    root, below = run_tree(project, run_id)
    runs = (root, *below)
    manifest = project.manifest
    measured = [run for run in runs if run.kind == "cell"] or list(runs)
    figures = roll_up(measured)
    facts = Facts(
        service=manifest.service.name,
        purpose=manifest.service.purpose,
        lifecycle=manifest.service.lifecycle,
        risk_class=manifest.service.risk_class,
        run_id=root.run_id,
        name=root.name,
        kind=root.kind,
        status=root.tags.get("prodkit.status", root.status.lower()),
        started=root.started.strftime("%Y-%m-%d %H:%M UTC"),
        commit=next(
            (run.tags["mlflow.source.git.commit"] for run in runs if "mlflow.source.git.commit" in run.tags), ""
        ),
        job_digest=root.tags.get("prodkit.job_digest", ""),
        simulated=any(run.tags.get("prodkit.simulated") == "true" for run in runs),
        cost_usd=str(Decimal(repr(figures.get("cost_usd", 0.0)))),
        cost_usd_mlflow=_figure(figures.get(METRIC)),
        totals={name: int(figures.get(name, 0)) for name in SUMMED if name != "cost_usd"},
        p95_seconds=figures.get("p95_seconds"),
        data=tuple(_data_uses(runs, manifest)),
        rules_broken=_rules_broken(measured),
        prompts=tuple(_prompt_use(prompt) for prompt in prompts_of(project, runs)),
        models=tuple(_model_uses(measured, manifest)),
        owners=tuple(Accountable(row.activity, _names(row.accountable, manifest)) for row in matrix(manifest)),
        attempts=sum(run.kind == "attempt" for run in runs),
        rehearsed=newest(project, root),
        items=items_of(root, below),
        decision=_decision(project, root),
    )
    return _with_findings(facts, manifest)


def _figure(usd: float | None) -> str:
    """A sum of money as people write it; floating-point noise of the catalog left out."""
    return "" if usd is None else f"{round(Decimal(repr(usd)), 9).normalize():f}"


def _names(ids: tuple[str, ...], manifest: Manifest) -> str:
    people = manifest.owners.people
    return ", ".join(people[key].name if key in people else key for key in ids)


def _data_uses(runs: Iterable[RunView], manifest: Manifest) -> Iterator[DataUse]:
    seen: set[tuple[str, str, str]] = set()
    for run in runs:
        for dataset in run.datasets:
            if (dataset.name, dataset.digest, dataset.context) not in seen:
                seen.add((dataset.name, dataset.digest, dataset.context))
                yield _data_use(dataset, run, manifest)


def _data_use(dataset: DatasetView, run: RunView, manifest: Manifest) -> DataUse:
    told = dataset.attributes
    region = told.get("region", "")
    asked = manifest.compliance.residency
    checked, failed = run.metrics.get("rows_checked"), run.metrics.get("rows_failed", 0)
    return DataUse(
        name=dataset.name,
        source=dataset.source,
        digest=dataset.digest,
        context=dataset.context,
        contract=dataset.contract,
        result=f"{int(failed)} of {int(checked)} rows broke it" if dataset.contract and checked is not None else "",
        owner=_names((told.get("owner", ""),), manifest),
        region=region,
        classification=told.get("classification", ""),
        personal=told.get("pii") == "true",
        retention_days=told.get("retention_days", ""),
        resident=_resident(region, asked),
    )


def _resident(region: str, asked: tuple[str, ...]) -> bool | None:
    """`eu-central-1` lies in `eu`."""
    if not asked or not region:
        return None
    return any(region == place or region.startswith(place + "-") for place in asked)


def _rules_broken(runs: Iterable[RunView]) -> dict[str, int]:
    """Rule -> rows that break it; rows of the same data count once."""
    found: Counter[str] = Counter()
    for group in same_data(runs):
        broken: Counter[str] = Counter()
        for run in group:
            broken |= Counter(
                {key.removeprefix("failed."): int(v) for key, v in run.metrics.items() if key.startswith("failed.")}
            )
        found += broken
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _prompt_use(prompt: PromptView) -> PromptUse:
    diff = ""
    if prompt.approved_version and prompt.approved_template != prompt.template:
        names = (f"version {prompt.approved_version} (approved)", f"version {prompt.version}")
        before, after = prompt.approved_template.splitlines(), prompt.template.splitlines()
        diff = "\n".join(difflib.unified_diff(before, after, *names, lineterm=""))
    return PromptUse(prompt.name, prompt.version, prompt.template, prompt.approved_version, diff)


def _model_uses(runs: Iterable[RunView], manifest: Manifest) -> Iterator[ModelUse]:
    names = {name.strip() for run in runs for name in run.params.get("models", "").split(",") if name.strip()}
    for name in sorted(names):
        spec = manifest.model_named(name)
        yield ModelUse(name, spec.provider if spec else "", spec.region if spec else "", known=spec is not None)


def _decision(project: Project, root: RunView) -> dict[str, str]:
    verdict = latest(project, [root])
    return verdict.as_told() if verdict is not None else {}


def _with_findings(facts: Facts, manifest: Manifest) -> Facts:
    sentences = (sentence for ask in QUESTIONS for sentence in ask(facts, manifest))
    return replace(facts, findings=tuple(dict.fromkeys(sentences)))  # several versions of a prompt raise one question


def count(number: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _about_service(facts: Facts, manifest: Manifest) -> Iterator[str]:
    if not facts.purpose:
        yield "The manifest doesn't say what this service is for."
    for violation in check(manifest, today=now().date()):
        yield f"Ownership: {violation.what}"
    if not manifest.kill_switch:
        yield "There is no kill switch in the manifest."


def _about_calls(facts: Facts, manifest: Manifest) -> Iterator[str]:  # noqa: ARG001  all questions have one signature
    if facts.totals["llm_calls_unpriced"]:
        yield f"{count(facts.totals['llm_calls_unpriced'], 'call')} without a price: the cost above leaves that out."
    if facts.cost_usd_mlflow:
        yield (
            f"MLflow's own price catalog says ${facts.cost_usd_mlflow} of the calls that cost ${facts.cost_usd} here; "
            "the calls in question carry both figures."
        )
    if facts.totals["llm_errors"]:
        yield f"{count(facts.totals['llm_errors'], 'call')} failed."


def _about_items(facts: Facts, manifest: Manifest) -> Iterator[str]:  # noqa: ARG001
    if facts.items is None:
        return
    failed = facts.items.failed
    if failed:
        ends = ", ".join(f"{number:,} {end}" for end, number in failed.items())
        yield f"{sum(failed.values()):,} of {count(facts.items.total, 'row')} didn't end well: {ends}."
    if facts.items.skipped:
        yield (
            f"{count(facts.items.skipped, 'row')} had succeeded in an earlier run: "
            "what they cost and read is not on this page."
        )


def _about_data(facts: Facts, manifest: Manifest) -> Iterator[str]:  # noqa: ARG001
    for use in facts.data:
        if use.context == "input" and not use.contract:
            yield f"The data `{use.name}` was used without a contract."
        if use.resident is False:
            yield f"The data `{use.name}` lies in {use.region}, outside the residency that was asked for."
        if use.personal and not use.retention_days:
            yield f"The data `{use.name}` is personal and has no retention period."


def _about_prompts(facts: Facts, manifest: Manifest) -> Iterator[str]:  # noqa: ARG001
    for prompt in facts.prompts:
        if not prompt.approved_version:
            yield f"No version of the prompt `{prompt.name}` was approved before."
        elif prompt.diff:
            yield f"The prompt `{prompt.name}` differs from the approved version {prompt.approved_version}."


def _about_models(facts: Facts, manifest: Manifest) -> Iterator[str]:
    asked = manifest.compliance.residency
    for model in facts.models:
        if not model.known:
            yield f"The manifest doesn't list the model `{model.name}`."
        elif _resident(model.region, asked) is False:
            yield f"The model `{model.name}` runs in {model.region}, outside {', '.join(asked)}."


def _about_rehearsal(facts: Facts, manifest: Manifest) -> Iterator[str]:  # noqa: ARG001
    if facts.kind == "job" and facts.rehearsed is None:
        yield "It was never rehearsed: nobody knows what its users see when the provider fails."
    elif facts.kind == "job" and facts.rehearsed is not None and not facts.rehearsed.current:
        yield "It has changed since its last rehearsal."
    if facts.rehearsed is not None and facts.rehearsed.failed:
        yield f"Faults that it didn't survive in the rehearsal: {facts.rehearsed.failed}."


# what a reviewer should ask about, one sentence each; a new question is one more function
QUESTIONS = (_about_service, _about_items, _about_calls, _about_data, _about_prompts, _about_models, _about_rehearsal)
