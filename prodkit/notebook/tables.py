"""A titled table as HTML and as text: what most line commands answer with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from html import escape
from importlib import resources

_PLAIN = "mathjax_ignore tex2jax_ignore"  # else front ends take "$0.01 of $0.50" for a formula


@functools.cache
def style() -> str:
    """The style sheet of cards and tables as one element, to travel with each of them."""
    text = resources.files("prodkit.notebook").joinpath("static/card.css").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()[1:]]
    return f"<style>{''.join(lines)}</style>"


def card(body: str, *, label: str, tone: str = "plain", anchor: str = "") -> str:
    """A card around some HTML. `tone` is plain, good, warn or bad; what it means is also said in words."""
    classes = f"prodkit-card prodkit-{tone} {_PLAIN} {anchor}".strip()
    return f'{style()}<section class="{classes}" aria-label="{escape(label, quote=True)}">{body}</section>'


def bundle(html: str, text: str) -> dict[str, str]:
    """What a display offers: HTML, and text for where there is none."""
    return {"text/html": html, "text/plain": text}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, with a title above and remarks below. Cells are shown as text."""

    title: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    tone: str = "plain"
    anchor: str = ""  # a class of its own, for a script to find the card

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return bundle(self.to_html(), self.to_text())

    def __repr__(self) -> str:
        """The plain form."""
        return self.to_text()

    def to_text(self) -> str:
        """Columns padded to the same width."""
        shown = [tuple(str(cell) for cell in row) for row in (self.headings, *self.rows) if row]
        widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
        ]
        return "\n".join([self.title, *(f"  {line}" for line in lines), *(f"  {remark}" for remark in self.remarks)])

    def to_html(self) -> str:
        """A card that stands alone."""
        heads = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in self.headings)
        rows = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in self.rows)
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if self.rows else ""
        remarks = "".join(f"<li>{escape(remark)}</li>" for remark in self.remarks)
        below = f"<ul>{remarks}</ul>" if remarks else ""
        body = f"<header><strong>{escape(self.title)}</strong></header>{table}{below}"
        return card(body, label=f"prodkit: {self.title}", tone=self.tone, anchor=self.anchor)
