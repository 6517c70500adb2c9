from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from prodkit.contracts import Contract, validate

if TYPE_CHECKING:
    import pandas as pd
    import pytest


class Outline(HTMLParser):
    """Tags with their attributes, in order, and whether they are nested right."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """The report is a whole page that loads nothing from anywhere and runs no script."""
    page = validate(bad_tickets, tickets_contract, "quarantine").to_html()
    outline = Outline(page)
    assert outline.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in outline.tags}
    assert "http" not in page
    assert dict(outline.tags)["html"] == {"lang": "en"}


def test_the_table_can_be_read_aloud(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Every header cell says what it heads, the table has a caption, and the scrolling part can be reached by key."""
    tags = Outline(validate(bad_tickets, tickets_contract).to_html()).tags
    headers = [attributes.get("scope") for tag, attributes in tags if tag == "th"]
    assert headers.count("col") == 6
    assert headers.count("row") == len(headers) - 6 > 0
    assert any(tag == "caption" for tag, _ in tags)
    assert any(attributes.get("tabindex") == "0" and attributes.get("aria-label") for _, attributes in tags)


def test_the_fragment_takes_the_notebooks_colours(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """In a notebook the report is a fragment that inherits colours, so that it is readable in light and dark."""
    fragment = validate(bad_tickets, tickets_contract)._repr_html_()
    assert "<html" not in fragment
    assert "color: inherit" in fragment
    assert not re.search(r"(?<![-\w])color:\s*(#|rgb|black|white)", fragment)


def test_markdown_tables_hold_together(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """The markdown report has one row for each finding, each with six cells."""
    result = validate(bad_tickets, tickets_contract)
    lines = [line for line in result.to_markdown().splitlines() if line.startswith("|")]
    assert len(lines) == len(result.findings) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}


def test_the_verdict_says_what_went_on(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """The report says what became of the rows: nothing, the rest, or everything."""
    texts = {
        mode: validate(bad_tickets, tickets_contract, mode).to_markdown() for mode in ("refuse", "quarantine", "warn")
    }  # type: ignore[arg-type]
    assert "Nothing goes on" in texts["refuse"]
    assert "set aside; 193 go on" in texts["quarantine"]
    assert "All go on" in texts["warn"]


def test_examples_come_from_public_columns_only(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """A public column shows at most three short examples; without one the report says that values aren't shown."""
    bad_tickets["channel"] = [f"fax {place} " + "x" * 100 for place in range(200)]
    finding = next(one for one in validate(bad_tickets, tickets_contract).findings if one.rule == "channel.enum")
    assert len(finding.examples) == 3
    assert all(len(example) <= 60 for example in finding.examples)
    secret = validate(bad_tickets.assign(channel="web", priority="low"), tickets_contract)
    assert "values are not shown" in secret.to_html()


def test_numbers_are_shown_in_the_notebook(
    bad_tickets: pd.DataFrame, tickets_contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result printed at a prompt is one line of figures and holds no data."""
    print(repr(validate(bad_tickets, tickets_contract)))
    assert "user1" not in capsys.readouterr().out
