"""`prodkit.compare(...)`: the same work once for each model and prompt, each variant an MLflow run below one parent."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from prodkit.capture.comparison import Comparison, Outcome
from prodkit.capture.faces import faces
from prodkit.capture.opening import close_run, open_run
from prodkit.capture.options import RunOptions, check_budget
from prodkit.capture.scoring import Scoring
from prodkit.capture.variants import Variant
from prodkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from prodkit.capture.options import Mode
    from prodkit.capture.runs import OpenRun

AXES = ("model", "prompt")


def compare(
    work: Callable[..., Any],
    *,
    model: str | Sequence[str] = (),
    prompt: str | Sequence[str] = (),
    expect: object = None,
    score: Callable[..., Any] | None = None,
    name: str = "",
    budget: str | float | Decimal | None = None,
    inputs: str | Sequence[str] | Mapping[str, Any] = (),
    mode: Mode = "quarantine",
    user: str | None = None,
    source: str | None = None,
    purpose: str | None = None,
) -> Any:
    """Run a function once for each combination of models and prompts, and lay quality, cost and latency side by side.

    Args:
        work: makes the calls and returns the answers. Its model and its registered prompt are put in from outside;
            arguments called `model` or `prompt` get the variant's. For an `async def` await the result.
        model: names of models, as a sequence or separated by commas.
        prompt: versions (`v1`, `triage@2`) or names of registered prompts, for functions that call `Prompt.format`.
        expect: the right answers, as many as `work` returns: quality is the share that equals them.
        score: `score(answers)`, or `score(answers, expect)`: a number, or one for each answer. Its own model calls
            count on the comparison, not on a variant.
        name: of the parent run in MLflow; by default the function's.
        budget: US dollars that all variants may cost together.
        inputs: dataframes to check first, as for `prodkit.run`.
        mode: what happens to rows that break their contract.
        user: id of the person on whose behalf the calls are made.
        source: where the content comes from: `user_input`, `crm`, ...
        purpose: what the answers are for.

    Returns:
        A `Comparison`. A variant that fails has its error in it, and the others go on.

    Raises:
        ParameterError: `compare.no-variants`, or an argument is wrong.
        Exception: the first variant's error, when no variant ran to its end.
    """
    variants = variants_of(model, prompt)
    scoring = Scoring.of(expect, score)
    named = (inputs,) if isinstance(inputs, str) else inputs
    called = name or getattr(work, "__name__", "").strip("<>") or "compare"
    options = RunOptions(
        name=called,
        kind="compare",
        budget=check_budget(budget),
        inputs=dict(named) if isinstance(named, Mapping) else tuple(named),
        mode=mode,
        user=user or "",
        source=source or "",
        purpose=purpose or "",
        namespace=getattr(work, "__globals__", None),
        **_around(),
    )
    run = open_run(options)
    if inspect.iscoroutinefunction(work):
        return _acompare(run, work, variants, scoring)
    with Comparing(run) as comparing:
        for variant in variants:
            with comparing.turn(variant, scoring, takes=_takes(work)) as turn:
                turn.value = work(**turn.arguments)
    return comparing.result(scoring)


async def _acompare(run: OpenRun, work: Callable[..., Any], variants: Sequence[Variant], scoring: Scoring) -> Any:
    with Comparing(run) as comparing:
        for variant in variants:
            with comparing.turn(variant, scoring, takes=_takes(work)) as turn:
                turn.value = await work(**turn.arguments)
    return comparing.result(scoring)


def variants_of(model: str | Sequence[str], prompt: str | Sequence[str]) -> tuple[Variant, ...]:
    """All combinations, each once, models outermost.

    Raises:
        ParameterError: `compare.no-variants`.
    """
    models, prompts = _listed(model), _listed(prompt)
    if not models and not prompts:
        fix = "e.g. `--matrix model=gpt-4o-mini,gpt-4o` or compare(f, model=['gpt-4o-mini', 'gpt-4o'])"
        raise ParameterError("compare.no-variants", "There is nothing to compare.", where="model=, prompt=", fix=fix)
    return tuple(Variant(*pair) for pair in product(models or ("",), prompts or ("",)))


@dataclass(slots=True)
class Turn:
    """One variant's turn: whoever does its work leaves the value here."""

    arguments: dict[str, Any]
    value: Any = None
    variables: dict[str, Any] = field(default_factory=dict)


class Comparing:
    """A comparison that is under way: opens and closes a run for each variant, below the parent's."""

    def __init__(self, run: OpenRun) -> None:
        self.run = run
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            close_run(self.run, error)

    @contextmanager
    def turn(self, variant: Variant, scoring: Scoring, *, takes: frozenset[str] = frozenset()) -> Iterator[Turn]:
        """One variant's turn, with its run open; what is raised inside becomes this variant's error and ends there.

        To stop (Ctrl-C, the stop button) is meant for all of them, and passes through.
        """
        options = RunOptions(
            name=variant.label,
            variant=variant,
            params=variant.params,
            tags={"prodkit.compared": self.run.name},
            project=self.run.project,
        )
        run = open_run(options)
        turn = Turn({axis: getattr(variant, axis) for axis in AXES if axis in takes})
        error: BaseException | None = None
        try:
            yield turn
            if "prompt" not in takes and run.stead is not None:
                run.stead.check_used()
        except BaseException as problem:
            error = problem
        outcome = Outcome(variant, close_run(run, error), turn.value, turn.variables, error=error)
        if error is None:
            outcome = scoring.judge(outcome)
        if outcome.quality is not None:
            run.ledger.log_metrics(run.handle, {"quality": outcome.quality})
        self.outcomes.append(outcome)
        if error is not None and (not isinstance(error, Exception) or getattr(error, "code", "") == "capture.stopped"):
            raise error

    def result(self, scoring: Scoring) -> Comparison:
        """The comparison, logged at the parent run; closes it.

        Raises:
            Exception: the first variant's error, when no variant ran to its end.
        """
        found = Comparison(self.run.name, tuple(self.outcomes), scoring.measure, self.run.handle.run_id, self._url())
        self.run.ledger.log_text(self.run.handle, found.to_html(), "compare.html")
        self.run.ledger.log_text(self.run.handle, found.to_text(), "compare.txt")
        failed = [one.error for one in self.outcomes if one.error is not None]
        if len(failed) == len(self.outcomes) and failed[0] is not None:
            close_run(self.run, failed[0])
            raise failed[0]
        if found.best is not None:
            self.run.ledger.set_tags(self.run.handle, {"prodkit.best": found.best.label})
        close_run(self.run)
        return found

    def _url(self) -> str:
        """MLflow's own page that compares runs; the command that opens the parent where MLflow is a file."""
        url = self.run.url
        runs = [one.summary.run_id for one in self.outcomes if one.summary.run_id]
        if not url.startswith(("http://", "https://")) or not runs:
            return url
        listed = ",".join(f'"{run_id}"' for run_id in runs)
        experiment = self.run.handle.experiment_id
        return f'{url.partition("#")[0]}#/compare-runs?runs=[{listed}]&experiments=["{experiment}"]'


def _takes(work: Callable[..., Any]) -> frozenset[str]:
    try:
        named = inspect.signature(work).parameters
    except (TypeError, ValueError):  # of some builtins nobody knows
        return frozenset()
    return frozenset(axis for axis in AXES if axis in named)


def _listed(given: str | Sequence[str]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(dict.fromkeys(part.strip() for part in map(str, parts) if part.strip()))


def _around() -> dict[str, Any]:
    return faces[-1].surroundings() if faces else {}
