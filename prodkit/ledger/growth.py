"""How large a project's state is, by part, how fast it grows, and when the disk is full at this rate.

A sample of the sizes is kept once a day, by whatever job runs first. Until there are samples of some days, growth is
estimated from the journal, whose records say when they were written, and the other parts are taken to keep pace.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prodkit.ledger.chain import decode
from prodkit.ledger.segments import list_segments, read_lines, read_tail
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.ledger.segments import Segment

SAMPLES = "sizes.jsonl"
WINDOWS = (7, 30)
PARTS = ("journal", "mlflow", "artifacts", "jobs", "quarantine", "spool", "checkpoints", "answers", "keys", "other")
_PART_OF = {"cache": "answers", "replay": "answers"}
_BETWEEN = timedelta(hours=20)
_KEPT = 90
_SHORTEST = 0.5  # days: what grew within hours says nothing about a day


@dataclass(frozen=True, slots=True)
class Growth:
    """Sizes in bytes, growth in bytes a day.

    Attributes:
        parts: part -> bytes; those that are empty are left out.
        a_day: days of the window -> part -> bytes a day; a window without anything to go by is left out.
        estimated: windows whose figures come from the journal alone.
        free: bytes that are free on the disk.
    """

    parts: dict[str, int]
    a_day: dict[int, dict[str, float]] = field(default_factory=dict)
    estimated: tuple[int, ...] = ()
    free: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def rate(self, window: int) -> float | None:
        """Bytes a day of all parts together over this many days; None when it isn't known."""
        return sum(self.a_day[window].values()) if window in self.a_day else None

    @property
    def days_left(self) -> float | None:
        """Until the disk is full at the faster of the two rates; None when nothing grows or no rate is known."""
        fastest = max((self.rate(window) or 0.0 for window in WINDOWS), default=0.0)
        return self.free / fastest if fastest > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"total": self.total, "days_left": self.days_left}


def measure(state: Path) -> Growth:
    """Look at a state folder; takes milliseconds for each thousand files."""
    parts = weigh(state)
    a_day: dict[int, dict[str, float]] = {}
    estimated = []
    samples = list(_samples(state))
    for window in WINDOWS:
        found = _since(samples, parts, window)
        if found is None and (found := _by_journal(state, parts, window)) is not None:
            estimated.append(window)
        if found is not None:
            a_day[window] = found
    return Growth(parts, a_day, tuple(estimated), shutil.disk_usage(state).free)


def weigh(state: Path) -> dict[str, int]:
    """Bytes by part."""
    parts = dict.fromkeys(PARTS, 0)
    stack = [(str(state), "")]
    while stack:
        folder, part = stack.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                name = part or _part(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    stack.append((entry.path, name))
                else:
                    with contextlib.suppress(OSError):  # gone since
                        parts[name] += entry.stat(follow_symlinks=False).st_size
    return {name: size for name, size in parts.items() if size}


def _part(name: str) -> str:
    if name.startswith("mlflow.db"):
        return "mlflow"
    known = _PART_OF.get(name, name)
    return known if known in PARTS else "other"


def keep_sample(state: Path) -> None:
    """Note today's sizes, where that hasn't been done."""
    samples = list(_samples(state))
    if samples and now() - samples[-1][0] < _BETWEEN:
        return
    lines = [{"time": time.isoformat(), "parts": parts} for time, parts in [*samples, (now(), weigh(state))][-_KEPT:]]
    spare = state / f"{SAMPLES}.{os.getpid()}.part"
    spare.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    spare.replace(state / SAMPLES)


def _samples(state: Path) -> Iterator[tuple[datetime, dict[str, int]]]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a broken file is as good as none
        for line in (state / SAMPLES).read_text(encoding="utf-8").splitlines():
            read = json.loads(line)
            yield datetime.fromisoformat(read["time"]), {str(k): int(v) for k, v in read["parts"].items()}


def _since(
    samples: list[tuple[datetime, dict[str, int]]], parts: dict[str, int], window: int
) -> dict[str, float] | None:
    """From the oldest sample of the window until now; None when it is hardly older than now."""
    begin = now() - timedelta(days=window + 1)
    first = next(((time, then) for time, then in samples if time >= begin), None)
    if first is None or (days := (now() - first[0]) / timedelta(days=1)) < _SHORTEST:
        return None
    return {name: (parts.get(name, 0) - first[1].get(name, 0)) / days for name in {*parts, *first[1]}}


def _by_journal(state: Path, parts: dict[str, int], window: int) -> dict[str, float] | None:
    begin = now() - timedelta(days=window)
    written, first = 0.0, now()
    for segment in list_segments(state / "journal"):
        span = _span(segment)
        if span is None:
            continue
        began, ended = span
        inside = (ended - max(began, begin)) / (ended - began) if ended > began else float(ended >= begin)
        written += segment.path.stat().st_size * max(0.0, inside)
        first = min(first, began)
    age = (now() - first) / timedelta(days=1)
    if not written or not parts.get("journal") or age < _SHORTEST:
        return None
    days = min(float(window), max(age, 1.0))
    share = written / parts["journal"] / days
    return {name: size * share for name, size in parts.items() if name != "keys"}


def _span(segment: Segment) -> tuple[datetime, datetime] | None:
    """When the first and the last record of a segment were written."""
    last = read_tail(segment.path).last
    first = next((line for _, line in read_lines(segment.path)), None)
    try:
        began = None if first is None else datetime.fromisoformat(decode(first).time)
    except ValueError:
        return None
    return None if last is None or began is None else (began, datetime.fromisoformat(last.time).astimezone(UTC))
