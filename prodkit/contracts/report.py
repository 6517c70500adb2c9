"""The result of a check as markdown and as HTML that needs nothing else, in light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.contracts.validation import Validation
    from prodkit.records import Finding


def verdict(validation: Validation) -> str:
    """One sentence that says how it went."""
    name = f"{validation.contract} {validation.version}".strip()
    if not validation.checked:
        return f"No rows to check against {name}."
    if validation.ok:
        return f"All {validation.checked:,} rows keep the contract {name}."
    whole = f", and {len(validation.whole)} rules are broken by the frame as a whole" if validation.whole else ""
    return f"{validation.failed:,} of {validation.checked:,} rows break the contract {name}{whole}. {_went(validation)}"


def share(finding: Finding) -> str:
    """`3.2 %`, with `<0.1 %` for little."""
    percent = 100 * finding.share
    return "<0.1 %" if 0 < percent < 0.1 else f"{percent:.1f} %"  # noqa: PLR2004


def rows(finding: Finding) -> str:
    """`3, 8, 11 …`: the first positions, counted from 0."""
    named = ", ".join(str(row) for row in finding.rows[:8])
    return named + (" …" if finding.count > len(finding.rows[:8]) and finding.rows else "")


def text(validation: Validation) -> str:
    """The report for a terminal: the verdict, then a line for each broken rule."""
    return "\n".join([f"{'kept' if validation.ok else 'broken':7}{verdict(validation)}", *details(validation)])


def details(validation: Validation) -> list[str]:
    """A line for each broken rule, and for what could not be checked."""
    width = max((len(finding.rule) for finding in validation.findings), default=0)
    return [
        f"  {finding.rule.ljust(width)}  {finding.count:>7,}  {share(finding):>7}  {_mark(finding)}{finding.what}"
        + (f"  rows {rows(finding)}" if finding.rows else "")
        for finding in validation.findings
    ] + [f"  not checked: {entry}" for entry in validation.unchecked]


def markdown(validation: Validation) -> str:
    """The report as markdown."""
    sign = "✓" if validation.ok else "✗"
    lines = [f"### {sign} Data contract: {_cell(verdict(validation))}", ""]
    if validation.findings:
        lines += ["| rule | column | rows | share | what | first rows |", "|---|---|---:|---:|---|---|"]
        lines += [
            f"| {_cell(finding.rule)} | {_cell(finding.column or '(rows)')} | {finding.count:,} | {share(finding)} "
            f"| {_mark(finding)}{_cell(finding.what)}{_cell(_examples(finding))} | {rows(finding)} |"
            for finding in validation.findings
        ]
        lines.append("")
    lines += [f"- not checked: {_cell(entry)}" for entry in validation.unchecked]
    lines.append(f"{validation.rules} rules, {validation.seconds:.3g} s, engine {validation.engine}.")
    return "\n".join(lines) + "\n"


def html(validation: Validation, *, page: bool) -> str:
    """The report as a page of its own or as a fragment."""
    return render(
        "validation.html.j2",
        validation=validation,
        verdict=verdict(validation),
        share=share,
        rows=rows,
        page=page,
    )


def _went(validation: Validation) -> str:
    if validation.mode == "quarantine" and not validation.whole:
        return f"They were set aside; {validation.checked - validation.failed:,} go on."
    return "All go on, as the mode is warn." if validation.mode == "warn" else "Nothing goes on."


def _mark(finding: Finding) -> str:
    return "warning: " if finding.severity == "warning" else ""


def _examples(finding: Finding) -> str:
    return f" (for example {', '.join(finding.examples)})" if finding.examples else ""


def _cell(text: str) -> str:
    """Text that can't break out of a table's cell or become markup."""
    for sign in "\\`*_[]<>|":
        text = (
            text.replace(sign, f"\\{sign}")
            if sign not in "<>"
            else text.replace(sign, {"<": "&lt;", ">": "&gt;"}[sign])
        )
    return text.replace("\n", " ")
