"""What a comparison has found: one outcome for each variant, side by side as table, text and picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError, nearest
from prodkit.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    import pandas as pd

    from prodkit.capture.variants import Variant
    from prodkit.records import RunSummary


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one variant has done.

    Attributes:
        value: of the cell's last line, or what the function returned; None when it failed.
        variables: what the cell has set, by name. The notebook's own variables stay as they were.
        quality: the mean score, 1 being all right for an exact match; None when nobody knows, and `doubt` says why.
        summary: calls, tokens, cost and latency of this variant alone.
    """

    variant: Variant
    summary: RunSummary
    value: Any = None
    variables: dict[str, Any] = field(default_factory=dict, repr=False)
    quality: float | None = None
    doubt: str = ""
    error: BaseException | None = None

    @property
    def label(self) -> str:
        """`gpt-4o-mini, v2`."""
        return self.variant.label

    @property
    def ok(self) -> bool:
        """Whether it ran to its end."""
        return self.summary.status is Status.OK

    @property
    def trouble(self) -> str:
        """In one line, why it failed; empty when it didn't."""
        if self.error is None:
            return ""
        lines = str(self.error).splitlines() or [""]
        word = "refused" if self.summary.status is Status.REFUSED else "failed"
        return f"{word}: {type(self.error).__name__}: {lines[0][:160]}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcomes of one comparison, in the order of its variants. Index it by number, label, or model and prompt."""

    name: str
    outcomes: tuple[Outcome, ...]
    measure: str = ""  # what quality is: "exact match", or the scorer's name; empty without
    run_id: str = ""
    url: str = ""

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __getitem__(self, key: int | str | tuple[str, str]) -> Outcome:
        """One outcome.

        Raises:
            ParameterError: `compare.no-variant` with the nearest label.
            IndexError: a number beyond the last.
        """
        if isinstance(key, int):
            return self.outcomes[key]
        wanted = ", ".join(key) if isinstance(key, tuple) else key
        for outcome in self.outcomes:
            if outcome.label == wanted:
                return outcome
        fix = nearest(wanted, [outcome.label for outcome in self.outcomes])
        raise ParameterError("compare.no-variant", f"There was no variant `{wanted}`.", fix=fix)

    @property
    def simulated(self) -> bool:
        """Whether the simulated provider answered."""
        return any(outcome.summary.simulated for outcome in self.outcomes)

    @property
    def best(self) -> Outcome | None:
        """The highest quality, the cheapest of equals; None while no quality is known."""
        known = [outcome for outcome in self.outcomes if outcome.quality is not None]
        return min(known, key=lambda one: (-(one.quality or 0.0), one.summary.cost_usd), default=None)

    @property
    def cheapest(self) -> Outcome | None:
        """The lowest cost among those that ran and whose calls are all priced."""
        known = [one for one in self.outcomes if one.ok and one.summary.calls and not one.summary.unpriced]
        return min(known, key=lambda one: one.summary.cost_usd, default=None)

    @property
    def fastest(self) -> Outcome | None:
        """The lowest p95 among those that ran."""
        known = [one for one in self.outcomes if one.ok and one.summary.p95_seconds is not None]
        return min(known, key=lambda one: one.summary.p95_seconds or 0.0, default=None)

    def to_frame(self) -> pd.DataFrame:
        """One row a variant: model, prompt, quality, cost_usd, calls, tokens, p50 and p95 in seconds, error."""
        import pandas as pd

        return pd.DataFrame([_row(outcome) for outcome in self.outcomes])

    def to_text(self) -> str:
        """The table as lines of text."""
        from prodkit.capture.side_by_side import text

        return text(self)

    def to_html(self) -> str:
        """Table and picture as a fragment of HTML that stands alone."""
        from prodkit.capture.side_by_side import html

        return html(self)

    def to_svg(self) -> str:
        """Quality, cost and latency as bars; readable on light and on dark."""
        from prodkit.capture.side_by_side import svg

        return svg(self)

    def __repr__(self) -> str:
        """The table."""
        return self.to_text()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/html": self.to_html(), "text/plain": self.to_text()}


def _row(outcome: Outcome) -> dict[str, str | float | int | Decimal | None]:
    run = outcome.summary
    return {
        "model": outcome.variant.model,
        "prompt": outcome.variant.prompt,
        "quality": outcome.quality,
        "cost_usd": float(run.cost_usd),
        "unpriced_calls": run.unpriced,
        "calls": run.calls,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "p50_seconds": run.p50_seconds,
        "p95_seconds": run.p95_seconds,
        "error": outcome.trouble,
    }
