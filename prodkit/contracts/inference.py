"""Drafting a contract from data: rules that clean rows keep and corruption breaks, each with its evidence."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from prodkit.contracts.checks import unique
from prodkit.contracts.contract import Contract
from prodkit.contracts.draft import Draft
from prodkit.contracts.frames import ORIGIN, wrap
from prodkit.contracts.infer_numbers import draft_number, draft_time, grows_with_rows, is_counter
from prodkit.contracts.infer_suspects import suspect_repeats, suspect_signs
from prodkit.contracts.infer_text import draft_text, looks_like_id, looks_personal
from prodkit.errors import DataError

if TYPE_CHECKING:
    from prodkit.contracts.cells import Cells

_FEWEST = 20  # rows; with fewer there is nothing to learn but names and types
_UNIQUE_FROM = 1000  # rows without a repetition that make an id-like column unique on that ground alone
_CODES = 12  # at most so many different whole numbers count as codes
_PAIRS = 40  # columns of a kind that are compared with each other
_BEFORE = re.compile(
    r"(^|_)(start|begin|from|open(ed)?|creat(ed|ion)|min|low(er)?|net|order(ed)?|first|valid_from)", re.IGNORECASE
)
_AFTER = re.compile(
    r"(^|_)(end|until|to|clos(ed|ing)|updat(ed|e)|resolv(ed|e)|finish(ed)?|max|upp(er)?|high|gross|ship(ped)?|deliver(ed|y)|last|valid_to)",
    re.IGNORECASE,
)


def infer(df: Any, name: str = "table", *, owner: str = "") -> Contract:
    """Draft a contract from a frame. The frame isn't changed; values go into the draft only as lists of categories.

    Args:
        df: any frame that `validate` takes; a hundred rows are enough for a start.
        name: the table's name.
        owner: the team that answers for the data, when it is known.

    Returns:
        A contract of status `draft`, whose `to_yaml()` gives the evidence for each rule.

    Raises:
        DataError: `contract.no-frame`, `contract.duplicate-columns`, or `contract.no-columns`.
    """
    frame = wrap(df)
    if not frame.names:
        raise DataError(
            "contract.no-columns", "The frame has no columns, so there is nothing to learn.", fix="pass the data itself"
        )
    cells = {column: frame.cells(column) for column in frame.names if column != ORIGIN}
    drafts = [_draft(column, cells[column], frame.rows) for column in cells]
    _choose_keys(drafts, cells)
    for draft in drafts:
        _draft_rules(draft, cells[draft.name])
    if drafts and looks_like_id(drafts[0].name) and not any(draft.key for draft in drafts):
        suspect_repeats(drafts[0], cells[drafts[0].name].array)
    table: dict[str, Any] = {
        "name": name,
        "physicalType": "table",
        "properties": [draft.to_property() for draft in drafts],
    }
    hints = _orders(drafts, cells)
    if hints:
        table["quality"] = hints
    document: dict[str, Any] = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": _identifier(name),
        "name": name,
        "version": "0.1.0",
        "status": "draft",
        "description": {"limitations": f"Drafted from {frame.rows} rows; read it and sign it before you rely on it."},
    }
    if owner:
        document["team"] = {"name": owner}
    document["schema"] = [table]
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return Contract.from_yaml(text, name=f"{_identifier(name)}.odcs.yaml")


def _draft(name: str, cells: Cells, rows: int) -> Draft:
    array = cells.array
    draft = Draft(name, rows, rows - array.null_count, logical_type=_logical(cells))
    draft.personal = looks_personal(name) and draft.logical_type == "string"
    draft.evidence["type"] = f"{cells.dtype} in {draft.filled} filled cells"
    if cells.odd is not None:
        draft.evidence["type"] += f"; {int(cells.odd.sum())} cells are of another type"
    draft.required = bool(rows) and not array.null_count
    if draft.required:
        draft.evidence["required"] = f"no empty cell in {rows} rows; up to {_share(3 / rows)} could still be empty"
    return draft


def _logical(cells: Cells) -> str:
    """The logical type of what is there; nothing for a column without values."""
    kind = cells.array.type
    types = pa.types
    if cells.array.null_count == len(cells.array):
        return ""
    if types.is_floating(kind) and cells.array.null_count and cells.dtype.startswith("float"):
        # pandas turns whole numbers with gaps into floats
        return "integer" if pc.all(pc.equal(cells.array, pc.floor(cells.array))).as_py() else "number"
    for test, logical in (
        (types.is_boolean, "boolean"),
        (types.is_integer, "integer"),
        (types.is_floating, "number"),
        (types.is_decimal, "number"),
        (types.is_timestamp, "timestamp"),
        (types.is_date, "date"),
        (types.is_time, "time"),
        (types.is_string, "string"),
        (types.is_large_string, "string"),
        (types.is_struct, "object"),
        (types.is_map, "object"),
        (types.is_list, "array"),
        (types.is_large_list, "array"),
        (types.is_fixed_size_list, "array"),
    ):
        if test(kind):
            return logical
    return ""


def _choose_keys(drafts: list[Draft], cells: dict[str, Cells]) -> None:
    """The first column that is surely a key becomes the primary one, others are unique."""
    for place, draft in enumerate(drafts):
        why = _key_evidence(draft, cells[draft.name], first=place == 0)
        if not why:
            continue
        draft.evidence["unique"] = why
        if draft.required and not any(other.key for other in drafts) and (looks_like_id(draft.name) or place == 0):
            draft.key = True
        else:
            draft.unique = True


def _key_evidence(draft: Draft, cells: Cells, *, first: bool) -> str:
    """Why a column is unique by design, not by chance; empty when it may be chance."""
    if draft.rows < _FEWEST or draft.logical_type not in ("integer", "string") or draft.filled < draft.rows:
        return ""
    array = cells.array
    numbers = _numbers_in(array) if draft.logical_type == "string" else array
    named = looks_like_id(draft.name)
    if unique(array) is not None or not (named or first):
        return ""
    if numbers is not None and is_counter(numbers):
        return f"{draft.rows} different values, where chance would have repeated some"
    if named and (first or draft.rows >= _UNIQUE_FROM):
        return f"{draft.rows} different values in a column that is named like a key"
    return ""


def _numbers_in(array: Any) -> Any:
    """The number at the end of each text, when all have one."""
    tails = pc.struct_field(pc.extract_regex(array, r"(?P<tail>[0-9]{1,15})$"), "tail")
    return None if tails.null_count else pc.cast(tails, pa.int64())


def _draft_rules(draft: Draft, cells: Cells) -> None:
    array = cells.array
    if draft.logical_type == "string":
        draft_text(draft, array)
    elif draft.logical_type in ("integer", "number"):
        grows = draft.key or draft.unique or looks_like_id(draft.name) or grows_with_rows(array)
        if draft.logical_type == "integer" and not grows and _codes(draft, array):
            return
        draft_number(draft, array, grows=grows)
        suspect_signs(draft, array)
    elif draft.logical_type in ("timestamp", "date"):
        draft_time(draft, array)
        if draft.logical_type == "timestamp":
            aware = array.type.tz is not None
            draft.option("timezone", aware, f"all {draft.filled} values {'have' if aware else 'lack'} a time zone")


def _codes(draft: Draft, array: Any) -> bool:
    """Few whole numbers far apart are codes (200, 404), not amounts."""
    counts = pc.value_counts(array.drop_null())
    values, times = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    if not 2 <= len(values) <= _CODES or min(times) < max(5, draft.filled // 50):  # noqa: PLR2004
        return False
    whole = sorted(int(value) for value in values)
    if whole[-1] - whole[0] < 3 * len(whole):
        return False
    draft.values(whole, f"{len(whole)} different values in {draft.filled}, the rarest {min(times)} times")
    return True


def _orders(drafts: list[Draft], cells: dict[str, Cells]) -> list[dict[str, Any]]:
    """Pairs of columns of which one is never after the other: errors when their names say so, else hints."""
    rules = []
    for kinds in (("timestamp", "date"), ("integer", "number")):
        those = [
            draft for draft in drafts if draft.logical_type in kinds and not draft.key and draft.filled >= 5 * _FEWEST
        ]
        for one, other in combinations(those[:_PAIRS], 2):
            for left, right in ((one, other), (other, one)):
                rule = _order(left, right, cells)
                if rule:
                    rules.append(rule)
    return rules[:20]


def _order(left: Draft, right: Draft, cells: dict[str, Cells]) -> dict[str, Any] | None:
    named = bool(_BEFORE.search(left.name) and _AFTER.search(right.name))
    if not named and left.logical_type in ("integer", "number"):
        return None  # among many numbers some pairs are ordered by chance
    try:
        broken = pc.any(pc.greater(cells[left.name].array, cells[right.name].array)).as_py()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None
    if broken is not False or not _overlap(cells[left.name].array, cells[right.name].array):
        return None
    return {
        "type": "custom",
        "engine": "pandera",
        "id": _identifier(f"{left.name}_before_{right.name}"),
        "severity": "error" if named else "warning",
        "description": f"{left.name} must not be after {right.name}",
        "implementation": {"check": "compare_columns", "left": left.name, "operator": "<=", "right": right.name},
        "customProperties": [{"property": "evidence", "value": f"so in all rows where both of {left.rows} are filled"}],
    }


def _overlap(left: Any, right: Any) -> bool:
    """Whether the order says anything: ranges that lie apart are ordered anyway."""
    return bool(pc.greater(pc.max(left), pc.min(right)).as_py())


def _share(share: float) -> str:
    return f"{100 * share:.2g} %"


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "table"
