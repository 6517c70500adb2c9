"""Which tables a statement reads and writes. Names only: values never leave this module."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NAME = r"(?:[\w$]++|\"[^\"]++\"|`[^`]++`|\[[^\]]++\])"
_TABLE = rf"{_NAME}(?:\s*\.\s*{_NAME}){{0,3}}+"
_ALIAS = (
    r"(?:\s+(?:as\s+)?(?!(?:from|join|left|right|inner|outer|full|cross|natural|where|on|using|group|order|limit|union|"
    rf"having|window|set|values|select|tablesample|for|except|intersect|returning|when|offset|fetch)\b){_NAME})?"
)
_CTE = re.compile(
    rf"(?:\bwith\s+(?:recursive\s+)?|,\s*)({_NAME})\s*(?:\([^()]*\)\s*)?as\s+(?:not\s+)?(?:materialized\s+)?\(",
    re.IGNORECASE,
)
_WRITE = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+|ignore\s+|overwrite\s+)?into|replace\s+into|merge\s+into|delete\s+from|"
    r"truncate(?:\s+table)?|update(?:\s+only)?|alter\s+table|into|create\s+(?:or\s+replace\s+)?"
    r"(?:temp\w*\s+|unlogged\s+)?(?:table|(?:materialized\s+)?view)(?:\s+if\s+not\s+exists)?)"
    rf"\s+({_TABLE})",
    re.IGNORECASE,
)
_FROM = re.compile(
    rf"\b(?:from|join|using)\s+(?:only\s+|lateral\s+)?({_TABLE})(?!\s*\()"
    rf"({_ALIAS}(?:\s*,\s*{_TABLE}(?!\s*\(){_ALIAS})*)",
    re.IGNORECASE,
)
_COPY = re.compile(rf"\bcopy\s+({_TABLE})\s*(?:\([^)]*\)\s*)?(from|to)\b", re.IGNORECASE)
_FUNCTION_FROM = re.compile(r"\b(?:extract|trim|substring|overlay|position)\s*\([^()]*\)", re.IGNORECASE)
_NO_TABLE = frozenset(
    {
        *("select", "values", "unnest", "lateral", "set", "where", "dual", "table", "only", "pragma"),
        *("stdin", "stdout", "generate_series"),
    }
)
_LONGEST = 100_000
# before a literal that names a file or a database; a literal anywhere else is a value, and perhaps a secret
_PLACE = re.compile(
    r"(?:\b(?:from|join|to|attach|database)|\bdatabase\s+if\s+not\s+exists|"
    r"\b(?:read_\w+|\w+_scan|parquet_\w+|sniff_csv|glob|st_read)\s*\(\s*\[?)\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Tables:
    """Names as they are written in a statement, in order."""

    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def tables_of(statement: str) -> Tables:
    """The tables of one statement or script; nothing for what isn't SQL."""
    text = _FUNCTION_FROM.sub(" ", _LITERAL.sub("''", _NOISE.sub(" ", statement[:_LONGEST])))
    made_here = {_plain(name) for name in _CTE.findall(text)}
    written = [_plain(name) for name in _WRITE.findall(text)]
    read: list[str] = []
    for match in _FROM.finditer(text):
        if re.search(r"\b(?:delete|distinct)\s*$", text[max(0, match.start() - 10) : match.start()], re.IGNORECASE):
            continue
        read.append(_plain(match[1]))
        read += [_plain(part.split()[0]) for part in match[2].split(",")[1:] if part.split()]
    for name, direction in _COPY.findall(text):
        (written if direction.lower() == "from" else read).append(_plain(name))
    return Tables(_kept(read, made_here), _kept(written, made_here))


def places_in(statement: str) -> list[tuple[str, bool]]:
    """The files and databases that a statement of DuckDB names by literals, and whether each is written."""
    text = _NOISE.sub(" ", statement[:_LONGEST])
    found: list[tuple[str, bool]] = []
    end = -1
    for literal in _LITERAL.finditer(text):
        before = text[max(0, literal.start() - 100) : literal.start()]
        goes_on = bool(found) and literal.start() > end >= 0 and not text[end : literal.start()].strip(" \t\n,")
        if goes_on or _PLACE.search(before):
            target = not goes_on and before.rstrip().lower().endswith(" to")
            found.append((literal[0][1:-1].replace("''", "'"), target))
            end = literal.end()
    return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip('"`[]') for part in name.split("."))


def _kept(names: list[str], made_here: set[str]) -> tuple[str, ...]:
    kept = [name for name in dict.fromkeys(names) if name and name.lower() not in _NO_TABLE and name not in made_here]
    return tuple(name for name in kept if not name.lower().startswith(("sqlite_", "pg_", "information_schema")))
