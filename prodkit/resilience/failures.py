"""How a call can fail, and what each way of failing means for the next step. The table is the policy's heart.

| class         | same target again             | next target | trips the breaker      |
|---------------|-------------------------------|-------------|------------------------|
| unavailable   | yes                           | yes         | yes                    |
| rate-limited  | yes, unless the wait is long  | yes         | no; a long wait holds  |
| quota         | no                            | yes         | holds for a minute     |
| timeout       | only when nothing else is left| yes         | yes                    |
| refused       | no                            | no          | no                     |
| filtered      | no                            | opt-in      | no                     |
| bad-answer    | no                            | yes         | no                     |
| never         | no                            | no          | no                     |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class FailureClass(StrEnum):
    """The classes of failures. `never` is cancellation and programming errors: passed on at once, untouched."""

    UNAVAILABLE = "unavailable"  # 408, 409, 5xx, 529, no connection, a stream that was cut
    RATE_LIMITED = "rate-limited"  # 429
    QUOTA = "quota"  # 402, insufficient_quota: waiting doesn't help
    TIMEOUT = "timeout"  # it may have been billed
    REFUSED = "refused"  # 400, 401, 403, 404, 413, 422: our own fault, said loudly
    FILTERED = "filtered"  # the content filter
    BAD_ANSWER = "bad-answer"  # empty, cut off, not what the schema asks for
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    again: bool  # the same target, after a wait
    onward: bool  # the next target
    trips: bool  # counts against the target in its breaker
    hold: float = 0.0  # seconds for which the target is left alone at once


RULES: dict[FailureClass, Rule] = {
    FailureClass.UNAVAILABLE: Rule(again=True, onward=True, trips=True),
    FailureClass.RATE_LIMITED: Rule(again=True, onward=True, trips=False),
    FailureClass.QUOTA: Rule(again=False, onward=True, trips=False, hold=60.0),
    FailureClass.TIMEOUT: Rule(again=True, onward=True, trips=True),
    FailureClass.REFUSED: Rule(again=False, onward=False, trips=False),
    FailureClass.FILTERED: Rule(again=False, onward=False, trips=False),
    FailureClass.BAD_ANSWER: Rule(again=False, onward=True, trips=False),
    FailureClass.NEVER: Rule(again=False, onward=False, trips=False),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, as the policy sees it. `reason` names the kind of trouble, never any content.

    Attributes:
        kind: the row of the table.
        reason: a few words, e.g. `HTTP 503` or `no choices`.
        http_status: where there was one.
        retry_after: seconds that the provider asked us to wait; None when it didn't say.
        billed: False when the provider certainly didn't charge for it, True when it did, None when nobody knows.
    """

    kind: FailureClass
    reason: str = ""
    http_status: int | None = None
    retry_after: float | None = None
    billed: bool | None = None


def known_classes(names: Iterable[str]) -> None:
    """Refuse a class of failures that doesn't exist, or that must never go elsewhere.

    Raises:
        ConfigError: `resilience.unknown-class`.
    """
    options = [kind.value for kind in FailureClass if kind is not FailureClass.NEVER]
    for name in names:
        if name not in options:
            raise ConfigError(
                "resilience.unknown-class", f"`{name}` is not a class of failures.", fix=nearest(name, options)
            )
