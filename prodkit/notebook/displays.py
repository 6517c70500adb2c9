"""What is shown below a cell: the same figures as HTML and as text, whole without kernel, script or network."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING

from prodkit.notebook.tables import bundle, card
from prodkit.records import Status

if TYPE_CHECKING:
    from prodkit.records import Finding, RunSummary
    from prodkit.sources import ReadReport

_MARKS = {
    Status.OK: ("✓", "finished"),
    Status.ERROR: ("✕", "failed"),
    Status.ABORTED: ("■", "stopped"),
    Status.REFUSED: ("⊘", "refused"),
    Status.RUNNING: ("…", "running"),
}
_MOST_FINDINGS = 12
_MOST_OPEN = 6
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Card:
    """The card of a run: calls, tokens, cost, latency, what was found in the data, and where to look further."""

    summary: RunSummary

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return bundle(self.to_html(), self.to_text())

    def __repr__(self) -> str:
        """The plain form."""
        return self.to_text()

    def to_text(self) -> str:
        """The card in lines of text."""
        run = self.summary
        mark, word = _MARKS[run.status]
        head = f"{mark} {run.name} {word}" + (f" in {seconds(run.seconds)}" if run.seconds is not None else "")
        lines = [head + (" (simulated provider)" if run.simulated else "")]
        lines += [f"  {label:<8} {value}" + (f" {note}" if note else "") for label, value, note in _figures(run)]
        lines += [f"  data     {line}" for line in _data_lines(run)]
        lines += [f"           {_finding_line(finding)}" for finding in run.findings[:_MOST_FINDINGS]]
        lines += [f"  note     {notice}" for notice in run.notices]
        if run.url:
            lines.append(f"  more     {run.url}")
        return "\n".join(lines)

    def to_html(self) -> str:
        """The card as a fragment of HTML that stands alone."""
        run = self.summary
        parts = [_header(run), _table(run), _data(run), _notices(run)]
        return card("".join(parts), label=f"prodkit run {run.name}", tone=_tone(run))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong beside the cell: one sentence and the error's own text."""

    what: str
    error: BaseException

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        text = f"{self.what} {self.error}"
        html = card(f'<pre role="alert">{escape(text)}</pre>', label="prodkit problem", tone="bad")
        return bundle(html, text)


@dataclass(frozen=True, slots=True)
class Reading:
    """What `prodkit.read` took, skipped and could not understand; many problems are folded."""

    report: ReadReport

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        problems = self.report.problems()
        items = "".join(f"<li>{escape(line)}</li>" for line in problems)
        listed = f"<ul>{items}</ul>" if items else ""
        if len(problems) > _MOST_OPEN:
            listed = f"<details><summary>{len(problems)} things to mend at the source</summary>{listed}</details>"
        body = f"<header><span>{escape(self.report.summary())}</span></header>{listed}"
        tone = "warn" if problems else "good"
        return bundle(card(body, label=f"prodkit: data read from {self.report.source}", tone=tone), str(self.report))


def usd(amount: Decimal | None) -> str:
    """`$0.0123`; small amounts keep four significant digits, and None is said."""
    if amount is None:
        return "not known"
    if amount == 0:
        return "$0"
    if abs(amount) >= 1 or amount == amount.quantize(_CENT):
        return f"${amount:,.2f}"
    digits = max(4, 3 - amount.adjusted())
    whole, _, cents = f"{amount:.{digits}f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def seconds(value: float | None) -> str:
    """`4 ms`, `0.21 s`, `3 min 20 s`; None is said."""
    if value is None:
        return "not known"
    if 0 < value < 0.01:  # noqa: PLR2004  two digits of a second would say nothing
        return f"{value * 1000:.0f} ms" if value >= 0.001 else "under 1 ms"  # noqa: PLR2004
    if value < 60:  # noqa: PLR2004  a minute
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def word(status: Status) -> str:
    """How a run ended, as its card says it."""
    return _MARKS[status][1]


def count(number: int | None, noun: str) -> str:
    """`1 call`, `2 calls`."""
    if number is None:
        return f"{noun}s not known"
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _figures(run: RunSummary) -> list[tuple[str, str, str]]:
    """Label, value and a smaller note."""
    troubles = [
        f"{number:,} {word}"
        for number, word in ((run.errors, "failed"), (run.refused, "refused"), (run.degraded, "degraded"))
        if number
    ]
    if run.failed_attempts:
        troubles.append(count(run.failed_attempts, "failed attempt"))
    cost = usd(run.cost_usd)
    share = f"of {usd(run.budget_usd)} budget" if run.budget_usd is not None else ""
    doubts = [
        f"{number:,} {word}" for number, word in ((run.unpriced, "unpriced"), (run.estimated, "estimated")) if number
    ]
    tokens = f"{_number(run.input_tokens)} in, {_number(run.output_tokens)} out"
    rows = [("calls", count(run.calls, "call"), ", ".join(troubles))]
    if run.calls or run.refused or run.budget_usd is not None:
        rows.append(("cost", cost, ", ".join(part for part in (share, *doubts) if part)))
    if run.calls:
        rows.append(("tokens", tokens, ""))
        rows.append(("latency", f"{seconds(run.p50_seconds)} median", f"{seconds(run.p95_seconds)} p95"))
    if run.redactions:
        kinds = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in run.redactions.items())
        rows.append(("redacted", f"{sum(run.redactions.values()):,}", kinds))
    if run.models:
        rows.append(("model", ", ".join(run.models), ""))
    return rows


def _number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


def _header(run: RunSummary) -> str:
    mark, word = _MARKS[run.status]
    took = f" in {seconds(run.seconds)}" if run.seconds is not None else ""
    simulated = '<span class="prodkit-tag">simulated provider</span>' if run.simulated else ""
    return (
        f'<header><strong>{escape(run.name)}</strong><span><span aria-hidden="true">{mark}</span> {word}'
        f'<span class="prodkit-quiet">{took}</span></span>{simulated}{_link(run)}</header>'
    )


def _link(run: RunSummary) -> str:
    if run.url.startswith(("http://", "https://")):
        href = escape(run.url, quote=True)
        return f'<a href="{href}" target="_blank" rel="noopener noreferrer">Open in MLflow</a>'
    return f"<code>{escape(run.url)}</code>" if run.url else ""


def _table(run: RunSummary) -> str:
    figures = _figures(run)
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label, _, _ in figures)
    cells = "".join(
        f"<td>{escape(value)}" + (f"<br><small>{escape(note)}</small>" if note else "") + _bar(label, run) + "</td>"
        for label, value, note in figures
    )
    return f'<table class="prodkit-figures"><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>'


def _bar(label: str, run: RunSummary) -> str:
    if label != "cost" or not run.budget_usd:
        return ""
    share = min(float(run.cost_usd / run.budget_usd), 1.0)
    said = f"{share:.0%} of the budget spent"
    return f'<br><progress aria-label="{said}" title="{said}" max="1" value="{share:.4f}">{said}</progress>'


def _data_lines(run: RunSummary) -> list[str]:
    lines = []
    for dataset in run.datasets:
        rows = f"{dataset.rows:,} rows" if dataset.rows is not None else "rows not known"
        checked = f", checked by {dataset.contract}" if dataset.contract else ", no contract"
        fate = "set aside" if run.rows_quarantined else "broke it"
        failed = f", {count(dataset.rows_failed, 'row')} {fate}" if dataset.rows_failed else ""
        lines.append(f"{dataset.name}: {rows} {dataset.context}, id {dataset.digest[:12]}{checked}{failed}")
    return lines


def _finding_line(finding: Finding) -> str:
    column = finding.column or "whole table"
    return f"{column}: {finding.what} ({finding.count:,} of {finding.checked:,}, {finding.rule})"


def _data(run: RunSummary) -> str:
    lines = _data_lines(run)
    if not lines and not run.findings:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul aria-label="data">{listed}</ul>{_findings(run)}'


def _findings(run: RunSummary) -> str:
    if not run.findings:
        return ""
    rows = "".join(_finding_row(finding) for finding in run.findings[:_MOST_FINDINGS])
    heads = "".join(f'<th scope="col">{word}</th>' for word in ("column", "what is wrong", "rows", "severity", "rule"))
    left = len(run.findings) - _MOST_FINDINGS
    more = f"<p>and {left} more, in the run's validation report</p>" if left > 0 else ""
    title = f"{count(len(run.findings), 'rule')} of the data contract broken"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<details><summary>{title}</summary>{table}{more}</details>"


def _finding_row(finding: Finding) -> str:
    cells = (
        escape(finding.column or "whole table"),
        escape(finding.what),
        f"{finding.count:,} of {finding.checked:,}",
        escape(finding.severity),
        f"<code>{escape(finding.rule)}</code>",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _notices(run: RunSummary) -> str:
    if not run.notices:
        return ""
    items = "".join(f"<li>{escape(notice)}</li>" for notice in run.notices)
    return f'<ul role="status">{items}</ul>'


def _tone(run: RunSummary) -> str:
    if run.status in {Status.ERROR, Status.REFUSED, Status.ABORTED}:
        return "bad"
    return "warn" if run.findings or run.unpriced or run.errors or run.degraded or run.refused else "good"
