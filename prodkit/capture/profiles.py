"""The profile of each checked input: kept with its fingerprint, logged with the run, compared with the last one."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.capture.lineage.sight import muted
from prodkit.errors import ProdkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from prodkit.capture.inputs import CheckedInput
    from prodkit.capture.runs import OpenRun
    from prodkit.contracts.rules import Column
    from prodkit.profile import Drift, Profile

_SAMPLED = 200_000  # rows that a distribution is taken from; more rows cost little
_MOST_SAMPLED = 4_000_000  # cells of these, and of all rows, from which on a profile takes about a second
_MOST_CELLS = 60_000_000
_OPEN = ("", "public", "internal")
_NAMED = 4  # columns in a notice


def follow(run: OpenRun, one: CheckedInput) -> None:
    """Profile an input, log what has moved since other data of this name, and keep the profile for the next run.

    Columns that the contract calls personal or confidential have counts alone; of the others the names of categories
    are kept only where the contract calls them public, and else as digests with the project's key.
    """
    try:
        with muted():
            _follow(run, one)
    except ProdkitError as error:
        run.note(f"`{one.name}` wasn't compared with earlier data: {error.what} {error.fix}".strip(), error=error)
    except Exception as error:  # a profile is a help; it must not keep a run from starting. Its text may hold values
        run.note(f"`{one.name}` couldn't be profiled: {type(error).__name__}.")


def _follow(run: OpenRun, one: CheckedInput) -> None:
    from prodkit.profile import History, as_arrow, drift, profile

    if _too_many(run, one, one.record.rows or 0):  # the rows of a lazy table aren't known before it is collected
        return
    table = as_arrow(one.frame)
    if one.record.rows is None and _too_many(run, one, table.num_rows):
        return
    personal, mask = _personal(run, one, table.column_names), _mask(run, one, table.column_names)
    history = History(run.project.state / "profiles")
    name, content = _dataset(run, one), one.record.fingerprint
    now = profile(table, personal=personal, clean=mask)
    run.ledger.log_text(run.handle, _artifact(now, content), f"profile/{one.name}.json")
    before = history.last(name, other_than=content)
    if before is not None:
        comparable = profile(table, personal=personal, clean=mask, like=before.profile)
        moved = _without_growth(drift(before.profile, comparable), now, one)
        run.ledger.log_metrics(run.handle, moved.metrics(one.name))
        _tell(run, one.name, moved, before.at)
    elif history.last(name) is not None:
        run.ledger.log_metrics(run.handle, drift(now, now).metrics(one.name))
    history.keep(name, content, now)


def _too_many(run: OpenRun, one: CheckedInput, rows: int) -> bool:
    """Whether all cells, or those that a distribution is taken from, would take longer than about a second."""
    columns = len(one.record.columns)
    if rows * columns <= _MOST_CELLS and min(rows, _SAMPLED) * columns <= _MOST_SAMPLED:
        return False
    run.note(
        f"`{one.name}` has {rows * columns:,} cells: too many for a profile, so it isn't compared with earlier data."
    )
    return True


def _dataset(run: OpenRun, one: CheckedInput) -> str:
    """What is compared with what: parts of one source apart, and undeclared tables only within runs of one name."""
    source = one.record.attributes.get("data_source_name", "")
    if source:
        return source if source == one.name else f"{source}/{one.name}"
    return f"{run.name}/{one.name}"


def _agreed(one: CheckedInput) -> dict[str, Column]:
    columns = one.contract.columns if one.contract is not None else ()
    return {name: column for column in columns for name in (column.physical_name, column.name) if name}


def _personal(run: OpenRun, one: CheckedInput, names: list[str]) -> set[str]:
    """Columns with counts alone; what no contract speaks of is judged by its source, then by its name."""
    from prodkit.contracts.infer_text import looks_personal

    agreed = _agreed(one)
    spec = run.manifest.data_sources.get(one.record.attributes.get("data_source_name", ""))
    holds_personal = spec is not None and spec.pii
    found = set()
    for name in names:
        column = agreed.get(name)
        if column is None:
            hidden = holds_personal or looks_personal(name)
        else:
            hidden = column.pii or column.classification not in _OPEN
        if hidden:
            found.add(name)
    return found


def _mask(run: OpenRun, one: CheckedInput, names: list[str]) -> dict[str, Callable[[str], str]]:
    """Digests in place of names of categories, where the contract doesn't call them public."""
    key = run.ledger.keyring.derive("profile")

    def digest(label: str) -> str:
        return "category-" + hmac.digest(key, label.encode("utf-8", "replace"), hashlib.sha256).hex()[:10]

    agreed = _agreed(one)
    return {name: digest for name in names if name not in agreed or not agreed[name].public}


def _without_growth(moved: Drift, now: Profile, one: CheckedInput) -> Drift:
    """Times, and numbers that count the rows, go on from run to run: that is no news."""
    from prodkit.contracts.infer_text import looks_like_id

    agreed = _agreed(one)
    unique = (
        {rule.column for rule in one.contract.rules if rule.kind == "unique"} if one.contract is not None else set()
    )
    counting = {column.name for column in now.columns if column.name not in agreed and looks_like_id(column.name)}
    growing = {column.name for column in now.columns if column.kind == "time"} | unique | counting
    shifts = tuple(shift for shift in moved.shifts if shift.column not in growing or "distribution" not in shift.what)
    told = {shift.column for shift in shifts}
    psi = {column: index for column, index in moved.psi.items() if column not in growing or column in told}
    return replace(moved, shifts=shifts, psi=psi)


def _tell(run: OpenRun, name: str, moved: Drift, since: str) -> None:
    if not moved.shifts:
        return
    ordered = sorted(moved.shifts, key=lambda shift: -(shift.psi if shift.psi is not None else float("inf")))
    said = [
        f"`{shift.column}` ({shift.what}{f', PSI {shift.psi:.2f}' if shift.psi is not None else ''})"
        for shift in ordered[:_NAMED]
    ]
    more = f" and {len(ordered) - _NAMED} more columns" if len(ordered) > _NAMED else ""
    run.note(f"`{name}` has moved since the data of {since[:16].replace('T', ' ')} UTC: {', '.join(said)}{more}.")


def _artifact(found: Profile, content: str) -> str:
    value: dict[str, Any] = {"fingerprint": content, "profile": found.to_json()}
    return json.dumps(value)
