"""A comparison as lines of text, as HTML and as a picture. Nothing is fetched, nothing needs a script."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.records import Status
from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.comparison import Comparison, Outcome

_HEADS = ("variant", "quality", "cost", "calls", "p50", "p95", "tokens", "")
_UNKNOWN = "not known"
_CENT = Decimal("0.01")
# the picture, in its own units
_LEFT, _PANEL, _GAP, _ROW, _TOP = 190, 160, 96, 26, 44


def text(comparison: Comparison) -> str:
    """Columns padded to the same width."""
    rows = [_HEADS, *(_cells(comparison, outcome) for outcome in comparison.outcomes)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [title(comparison), *(f"  {line}" for line in lines), *(f"  {line}" for line in remarks(comparison))]
    )


def html(comparison: Comparison) -> str:
    """The table and the picture below it."""
    return table(comparison) + f'<div class="prodkit-plot">{svg(comparison)}</div>'


def table(comparison: Comparison) -> str:
    """The table as a fragment that stands alone."""
    rows = [(outcome, _cells(comparison, outcome)) for outcome in comparison.outcomes]
    return render(
        "compare.html.j2",
        comparison=comparison,
        heads=_HEADS,
        rows=rows,
        remarks=remarks(comparison),
        link=comparison.url if comparison.url.startswith(("http://", "https://")) else "",
    )


def title(comparison: Comparison) -> str:
    """`triage: 4 variants compared (simulated provider)`."""
    count = len(comparison.outcomes)
    simulated = " (simulated provider)" if comparison.simulated else ""
    return f"{comparison.name}: {count} variant{'' if count == 1 else 's'} compared{simulated}"


def remarks(comparison: Comparison) -> list[str]:
    """What the figures are, and what went wrong, one sentence each."""
    said = [f"quality is {comparison.measure}" if comparison.measure else "quality: say --expect or --score to know it"]
    if comparison.simulated:
        said.append("the answers and their latency are simulated, the prices are list prices")
    said += [f"{one.label}: {one.trouble}" for one in comparison.outcomes if one.trouble]
    said += [f"{one.label}: {one.doubt}" for one in comparison.outcomes if one.doubt]
    notes = dict.fromkeys(note for one in comparison.outcomes for note in one.summary.notices)
    said += list(notes)
    if comparison.url:
        said.append(f"in MLflow: {comparison.url}")
    return said


def svg(comparison: Comparison) -> str:
    """Three panels of bars, one row a variant. Middle tones: the picture stands on light and on dark alike."""
    panels: list[tuple[str, Callable[[Outcome], float | None], Callable[[Outcome], str], Outcome | None]] = [
        ("cost, US dollars", lambda one: float(one.summary.cost_usd), _cost, comparison.cheapest),
        (
            "p95 latency",
            lambda one: one.summary.p95_seconds,
            lambda one: _seconds(one.summary.p95_seconds),
            comparison.fastest,
        ),
    ]
    if comparison.measure:
        panels.insert(0, (f"quality, {comparison.measure}", lambda one: one.quality, _quality, comparison.best))
    drawn = []
    for number, (head, measured, said, best) in enumerate(panels):
        values = [measured(one) for one in comparison.outcomes]
        most = max((value for value in values if value), default=0.0)
        most = max(most, 1.0) if head.startswith("quality") else most
        bars = [
            (
                round(_PANEL * value / most, 1) if value and most else 0.0,
                said(one) if one.ok else _state(one),
                one is best,
            )
            for one, value in zip(comparison.outcomes, values, strict=True)
        ]
        drawn.append((_LEFT + number * (_PANEL + _GAP), head, bars))
    return render(
        "compare.svg.j2",
        title=title(comparison),
        labels=[_short(one.label) for one in comparison.outcomes],
        panels=drawn,
        width=_LEFT + len(panels) * (_PANEL + _GAP),
        height=_TOP + len(comparison.outcomes) * _ROW + 12,
        row=_ROW,
        top=_TOP,
    )


def _cells(comparison: Comparison, outcome: Outcome) -> tuple[str, ...]:
    run = outcome.summary
    tokens = [_UNKNOWN if count is None else f"{count:,}" for count in (run.input_tokens, run.output_tokens)]
    marks = [
        word
        for word, one in (("best", comparison.best), ("cheapest", comparison.cheapest), ("fastest", comparison.fastest))
        if one is outcome and len(comparison.outcomes) > 1
    ]
    state = ", ".join(marks) if outcome.ok else _state(outcome)
    return (
        outcome.label,
        _quality(outcome),
        _cost(outcome),
        f"{run.calls:,}" + (f" ({run.errors:,} failed)" if run.errors else ""),
        _seconds(run.p50_seconds),
        _seconds(run.p95_seconds),
        f"{tokens[0]} in, {tokens[1]} out" if run.calls else "",
        state,
    )


def _state(outcome: Outcome) -> str:
    return {Status.REFUSED: "refused", Status.ABORTED: "stopped"}.get(outcome.summary.status, "failed")


def _quality(outcome: Outcome) -> str:
    return _UNKNOWN if outcome.quality is None else f"{outcome.quality:.3g}"


def _cost(outcome: Outcome) -> str:
    run = outcome.summary
    if run.calls and run.unpriced >= run.calls:
        return _UNKNOWN
    amount = run.cost_usd
    shown = f"${amount:,.2f}" if amount >= 1 or amount == amount.quantize(_CENT) else f"${float(amount):.3g}"
    if "e" in shown:
        shown = f"${amount:.7f}"
    return shown + (f" and {run.unpriced:,} unpriced" if run.unpriced else "")


def _seconds(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _short(label: str) -> str:
    return label if len(label) <= 28 else label[:27] + "…"  # noqa: PLR2004  what fits beside the bars
