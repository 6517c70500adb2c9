"""Queues with so many places each: what waits in one never delays another, and a job runs once at a time."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs.schedules.schedule import DEFAULT_POOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.jobs.schedules.schedule import Firing, Schedule

_LEAST = 4


def default_size() -> int:
    """How many jobs of the default pool run at a time: two a processor, because most of them wait for a model."""
    return max(_LEAST, 2 * (os.cpu_count() or 1))


def check_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of all pools with the default one.

    Raises:
        ConfigError: `schedule.pool-size`.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(
                "schedule.pool-size", f"The pool `{name}` has {size} places.", fix="give it 1 or more; pause schedules"
            )
    return {DEFAULT_POOL: default_size(), **sizes}


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """The order in a queue: by priority, what is due today before what is filled in for the past, then by time."""

    rank: tuple[int, bool, str, str]
    firing: Firing
    schedule: Schedule


class Pools:
    """Waiting firings by pool. Adding, taking and freeing cost no more than the logarithm of what waits.

    Args:
        sizes: places by pool; a pool that isn't among them has one.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self._waiting: dict[str, list[_Place]] = {}
        self._parked: dict[str, list[_Place]] = {}  # by job: their job runs, so they would only hold a place
        self._running: Counter[str] = Counter()
        self._busy: dict[str, str] = {}  # job -> the pool in which it runs

    def add(self, firing: Firing, schedule: Schedule) -> None:
        """A firing waits from now on."""
        rank = (-schedule.priority, firing.kind == "backfill", firing.due.isoformat(), firing.name)
        heapq.heappush(self._waiting.setdefault(schedule.pool, []), _Place(rank, firing, schedule))

    def take(self) -> list[tuple[Firing, Schedule]]:
        """What may start now; each holds its place until `free`."""
        taken = []
        for pool, waiting in self._waiting.items():
            while waiting and self._running[pool] < self.sizes.get(pool, 1):
                place = heapq.heappop(waiting)
                job = str(place.schedule.job)
                if job in self._busy:
                    heapq.heappush(self._parked.setdefault(job, []), place)
                    continue
                self._busy[job] = pool
                self._running[pool] += 1
                taken.append((place.firing, place.schedule))
        return taken

    def free(self, schedules: Iterable[Schedule]) -> None:
        """Runs have ended, or didn't begin: their places are free, and one that waited for the same job goes on."""
        for schedule in schedules:
            job = str(schedule.job)
            self._running[self._busy.pop(job)] -= 1
            if parked := self._parked.get(job):
                place = heapq.heappop(parked)
                heapq.heappush(self._waiting.setdefault(place.schedule.pool, []), place)
                if not parked:
                    del self._parked[job]

    def clear(self) -> None:
        """Forget what waits; what runs keeps its place."""
        self._waiting, self._parked = {}, {}
