"""The result of a check: what was found, the rows that may go on, and the rows that were set aside."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prodkit.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from prodkit.contracts.frames import Frame
    from prodkit.records import Finding


@dataclass(frozen=True)
class Validation:
    """What a check found.

    Attributes:
        contract, version: name and version of the contract.
        mode: `refuse`, `quarantine` or `warn`.
        engine: who evaluated the rules, `arrow` or `pandera`.
        findings: every broken rule; `severity` tells errors from warnings.
        checked: rows looked at.
        failed: rows that break at least one rule of severity error.
        rules: how many rules were looked at.
        unchecked: rules that couldn't be checked here, each with the reason.
        whole: ids of broken rules that no single row can be blamed for, such as a column of a wrong type.
        seconds: how long it took.
    """

    contract: str
    version: str
    mode: str
    engine: str
    findings: tuple[Finding, ...]
    checked: int
    failed: int
    rules: int
    unchecked: tuple[str, ...]
    whole: tuple[str, ...]
    seconds: float
    frame: Frame = field(repr=False, compare=False)
    failing: NDArray[Any] = field(repr=False, compare=False)
    reasons: tuple[tuple[str, Any], ...] = field(repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether no rule of severity error is broken."""
        return not self.failed and not self.whole

    @cached_property
    def valid(self) -> Any:
        """The rows that may go on, in a frame of the kind that was passed.

        Raises:
            DataError: the mode is `refuse` and the contract is broken, or it is `quarantine` and the frame as a whole
                breaks it, so that no rows can be set aside.
        """
        if self.ok or self.mode == "warn":
            return self.frame.data if not getattr(self.frame, "lazy", False) else self.frame.data.lazy()
        if self.mode == "refuse" or self.whole:
            raise self.refuse_error()
        return self.frame.keep(~self.failing)

    @cached_property
    def quarantined(self) -> Any:
        """The rows that break a rule, with the columns `prodkit_reason` and `prodkit_row` (position) more."""
        return self.frame.set_aside(self.failing, self._reasons())

    def refuse_error(self) -> DataError:
        """The error that a refusal raises; it names the rules and counts, never values."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        named = "; ".join(f"{finding.rule} ({finding.count} of {finding.checked})" for finding in errors[:8])
        more = f" and {len(errors) - 8} more" if len(errors) > 8 else ""  # noqa: PLR2004
        can_split = "let the bad rows be set aside with mode `quarantine`, or " if not self.whole else ""
        return DataError(
            "contract.broken",
            f"The data breaks the contract `{self.contract}` in {self.failed} of {self.checked} rows: {named}{more}.",
            where=f"{self.contract} {self.version}".strip(),
            fix=f"{can_split}correct the data or the contract",
        )

    def metrics(self) -> dict[str, float]:
        """Figures for a run: `rows_checked`, `rows_failed`, and `failed.<rule>` for each broken rule."""
        figures = {"rows_checked": float(self.checked), "rows_failed": float(self.failed)}
        return figures | {f"failed.{finding.rule}": float(finding.count) for finding in self.findings}

    def save_quarantined(self, path: Path) -> Path | None:
        """Write the quarantined rows to `path`: Parquet, or JSON lines where Parquet can't hold them. None without any.

        The file holds the raw rows, so only its owner may read it.
        """
        from prodkit.contracts.quarantine import save

        return save(self, path) if self.failed else None

    def to_markdown(self) -> str:
        """The report as markdown."""
        from prodkit.contracts.report import markdown

        return markdown(self)

    def to_html(self, *, page: bool = True) -> str:
        """The report as HTML that needs nothing else: a whole page, or a fragment for a notebook."""
        from prodkit.contracts.report import html

        return html(self, page=page)

    def to_text(self) -> str:
        """The report for a terminal."""
        from prodkit.contracts.report import text

        return text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("Validation(...)" if cycle else self.to_text())

    def _repr_html_(self) -> str:
        return self.to_html(page=False)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _reasons(self) -> list[str]:
        rows = self.failing.nonzero()[0]
        texts: list[list[str]] = [[] for _ in rows]
        for rule, fails in self.reasons:
            for place in fails[rows].nonzero()[0]:
                texts[place].append(rule)
        return ["; ".join(text) for text in texts]
