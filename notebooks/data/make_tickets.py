"""Writes 47 workbooks with made-up support tickets, kept as badly as people really keep them.

    python notebooks/data/make_tickets.py            # into notebooks/data/tickets

Nobody in them exists: the names are drawn from lists, the addresses end in example.org, the phone numbers are of the
range that the German regulator keeps free for films, and bank accounts are the ones that banks print in brochures.
The same seed gives the same cells.
"""

# ruff: noqa: DTZ001, PLR2004  spreadsheets have no zones, and shares and positions are the story itself
from __future__ import annotations

import dataclasses
import io
import random
import re
import sys
import zipfile
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msoffcrypto
from msoffcrypto.format.ooxml import OOXMLFile

sys.path.insert(0, str(Path(__file__).parent))

import ticket_texts as texts
from ticket_books import HEADERS, MADE_UP, MONTHS_DE, Layout, Ticket, make_book

if TYPE_CHECKING:
    import openpyxl

SEED = 20261123
PASSWORD = "only-the-team-knows"  # noqa: S105  made up, of a made-up workbook
FIRST = (
    "Anna", "Ben", "Carla", "David", "Elif", "Finn", "Greta", "Hanna", "Ivan", "Jana", "Kofi", "Lena", "Mira", "Noah",
    "Olga", "Paul", "Rosa", "Sami", "Tara", "Uwe",
)  # fmt: skip
LAST = (
    "Adler", "Brandt", "Cohen", "Diaz", "Engel", "Fuchs", "Garcia", "Hoffmann", "Ito", "Jensen", "Keller", "Lang",
    "Meyer", "Novak", "Okafor", "Peters",
)  # fmt: skip
IBANS = ("DE89 3704 0044 0532 0130 00", "AT61 1904 3002 3457 3201", "GB82 WEST 1234 5698 7654 32")

TEAMS = (
    "Nord", "Sued", "Wien", "Export", "Hotline", "Chat team", "Webshop", "B2B", "Backlog", "Team Anna", "KW A", "KW B",
    "Showroom", "Returns", "Partner", "Night shift", "Archive",
)  # fmt: skip


def write_all(folder: Path) -> list[Path]:
    """Write the 47 workbooks and a README.

    Args:
        folder: made when it isn't there; a workbook whose cells are the same already is left as it is.

    Returns:
        The paths of the workbooks, sorted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in workbooks():
        path = folder / name
        if not (path.exists() and _same(path.read_bytes(), content)):
            path.write_bytes(content)
        paths.append(path)
    readme = f"# Support tickets\n\n{MADE_UP} `../make_tickets.py` wrote the workbooks beside this file.\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return sorted(paths)


def workbooks() -> list[tuple[str, bytes]]:
    """File names and contents."""
    rng = random.Random(SEED)
    made: list[tuple[str, bytes]] = []
    number = 10_001
    previous: tuple[Layout, list[Ticket]] | None = None
    for month, count in ((9, 14), (10, 16), (11, 17)):
        for position in range(count):
            layout = _layout(rng, month, position)
            special = _special(month, position)
            size = 11 if special == "undecidable" else rng.randint(22, 31)
            tickets = _tickets(rng, month, number, size, layout)
            number += size
            if special == "undecidable":
                layout, tickets = _undecidable(layout, tickets)
            tickets = _spoil(rng, tickets, month, layout)
            if previous and position % 4 == 3 and special != "undecidable" and previous[0].minutes == layout.minutes:
                tickets = _with_copies(rng, tickets, previous[1])
            book = make_book([] if special == "empty" else tickets, layout, month, rng)
            made.append((_file_name(month, position), _finish(book, special)))
            previous = None if special in {"corrupt", "password", "empty"} else (layout, tickets)
    return made


def _special(month: int, position: int) -> str:
    return {(10, 6): "undecidable", (10, 11): "empty", (11, 8): "corrupt", (11, 13): "password"}.get(
        (month, position), ""
    )


def _file_name(month: int, position: int) -> str:
    stamp, team = f"2026-{month:02d}", TEAMS[position]
    forms = (f"{stamp} Tickets {team}.xlsx", f"Support_{stamp}_{team.replace(' ', '_')}.xlsx",
             f"{stamp} {team} final.xlsx", f"tickets-{stamp}-{team.lower().replace(' ', '-')} (2).xlsx")  # fmt: skip
    return forms[(position + month) % 4]


def _layout(rng: random.Random, month: int, position: int) -> Layout:
    header = rng.choice(list(HEADERS))
    german = header in {"german", "branch"}
    month_de = MONTHS_DE[month]
    dates = rng.choice(
        ("cell", "cell", "serial", "german", "slash_dm") if german else ("cell", "iso", "iso", "slash_md")
    )
    return Layout(
        header=header,
        sheet=rng.choice(("Tabelle1", f"{month_de} 2026", "Anfragen") if german else ("Tickets", "Sheet1", "Export")),
        dates=dates,
        numbers=rng.choice(("cell", "german", "german", "euro") if german else ("cell", "english")),
        titles=rng.choice((0, 0, 2, 3, 4)),
        indent=rng.choice((0, 0, 0, 1, 2)),
        footer=rng.choice(("", "total", "signed")),
        blank_rows=rng.random() < 0.4,
        merged_days=position % 5 == 2,
        notes_sheet=position % 4 == 1,
        hidden_sheet=position % 7 == 3,
        extra_column=rng.random() < 0.5,
    )


def _tickets(rng: random.Random, month: int, first: int, size: int, layout: Layout) -> list[Ticket]:
    last_day = 22 if month == 11 else 30
    days = sorted(rng.randint(1, last_day) for _ in range(size - 1))
    days.append(last_day)  # which decides what is the day and what the month
    return [_ticket(rng, f"T-{first + i}", datetime(2026, month, day), layout) for i, day in enumerate(days)]


def _ticket(rng: random.Random, ticket_id: str, day: datetime, layout: Layout) -> Ticket:
    label = rng.choices(texts.LABELS, (26, 24, 20, 19, 11))[0]
    email = f"{rng.choice(FIRST)}.{rng.choice(LAST)}@example.org".lower()
    slots = {
        "product": rng.choice(texts.PRODUCTS), "plan": rng.choice(texts.PLANS), "device": rng.choice(texts.DEVICES),
        "place": rng.choice(texts.PLACES), "day": rng.choice(texts.DAYS), "email": email,
        "phone": f"+49 30 23125 {rng.randint(0, 999):03d}", "iban": rng.choice(IBANS), "card": "4111 1111 1111 1111",
        "amount": f"{rng.randint(5, 240)}.{rng.choice(('00', '50', '90', '99'))}",
    }  # fmt: skip
    with_money = label in {"billing", "shipping"} or rng.random() < 0.15
    amount = Decimal(rng.randint(490, 189_900)) / 100 if with_money else None
    minutes = timedelta(minutes=rng.randint(7 * 60, 20 * 60))
    return Ticket(
        ticket_id=ticket_id,
        created_at=day + minutes if layout.minutes else day,
        customer_email=email,
        channel=rng.choices(("email", "chat", "phone", "web"), (45, 20, 15, 20))[0],
        subject=rng.choice(texts.VAGUE_SUBJECTS if rng.random() < 0.35 else texts.SUBJECTS[label]),
        body=_body(rng, label, slots),
        priority=rng.choices(("low", "normal", "high", "urgent"), (18, 52, 22, 8))[0],
        amount_eur=amount,
        label=label,
    )


def _body(rng: random.Random, label: str, slots: dict[str, str]) -> str:
    said = rng.choice(texts.CROSSED[label] if rng.random() < 0.08 else texts.PLAIN[label])
    parts = [rng.choice(texts.OPENINGS), said]
    if rng.random() < 0.25:
        parts.append(rng.choice(texts.PLAIN[label]))
    if rng.random() < 0.55:
        parts.append(rng.choice(texts.ASIDES))
    if label == "billing" and rng.random() < 0.2:
        parts.append(rng.choice(texts.BANK_ASIDES))
    parts.append(rng.choice(texts.CLOSINGS))
    return " ".join(part for part in parts if part).format(**slots)


def _undecidable(layout: Layout, tickets: list[Ticket]) -> tuple[Layout, list[Ticket]]:
    """Days up to the 12th, written with slashes: nothing in the file says which number is the month."""
    kept = [
        dataclasses.replace(ticket, created_at=datetime(2026, 10, 1 + position % 9))
        for position, ticket in enumerate(tickets)
    ]
    return dataclasses.replace(layout, dates="slash_dm", merged_days=False), kept


def _spoil(rng: random.Random, tickets: list[Ticket], month: int, layout: Layout) -> list[Ticket]:
    """Put in the mistakes that a contract has to find."""
    mistakes: tuple[dict[str, Any], ...] = (
        {"channel": rng.choice(("fax", "WhatsApp", "letter"))},
        {"priority": rng.choice(("ASAP", "P1", "!!!"))},
        {"created_at": f"31.{'02' if layout.german else '09'}.2026" if layout.german else f"2026-{month}-32"},
        {"body": ""},
        {"amount_eur": Decimal(-rng.randint(500, 9900)) / 100},
        {"customer_email": rng.choice(("unknown", "mira(at)example.org", "see CRM"))},
        {"ticket_id": f"{rng.randint(10, 99)}"},
    )
    spoiled = list(tickets)
    for mistake in rng.sample(mistakes, rng.choice((0, 1, 2, 2))):
        position = rng.randrange(len(spoiled) - 1)
        spoiled[position] = dataclasses.replace(spoiled[position], **mistake)
    return spoiled


def _with_copies(rng: random.Random, tickets: list[Ticket], earlier: list[Ticket]) -> list[Ticket]:
    """Tickets handed over from the list before: two exact copies, and one that was changed on the way."""
    usable = [t for t in earlier if isinstance(t.created_at, datetime) and t.body and t.priority in {"low", "normal"}]
    copied = rng.sample(usable, 3)
    changed = dataclasses.replace(copied[2], priority="high")
    return [*copied[:2], changed, *tickets]


def _finish(book: openpyxl.Workbook, special: str) -> bytes:
    content = _frozen(book)
    if special == "corrupt":
        return content[: len(content) // 2]  # the upload broke off
    if special == "password":
        locked = io.BytesIO()
        OOXMLFile(io.BytesIO(content)).encrypt(PASSWORD, locked)
        return locked.getvalue()
    return content


def _frozen(book: openpyxl.Workbook) -> bytes:
    """The workbook's bytes without the time at which they were written."""
    buffer, result = io.BytesIO(), io.BytesIO()
    book.save(buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target,
    ):
        for info in source.infolist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2026-11-23T00:00:00Z", source.read(info))
            target.writestr(zipfile.ZipInfo(info.filename, (2026, 11, 23, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return result.getvalue()


def _same(old: bytes, new: bytes) -> bool:
    """Whether both hold the same cells; a locked workbook has a fresh salt each time."""
    return old == new or (_unlocked(old) is not None and _unlocked(old) == _unlocked(new))


def _unlocked(content: bytes) -> bytes | None:
    buffer = io.BytesIO(content)
    try:
        office = msoffcrypto.OfficeFile(buffer)
        if not office.is_encrypted():
            return None
        opened = io.BytesIO()
        office.load_key(password=PASSWORD)
        office.decrypt(opened)
    except msoffcrypto.exceptions.FileFormatError:
        return None
    return opened.getvalue()


if __name__ == "__main__":
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tickets"
    written = write_all(to)
    print(f"{len(written)} workbooks in {to}")
