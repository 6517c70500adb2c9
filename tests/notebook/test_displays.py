"""Cards and tables: the same figures as HTML and as text, honest about what isn't known."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from prodkit.notebook.displays import Card, Trouble, seconds, usd
from prodkit.notebook.tables import Table
from prodkit.records import DatasetRecord, Finding, RunSummary, Status

START = datetime(2026, 11, 23, tzinfo=UTC)
RUN = RunSummary(
    name="classify",
    status=Status.OK,
    started=START,
    ended=START + timedelta(seconds=12.4),
    calls=120,
    input_tokens=23456,
    output_tokens=345,
    cost_usd=Decimal("0.01234"),
    budget_usd=Decimal("0.5"),
    p50_seconds=0.21,
    p95_seconds=0.5,
    models=("gpt-4o-mini",),
)


class Reader(HTMLParser):
    """Collects tags and text, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0.5", "$0.50"),
        ("0.01234", "$0.01234"),
        ("0.0000789", "$0.0000789"),
        ("1234.5", "$1,234.50"),
        ("0.0123", "$0.0123"),
    ],
)
def test_money_is_exact_enough_to_compare(amount: str, shown: str) -> None:
    """Small amounts keep their digits, large ones are cents."""
    assert usd(Decimal(amount)) == shown


def test_what_is_not_known_is_said() -> None:
    """None is never shown as zero."""
    assert usd(None) == "not known"
    assert seconds(None) == "not known"
    card = Card(dataclasses.replace(RUN, input_tokens=None, p95_seconds=None)).to_text()
    assert "not known in, 345 out" in card
    assert "not known p95" in card


def test_unpriced_calls_are_visible_beside_the_sum() -> None:
    """A sum that lacks calls says how many."""
    assert "2 unpriced" in Card(dataclasses.replace(RUN, unpriced=2)).to_text()
    assert "prodkit-warn" in Card(dataclasses.replace(RUN, unpriced=2)).to_html()


def test_html_says_what_text_says() -> None:
    """Every figure of the text is in the HTML, whose headings have a scope and whose bar has a name."""
    reader = read(Card(RUN).to_html())
    for part in ("120 calls", "$0.01234", "$0.50", "23,456 in", "0.21 s", "gpt-4o-mini", "finished", "12.4 s"):
        assert part in reader.text
        assert part in Card(RUN).to_text()
    assert all(attrs.get("scope") == "col" for tag, attrs in reader.tags if tag == "th")
    assert [attrs["aria-label"] for tag, attrs in reader.tags if tag == "progress"] == ["2% of the budget spent"]
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in reader.tags}


def test_findings_and_datasets_are_listed() -> None:
    """What was set aside, by which rule, with counts."""
    finding = Finding("priority.enum", "priority", 3, 398, "must be one of: low, high")
    dataset = DatasetRecord("tickets", "x", "pk1:381c9072", rows=391, contract="tickets", rows_failed=7)
    run = dataclasses.replace(RUN, findings=(finding,), datasets=(dataset,), rows_quarantined=7)
    for shown in (Card(run).to_text(), read(Card(run).to_html()).text):
        assert "7 rows set aside" in shown
        assert "3 of 398" in shown
        assert "priority.enum" in shown


def test_attempts_that_failed_are_counted() -> None:
    """A call that was answered at the third attempt says so: the first two are seen on the card."""
    run = dataclasses.replace(RUN, failed_attempts=2)
    for shown in (Card(run).to_text(), read(Card(run).to_html()).text):
        assert "2 failed attempts" in shown


def test_names_of_users_are_shown_and_never_run() -> None:
    """A name or a notice that looks like HTML is text."""
    evil = "<script>alert(1)</script>"
    run = dataclasses.replace(RUN, name=evil, notices=(evil,), models=(evil,), url=f'http://x/"onclick="{evil}')
    shown = [
        Card(run).to_html(),
        Table(evil, (evil,), ((evil,),), (evil,)).to_html(),
        Trouble(evil, ValueError(evil))._repr_mimebundle_()["text/html"],
    ]
    for html in shown:
        reader = read(html)
        assert not [tag for tag, attrs in reader.tags if tag == "script" or "onclick" in attrs]
        assert "alert(1)" in reader.text


@pytest.mark.parametrize("status", list(Status))
def test_every_end_has_a_word(status: Status) -> None:
    """How a run ended is said in words, not by colour alone."""
    words = {"ok": "finished", "error": "failed", "aborted": "stopped", "refused": "refused", "running": "running"}
    assert words[status.value] in read(Card(dataclasses.replace(RUN, status=status)).to_html()).text


def test_tables_line_up() -> None:
    """The text form has columns of one width."""
    lines = Table("t", ("a", "long heading"), ((1, 2), ("wide cell", 3)), ("a remark",)).to_text().splitlines()
    assert lines[0] == "t"
    assert lines[1].index("long heading") == lines[2].index("2") == lines[3].index("3")
    assert lines[4].strip() == "a remark"
    assert Table("empty").to_text() == "empty"


def test_what_was_redacted_is_on_the_card():
    """The card counts what was taken out before anything was written, by class; without findings it has no such row."""
    card = Card(dataclasses.replace(RUN, redactions={"credit_card": 1, "email": 1204}))
    for shown in (card.to_text(), read(card.to_html()).text):
        assert "redacted" in shown
        assert "1,205" in shown
        assert "1 credit card, 1,204 email" in shown
    assert "redacted" not in Card(RUN).to_text()
