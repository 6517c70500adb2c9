"""How the items of a fan-out ended, for the page of the run above them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.ledger.review import RunView

SHOWN = 20
_PREFIX, _SKIPPED = "items_", "items_skipped"


@dataclass(frozen=True, slots=True)
class WrongItem:
    """An item that didn't end well. `error` is the class of its last attempt's error, "" when none is known."""

    run_id: str
    experiment_id: str
    outcome: str
    error: str
    params: str


@dataclass(frozen=True, slots=True)
class Items:
    """All items of a fan-out.

    Attributes:
        total: rows of the file.
        ended: how many ended in which way, those of earlier runs included.
        skipped: rows that had succeeded in an earlier run; what they did isn't part of this page.
        wrong: items that didn't end well, at most 20 of them.
    """

    total: int
    ended: dict[str, int]
    skipped: int
    wrong: tuple[WrongItem, ...]

    @property
    def failed(self) -> dict[str, int]:
        """How many ended in which way other than well, and how many were not begun."""
        failed = {name: count for name, count in self.ended.items() if name != "ok"}
        missing = self.total - sum(self.ended.values())
        return failed | ({"not begun": missing} if missing > 0 else {})


def items_of(root: RunView, below: Iterable[RunView]) -> Items | None:
    """The items below the run of a fan-out; None for any other run."""
    if "items" not in root.metrics:
        return None
    runs = list(below)
    ended = {
        name.removeprefix(_PREFIX): int(count)
        for name, count in sorted(root.metrics.items())
        if name.startswith(_PREFIX) and name != _SKIPPED
    }
    wrong = [run for run in runs if run.kind == "item" and run.tags.get("prodkit.outcome", "ok") != "ok"]
    return Items(
        total=int(root.metrics["items"]),
        ended=ended,
        skipped=int(root.metrics.get(_SKIPPED, 0)),
        wrong=tuple(_wrong(run, runs) for run in wrong[:SHOWN]),
    )


def _wrong(item: RunView, runs: Sequence[RunView]) -> WrongItem:
    errors = [run.tags.get("prodkit.error", "") for run in runs if run.parent == item.run_id]
    return WrongItem(
        run_id=item.run_id,
        experiment_id=item.experiment_id,
        outcome=item.tags["prodkit.outcome"],
        error=next((error for error in reversed(errors) if error), ""),
        params=", ".join(f"{name}={value}" for name, value in sorted(item.params.items())),
    )
