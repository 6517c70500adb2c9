"""How the made-up teams keep their lists: the layouts, and a workbook written in one of them."""

# ruff: noqa: DTZ001  spreadsheets have no zones, and positions are the story itself
from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

if TYPE_CHECKING:
    from decimal import Decimal

MADE_UP = "Made-up data for a demonstration. No person, company or ticket in it exists."
COLUMNS = (
    "ticket_id", "created_at", "customer_email", "channel", "subject", "body", "priority", "amount_eur", "label",
)  # fmt: skip

HEADERS: dict[str, tuple[str, ...]] = {
    "plain": COLUMNS,
    "english": ("Ticket", "Date", "E-Mail", "Channel", "Subject", "Message", "Priority", "Amount", "Category"),
    "export": (
        "Ticket ID", "Created (UTC)", "Customer e-mail", "Source channel", "Title", "Description", "Prio",
        "Amount (EUR)", "Label",
    ),
    "german": ("Ticket-Nr.", "Datum", "E-Mail", "Kanal", "Betreff", "Nachricht", "Priorität", "Betrag", "Kategorie"),
    "branch": (
        "ID", "Eingang am", "Kunde (Mail)", "Kontaktweg", "Thema", "Text", "Dringlichkeit", "Betrag in €", "Art",
    ),
}  # fmt: skip
GERMAN_WORDS: dict[str, dict[str, str]] = {
    "channel": {"email": "E-Mail", "chat": "Chat", "phone": "Telefon", "web": "Webformular"},
    "priority": {"low": "niedrig", "normal": "mittel", "high": "hoch", "urgent": "dringend"},
    "label": {
        "billing": "Rechnung", "bug": "Fehler", "access": "Zugang", "shipping": "Versand", "other": "Sonstiges",
    },
}  # fmt: skip
MONTHS_DE = {9: "September", 10: "Oktober", 11: "November"}


@dataclass(frozen=True)
class Ticket:
    """One ticket as it truly was. `created_at` is text where somebody typed a day that doesn't exist."""

    ticket_id: str
    created_at: datetime | str
    customer_email: str
    channel: str
    subject: str
    body: str
    priority: str
    amount_eur: Decimal | None
    label: str


@dataclass(frozen=True)
class Layout:
    """How one team keeps its list."""

    header: str
    sheet: str
    dates: str  # cell | serial | iso | german | slash_dm | slash_md
    numbers: str  # cell | german | english | euro
    titles: int = 0
    indent: int = 0
    footer: str = ""
    blank_rows: bool = False
    merged_days: bool = False
    notes_sheet: bool = False
    hidden_sheet: bool = False
    extra_column: bool = False

    @property
    def german(self) -> bool:
        """Whether the team writes German."""
        return self.header in {"german", "branch"}

    @property
    def minutes(self) -> bool:
        """Whether the team notes the time of day."""
        return self.dates in {"cell", "serial", "iso"} and not self.merged_days


def make_book(tickets: list[Ticket], layout: Layout, month: int, rng: random.Random) -> openpyxl.Workbook:
    """A workbook with the tickets as this team keeps them."""
    book = openpyxl.Workbook()
    book.properties.title = f"Tickets {month:02d}/2026"
    book.properties.creator = "make_tickets.py"
    book.properties.description = MADE_UP
    sheet = book.active
    sheet.title = layout.sheet
    if layout.notes_sheet:
        notes = book.create_sheet("Notizen" if layout.german else "Notes", 0)
        notes.append([MADE_UP])
        notes.append(["Bitte bis Freitag abarbeiten" if layout.german else "To be done by Friday"])
        book.create_sheet("Pivot")
    if layout.hidden_sheet:
        old = book.create_sheet("old")
        old.sheet_state = "hidden"
        _table(old, tickets[:5], dataclasses.replace(layout, titles=0, indent=0, footer="", merged_days=False), month)
    if tickets:
        _table(sheet, tickets, layout, month)
        _blank_rows(sheet, layout, rng)
    return book


def _table(sheet: Any, tickets: list[Ticket], layout: Layout, month: int) -> None:
    left = 1 + layout.indent
    _titles(sheet, layout, month, left)
    order = list(range(len(COLUMNS)))
    random.Random(layout.sheet + layout.header).shuffle(order)
    heads = [HEADERS[layout.header][i] for i in order]
    if layout.extra_column:
        heads.insert(4, "Bearbeiter" if layout.german else "Agent")
    top = sheet.max_row + 1 if layout.titles else 1
    for offset, head in enumerate(heads):
        sheet.cell(top, left + offset, head).font = Font(bold=True)
    for row, ticket in enumerate(tickets, top + 1):
        cells = [_cell(ticket, COLUMNS[i], layout) for i in order]
        if layout.extra_column:
            cells.insert(4, ticket.customer_email[:2].upper())
        for offset, value in enumerate(cells):
            _put(sheet.cell(row, left + offset), value)
    date_column = left + heads.index(HEADERS[layout.header][1])
    if layout.merged_days:
        _merge_days(sheet, tickets, top + 1, date_column)
    _footer(sheet, tickets, layout, left)


def _titles(sheet: Any, layout: Layout, month: int, left: int) -> None:
    title = f"Support – {MONTHS_DE[month]} 2026"  # noqa: RUF001  people write that dash
    lines = (title, MADE_UP, "Stand: Monatsende" if layout.german else "as of month's end")
    for row, line in enumerate(lines[: max(0, layout.titles - 1)], 1):
        sheet.cell(row, left, line)
    if layout.titles:
        sheet.merge_cells(start_row=1, end_row=1, start_column=left, end_column=left + 4)
        sheet.cell(layout.titles, left + 1, " ")


def _put(cell: Any, value: object) -> None:
    cell.value = value
    if isinstance(value, datetime):
        cell.number_format = "dd.mm.yyyy hh:mm" if value.hour else "dd.mm.yyyy"


def _cell(ticket: Ticket, column: str, layout: Layout) -> object:
    value = getattr(ticket, column)
    if column == "created_at":
        return value if isinstance(value, str) else _date(value, layout)
    if column == "amount_eur":
        return _amount(value, layout)
    if layout.german and column in GERMAN_WORDS:
        return GERMAN_WORDS[column].get(value, value)
    if column in {"channel", "priority"} and layout.header == "english":
        return value.capitalize() if value.islower() else value
    return value or None


def _date(value: datetime, layout: Layout) -> object:
    if layout.dates == "serial":
        return (value - datetime(1899, 12, 30)) / timedelta(days=1)
    forms = {"iso": "%Y-%m-%d %H:%M" if layout.minutes else "%Y-%m-%d", "german": "%d.%m.%Y", "slash_dm": "%d/%m/%Y",
             "slash_md": "%m/%d/%Y"}  # fmt: skip
    return value.strftime(forms[layout.dates]) if layout.dates in forms else value


def _amount(value: Decimal | None, layout: Layout) -> object:
    if value is None:
        return None
    english = f"{value:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    return {"cell": float(value), "english": english, "german": german, "euro": f"{german} €"}[layout.numbers]


def _merge_days(sheet: Any, tickets: list[Ticket], top: int, column: int) -> None:
    start = 0
    for row in range(1, len(tickets) + 1):
        if row == len(tickets) or tickets[row].created_at != tickets[start].created_at:
            if row - start > 1:
                letter = get_column_letter(column)
                sheet.merge_cells(f"{letter}{top + start}:{letter}{top + row - 1}")
            start = row


def _footer(sheet: Any, tickets: list[Ticket], layout: Layout, left: int) -> None:
    if layout.footer == "total":
        below = sheet.max_row + 2
        sheet.cell(below, left, "Summe" if layout.german else "Total")
        sheet.cell(below, left + 1, len(tickets))
    elif layout.footer == "signed":
        sheet.cell(sheet.max_row + 1, left, "Stand: 1. Entwurf" if layout.german else "exported by the help desk")


def _blank_rows(sheet: Any, layout: Layout, rng: random.Random) -> None:
    if layout.blank_rows and not layout.merged_days:
        for row in sorted(rng.sample(range(12, 20), 2), reverse=True):
            sheet.insert_rows(row)
