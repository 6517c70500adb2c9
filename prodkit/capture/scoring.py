"""How good a variant's answers are: by a scorer of the user's, or by how many equal the right ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError

if TYPE_CHECKING:
    from prodkit.capture.comparison import Outcome

EXACT = "exact match"


@dataclass(frozen=True, slots=True)
class Scoring:
    """What answers are judged by. Both are looked up when a variant is over: its code may have made them.

    Args:
        expect: gives the right answers.
        scorer: gives the user's scorer, of the answers alone or of answers and right ones.
        measure: what the figure is, for the table's head; empty where nothing is judged.
    """

    expect: Callable[[Outcome], Any] | None = None
    scorer: Callable[[Outcome], Any] | None = None
    measure: str = ""

    @classmethod
    def of(cls, expect: Any, score: Callable[..., Any] | None) -> Scoring:
        """From what is there already.

        Raises:
            ParameterError: `compare.score`: the scorer can't be called.
        """
        check_scorer(score)
        measure = getattr(score, "__name__", "score") if score is not None else EXACT if expect is not None else ""
        return cls(None if expect is None else lambda _: expect, None if score is None else lambda _: score, measure)

    def judge(self, outcome: Outcome) -> Outcome:
        """The outcome with its quality, or with why it isn't known: a scorer that fails takes nothing away."""
        if not self.measure:
            return outcome
        try:
            return replace(outcome, quality=self._quality(outcome))
        except Exception as error:
            lines = str(error).splitlines() or [""]
            return replace(outcome, doubt=f"{self.measure}: {type(error).__name__}: {lines[0][:160]}")

    def _quality(self, outcome: Outcome) -> float:
        expected = self.expect(outcome) if self.expect is not None else None
        if self.scorer is None:
            return exact_match(outcome.value, expected)
        score = self.scorer(outcome)
        check_scorer(score)
        given = (outcome.value,) if expected is None or _arity(score) == 1 else (outcome.value, expected)
        return mean(score(*given))


def check_scorer(score: Any) -> None:
    """Refuse what can't be called, before money is spent.

    Raises:
        ParameterError: `compare.score`.
    """
    if score is not None and not callable(score):
        fix = "pass a function of the answers that returns a number"
        what = f"The scorer is a {type(score).__name__}, not a function."
        raise ParameterError("compare.score", what, where="score=", fix=fix)


def exact_match(answers: Any, expected: Any) -> float:
    """The share of answers that equal the right ones, in their order; what is missing equals nothing.

    Raises:
        ParameterError: `compare.length`: there are not as many answers as right ones.
    """
    given, right = _items(answers), _items(expected)
    if len(given) != len(right) or not right:
        raise ParameterError(
            "compare.length",
            f"there are {len(given)} answers and {len(right)} right ones",
            fix="let the cell's last line be as many answers as the column has rows",
        )
    return sum(_equal(one, other) for one, other in zip(given, right, strict=True)) / len(right)


def mean(scores: Any) -> float:
    """A number as it is, several as their mean.

    Raises:
        ParameterError: `compare.score`: it isn't a number, or there is none.
    """
    several = scores if isinstance(scores, Iterable) and not isinstance(scores, str | Mapping) else [scores]
    numbers = [float(one) for one in several if isinstance(one, Real) or hasattr(one, "__float__")]
    if not numbers or any(math.isnan(number) for number in numbers):
        what = f"the scorer gave {type(scores).__name__}, not a number or a number for each answer"
        raise ParameterError("compare.score", what)
    return sum(numbers) / len(numbers)


def _items(values: Any) -> list[Any]:
    if isinstance(values, Mapping):
        return list(values.values())
    if isinstance(values, str) or not isinstance(values, Iterable) or not isinstance(values, Sized):
        return [values]
    return list(values)


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # of arrays and of missing values
        return False


def _arity(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return 2
    return sum(one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD} for one in parameters)
