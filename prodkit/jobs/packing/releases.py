"""A lock for every patch release: where a pinned version refuses some of them, another version is pinned for those."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.jobs.packing.machine import this_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PATCHES = range(60)  # of one minor version; none has had thirty
_MARKER = re.compile(r"python_full_version (<|>=) \"(\d+\.\d+)\.(\d+)\"")
_LINE = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Gap:
    """A distribution that isn't there for some patch releases.

    `wanted` is what the others require of it (`<3,>=1.6`); `pin` its version here, empty where only those releases
    need it; `unfit` are the patch releases.
    """

    name: str
    wanted: str
    unfit: frozenset[int]
    pin: str = ""

    @property
    def marker(self) -> str:
        """The releases as a marker; empty when they are neither the first ones nor the last."""
        low, high = min(self.unfit), max(self.unfit)
        if len(self.unfit) != high - low + 1:
            return ""
        if low == PATCHES[0]:
            return f'python_full_version < "{this_python()}.{high + 1}"'
        return f'python_full_version >= "{this_python()}.{low}"' if high == PATCHES[-1] else ""


@dataclass(frozen=True, slots=True)
class Other:
    """Another pin for the patch releases of a marker; `lines` are as a lock has them, with hashes."""

    name: str
    marker: str
    lines: tuple[str, ...]


def holding(gaps: Iterable[Gap]) -> str:
    """The patch releases without a gap, as a specifier; empty when that is all of them."""
    unfit = {patch for gap in gaps for patch in gap.unfit}
    fit = [patch for patch in PATCHES if patch not in unfit]
    if not unfit or not fit:
        return ""
    named = [f">={this_python()}.{fit[0]}"] if fit[0] else []
    named += [f"<={this_python()}.{fit[-1]}"] if fit[-1] != PATCHES[-1] else []
    named += [f"!={this_python()}.{patch}" for patch in sorted(unfit) if fit[0] < patch < fit[-1]]
    return ",".join(named)


def others_for(gaps: Sequence[Gap], pins: Sequence[str], ask: Callable[[list[str], str], str]) -> tuple[Other, ...]:
    """A pin for each gap that a registry has one for.

    Args:
        gaps: the gaps.
        pins: all pins of the lock; another version may need nothing else than these.
        ask: gives the lock lines, with hashes, of requirements under a full version of Python; "" without an answer.
    """
    known = {pin.partition("==")[0] for pin in pins}
    found = []
    for gap in gaps:
        if not gap.marker:
            continue
        rest = [pin for pin in pins if not pin.startswith(f"{gap.name}==")]
        at = f"{this_python()}.{min(gap.unfit)}"
        wanted = ",".join(filter(None, (gap.wanted, f"<{gap.pin.partition('==')[2]}" if gap.pin else "")))
        blocks = _blocks(ask([f"{gap.name}{wanted}", *(f"-c {pin}" for pin in rest)], at))
        if gap.name in blocks and set(blocks) <= known | {gap.name}:
            found.append(Other(gap.name, gap.marker, tuple(_marked(blocks[gap.name], gap.marker))))
    return tuple(found)


def others_in(section: str, gaps: Sequence[Gap]) -> tuple[Other, ...]:
    """The other pins that an earlier lock names, when they are for the same gaps; else none."""
    blocks = _blocks(section)
    markers = {name: _MARKER.search(lines[0]) for name, lines in blocks.items()}
    others = tuple(
        Other(gap.name, gap.marker, tuple(blocks[gap.name]))
        for gap in gaps
        if (found := markers.get(gap.name)) is not None and found.group() == gap.marker
    )
    return others if len(others) == len(gaps) == len(blocks) else ()


def opposite(marker: str) -> str:
    """The marker of all other releases."""
    return marker.replace("<", ">=") if "<" in marker else marker.replace(">=", "<")


def mark(lines: str, others: Iterable[Other]) -> str:
    """A lock's lines, in which pins that have another for some releases say for which they are."""
    markers = {other.name: opposite(other.marker) for other in others}

    def marked(line: str) -> str:
        found = _LINE.match(line)
        marker = markers.get(found[1]) if found else None
        return line if marker is None or ";" in line else _marked([line], marker)[0]

    return "".join(f"{marked(line)}\n" for line in lines.splitlines())


def _blocks(text: str) -> dict[str, list[str]]:
    """Name -> its pin's line and the lines of its hashes."""
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            name = found[1]
            blocks[name] = [line]
        elif name and line.startswith("    --hash="):
            blocks[name].append(line)
    return blocks


def _marked(lines: list[str], marker: str) -> list[str]:
    pin, follows = (lines[0].removesuffix("\\").rstrip(), lines[0].endswith("\\"))
    return [f"{pin} ; {marker}" + (" \\" if follows else ""), *lines[1:]]
