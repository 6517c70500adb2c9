"""Fifteen kinds of corruption, and the share of them that a contract notices.

Each kind takes clean data and damages one place in one way, as production does: a unit that changed, a column that
moved, an export that emptied cells. A contract kills a damage when the damaged frame has an error that the clean one
hasn't.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from prodkit.contracts.checking import examine
from prodkit.contracts.frames import wrap
from prodkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.contracts.contract import Contract

Damage = Any  # a function of the clean frame, a column and a random generator that returns a mutant
Mutant = Any  # a damaged frame, or None when the damage has no place in this column
_SHARE = 0.05
_WORDS = 3  # spaces in a category's name at most
_FEW = 30  # different values at most, for text to count as a category


@dataclass(frozen=True, slots=True)
class Killing:
    """What became of one kind of corruption.

    Attributes:
        kind: its name.
        tried: in how many columns (or places) it was injected.
        missed: the columns in which the contract didn't notice it.
    """

    kind: str
    tried: int
    missed: tuple[str, ...]

    @property
    def killed(self) -> int:
        """In how many places the contract noticed it."""
        return self.tried - len(self.missed)


def mutate(df: Any, contract: Contract, *, seed: int = 0) -> tuple[Killing, ...]:
    """Inject each kind of corruption in each column where it has a place, and see which the contract notices.

    Rows that break the contract already are left out first, so that a kill is the corruption's.

    Raises:
        DataError: `contract.no-clean-rows`, when nothing is left to damage, or what `validate` raises.
    """
    clean = examine(wrap(df).to_pandas(), contract, "warn")
    frame = clean.frame.keep(~clean.failing).reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    if len(frame) < 2 or clean.whole:  # noqa: PLR2004
        raise DataError(
            "contract.no-clean-rows",
            f"The data has {len(frame)} rows that keep the contract; a test needs data that keeps it.",
            where=contract.source,
            fix="see what breaks with `prodkit contract validate`",
        )
    return tuple(_killing(kind, damage, frame, contract, seed) for kind, damage in KINDS.items())


def score(killings: tuple[Killing, ...]) -> float:
    """The share of injected corruptions that were noticed, 0 to 1."""
    tried = sum(killing.tried for killing in killings)
    return sum(killing.killed for killing in killings) / tried if tried else 0.0


def _killing(kind: str, damage: Damage, frame: Any, contract: Contract, seed: int) -> Killing:
    tried, missed = 0, []
    for place, mutant in _mutants(damage, frame, contract, np.random.default_rng(seed)):
        tried += 1
        if not _noticed(mutant, contract):
            missed.append(place)
    return Killing(kind, tried, tuple(missed))


def _mutants(damage: Damage, frame: Any, contract: Contract, random: Any) -> Iterator[tuple[str, Any]]:
    names = [column.name for column in contract.columns if column.name in frame.columns]
    for name in names:
        mutant = damage(frame, name, random)
        if mutant is not None:
            yield name, mutant
            if damage is repeat_rows:
                return


def _noticed(mutant: Any, contract: Contract) -> bool:
    try:
        return not examine(mutant, contract).ok
    except DataError:
        return True


# -- the kinds; each gets the clean frame, a column and a random generator ---------------------------------------------


def empty_cells(frame: Any, name: str, random: Any) -> Mutant:
    """Cells of a column that is always filled are empty."""
    if frame[name].isna().any():
        return None
    damaged = np.zeros(len(frame), dtype=bool)
    damaged[_rows(frame, random)] = True
    return frame.assign(**{name: frame[name].mask(damaged)})


def repeat_keys(frame: Any, name: str, random: Any) -> Mutant:
    """Keys appear twice."""
    if not _is_key(frame, name):
        return None
    mutant = frame.copy()
    rows = _rows(frame, random)
    mutant.iloc[rows, frame.columns.get_loc(name)] = frame[name].iloc[(rows + 1) % len(frame)].to_numpy()
    return mutant


def repeat_rows(frame: Any, name: str, random: Any) -> Mutant:  # noqa: ARG001
    """Rows were loaded twice."""
    return pd.concat([frame, frame.iloc[_rows(frame, random)]], ignore_index=True)


def new_category(frame: Any, name: str, random: Any) -> Mutant:
    """A category has a value that it never had."""
    return _put(frame, name, random, lambda cell: f"{cell}x") if _is_category(frame, name) else None


def other_case(frame: Any, name: str, random: Any) -> Mutant:
    """A category is written with another case and a space."""
    return _put(frame, name, random, lambda cell: f" {cell.swapcase()}") if _is_category(frame, name) else None


def thousandfold(frame: Any, name: str, random: Any) -> Mutant:
    """A decimal separator was lost: amounts are a thousand times too large."""
    return _scale(frame, name, random, 1000)


def hundredfold(frame: Any, name: str, random: Any) -> Mutant:
    """A unit changed, euros to cents, in the whole column."""
    return _scale(frame, name, random, 100, everywhere=True)


def flip_sign(frame: Any, name: str, random: Any) -> Mutant:
    """Amounts that are never negative are."""
    if not _is_number(frame, name) or (frame[name].dropna() < 0).any() or not (frame[name] > 0).any():
        return None
    return _scale(frame[frame[name] > 0].reset_index(drop=True), name, random, -1)


def numbers_as_text(frame: Any, name: str, random: Any) -> Mutant:  # noqa: ARG001
    """Numbers come as text."""
    return frame.assign(**{name: frame[name].astype(str)}) if _is_number(frame, name) else None


def fractions(frame: Any, name: str, random: Any) -> Mutant:
    """Whole numbers have fractions."""
    whole = pd.api.types.is_integer_dtype(frame[name].dtype)
    return _put(frame.astype({name: "float64"}), name, random, lambda cell: cell + 0.37) if whole else None


def dates_at_zero(frame: Any, name: str, random: Any) -> Mutant:
    """Dates fall back to a spreadsheet's day zero."""
    if not pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
        return None
    zero = pd.Timestamp("1899-12-30", tz=getattr(frame[name].dtype, "tz", None))
    return _put(frame, name, random, lambda cell: zero)  # noqa: ARG005


def cut_short(frame: Any, name: str, random: Any) -> Mutant:
    """Formatted text (ids, addresses) lost its second half."""
    formatted = _is_text(frame, name) and not _is_category(frame, name) and _is_formatted(frame[name])
    return _put(frame, name, random, lambda cell: cell[: len(cell) // 2]) if formatted else None


def blank_text(frame: Any, name: str, random: Any) -> Mutant:
    """Text that is always filled is spaces only."""
    filled = _is_text(frame, name) and not frame[name].dropna().str.strip().eq("").any()
    return _put(frame, name, random, lambda cell: "   ") if filled else None  # noqa: ARG005


def swap_columns(frame: Any, name: str, random: Any) -> Mutant:  # noqa: ARG001
    """The contents of two neighbouring columns were exchanged."""
    place = frame.columns.get_loc(name)
    if place + 1 >= len(frame.columns):
        return None
    other = frame.columns[place + 1]
    if frame[name].equals(frame[other]):
        return None
    return frame.assign(**{name: frame[other], other: frame[name]})


def drop_column(frame: Any, name: str, random: Any) -> Mutant:  # noqa: ARG001
    """A column was renamed, so that the agreed one isn't there."""
    return frame.rename(columns={name: f"{name}_1"})


KINDS: dict[str, Any] = {
    "cells emptied": empty_cells,
    "keys repeated": repeat_keys,
    "rows loaded twice": repeat_rows,
    "category never seen": new_category,
    "category in other case": other_case,
    "decimal separator lost (x1000)": thousandfold,
    "unit changed (x100)": hundredfold,
    "sign flipped": flip_sign,
    "numbers as text": numbers_as_text,
    "whole numbers with fractions": fractions,
    "dates at day zero": dates_at_zero,
    "ids and addresses cut short": cut_short,
    "text blank": blank_text,
    "neighbouring columns swapped": swap_columns,
    "column renamed": drop_column,
}


def _rows(frame: Any, random: Any) -> Any:
    return random.choice(len(frame), max(1, int(len(frame) * _SHARE)), replace=False)


def _put(frame: Any, name: str, random: Any, change: Callable[[Any], Any]) -> Mutant:
    """The frame with some filled cells of a column changed."""
    filled = np.flatnonzero(frame[name].notna().to_numpy())
    if not len(filled):
        return None
    rows = random.choice(filled, max(1, int(len(filled) * _SHARE)), replace=False)
    column = frame[name].astype(object) if isinstance(frame[name].dtype, pd.CategoricalDtype) else frame[name].copy()
    changed = [change(cell) for cell in column.iloc[rows]]
    column.iloc[rows] = changed
    return frame.assign(**{name: column})


def _scale(frame: Any, name: str, random: Any, by: int, *, everywhere: bool = False) -> Mutant:
    if not _is_number(frame, name) or _is_key(frame, name) or not (frame[name] != 0).any():
        return None
    if everywhere:
        return frame.assign(**{name: frame[name] * by})
    return _put(frame, name, random, lambda cell: cell * by)


def _is_number(frame: Any, name: str) -> bool:
    kind = frame[name].dtype
    return bool(pd.api.types.is_numeric_dtype(kind)) and not pd.api.types.is_bool_dtype(kind)


def _is_text(frame: Any, name: str) -> bool:
    column = frame[name].dropna()
    return bool(len(column)) and all(isinstance(cell, str) for cell in column.iloc[:100])


def _is_category(frame: Any, name: str) -> bool:
    """Few different values, of few words each: prose isn't a category however often it is repeated."""
    if not _is_text(frame, name) or frame[name].nunique() > min(_FEW, max(2, len(frame) // 5)):
        return False
    return bool(frame[name].dropna().str.count(" ").max() <= _WORDS)


def _is_key(frame: Any, name: str) -> bool:
    return name == frame.columns[0] and bool(frame[name].is_unique)


def _is_formatted(column: Any) -> bool:
    sample = column.dropna().iloc[:200]
    return not sample.str.contains(" ").any() and bool(sample.str.contains(r"[0-9@.:/-]").all())
