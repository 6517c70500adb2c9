from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from IPython.core.formatters import DisplayFormatter

from prodkit.contracts import Contract, infer, validate

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


def shown(value: object) -> dict[str, str]:
    """What a notebook makes of a cell's last value."""
    return DisplayFormatter().format(value)[0]


def test_plain_ipython_shows_findings_as_lines(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Where HTML isn't shown, a result is its verdict and a line for each broken rule, not the fields of a class."""
    result = validate(bad_tickets, tickets_contract)
    told = shown(result)["text/plain"]
    assert told.startswith("broken ")
    assert len(told.splitlines()) == 1 + len(result.findings) + len(result.unchecked)
    assert all(finding.rule in told for finding in result.findings)
    assert "Finding(" not in told


def test_a_draft_shows_each_rule_with_its_evidence(tickets: pd.DataFrame) -> None:
    """A contract that was drafted lists every rule in words with what it rests on, as text and as HTML."""
    draft = infer(tickets, name="<b>tickets</b>")
    bundle = shown(draft)
    outline = Outline(bundle["text/html"])
    assert outline.open == []
    assert [tag for tag, _ in outline.tags].count("tr") == 1 + len(draft.rules)
    assert "<b>" not in bundle["text/html"]
    for column in draft.columns:
        for kind, why in column.evidence:
            assert f"({why})" in bundle["text/plain"], kind


def test_a_contract_without_evidence_has_no_empty_column(tickets_contract: Contract) -> None:
    """A contract that somebody wrote is listed without a column for evidence that it doesn't have."""
    bundle = shown(tickets_contract)
    assert "Rests on" not in bundle["text/html"]
    assert len(bundle["text/plain"].splitlines()) == 1 + len(tickets_contract.rules)
