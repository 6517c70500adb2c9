"""What a run or a fan-out would do: rows and data checked, what is done, cost and time expected. Starts nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import DataError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.estimates import Estimate, estimate_sum, scale
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import Entry, History
from prodkit.jobs.items import FANOUT_PREFIX, Item, batch_of, key_of, one_item, read_items
from prodkit.jobs.parameters import check_parameters
from prodkit.jobs.preflight import check_data
from prodkit.jobs.starting import check_start
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.manifest import Project

_LOOK_BACK = 2000  # runs of the job that an estimate rests on at most
_MOST_CHECKED = 100  # rows whose data is read: each read takes its time, and rows mostly share what they read


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected, and the runs that say so.

    Attributes:
        cost: US dollars of all that is to run; None when no earlier run's cost is known.
        seconds: wall time; None when the job has never ended well here.
        basis: which earlier runs these rest on, in words; "" when there are none.
    """

    cost: Estimate | None
    seconds: Estimate | None
    basis: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen.

    Attributes:
        job: the job's name.
        over: the file of parameter sets; None for a single run.
        rows: parameter sets, all of which fit the job.
        done: of them, how many have succeeded before and wouldn't run.
        at_a_time: how many run side by side.
        forecast: of what is to run.
        budget: US dollars that all of it may cost; None without a limit.
        spent: US dollars that the rows which are done have cost, under the same budget.
        notices: what its owner should know, one sentence each.
    """

    job: str
    over: Path | None
    rows: int
    done: int
    at_a_time: int
    forecast: Forecast
    budget: Decimal | None
    spent: Decimal
    notices: tuple[str, ...]

    @property
    def to_run(self) -> int:
        """Rows that would run."""
        return self.rows - self.done


def plan_run(
    job: Path | str,
    over: Path | None,
    params: Mapping[str, object] | None = None,
    *,
    workers: int | None = None,
    again: bool = False,
    key: str = "",
    budget: Decimal | None = None,
    project: Project | None = None,
) -> Plan:
    """Check all that can be checked before a kernel starts, and estimate the rest.

    Args:
        job: the folder that `prodkit export` wrote.
        over: `.csv` or `.parquet`, a row is a parameter set; None plans a single run.
        params: parameters that all rows share.
        workers: items at a time; default: this machine's processors.
        again: also the items that have succeeded before.
        key: the idempotency key of a single run.
        budget: US dollars for all items; default: the manifest's `per_run`.
        project: the project that it runs in.

    Raises:
        ParameterError: a row doesn't fit.
        DataError: data can't be read or breaks a contract in a way that the job doesn't allow for.
        ConfigError: the folder, the manifest or the ownership is wrong, or the kill switch is on.
    """
    folder = JobFolder.load(Path(job))
    project = project or find_project(folder.project_root())
    notices = list(check_start(project))
    if over is None:
        items: tuple[Item, ...] = (one_item(folder.schema, params or {}),)
        workers = 1
    else:
        items = read_items(Path(over), folder.schema, params or {})
    earlier = _earlier(project, folder.name)
    finished = _finished(earlier, folder, items, key, single=over is None, again=again)
    missing = [item for item in items if item.number not in finished]
    notices += _checked(folder, project, missing)
    at_a_time = max(1, min(workers or os.cpu_count() or 1, len(missing)))
    forecast = _forecast(earlier, batch_of(folder), len(missing), at_a_time)
    limit = budget if budget is not None else project.manifest.budget.per_run
    costs = [Decimal(entry.cost) for entry in finished.values() if entry.cost is not None] if over else []
    spent = sum(costs, Decimal(0))
    notices += _short_of_money(forecast.cost, limit, spent, project)
    return Plan(folder.name, over, len(items), len(finished), at_a_time, forecast, limit, spent, tuple(notices))


def _earlier(project: Project, job: str) -> tuple[Entry, ...]:
    """The runs of the job that have ended well, the latest first."""
    entries = History.of(project).entries(job, limit=_LOOK_BACK)
    return tuple(entry for entry in entries if entry.outcome is Outcome.OK)


def _finished(
    earlier: Sequence[Entry], folder: JobFolder, items: Sequence[Item], key: str, *, single: bool, again: bool
) -> dict[int, Entry]:
    """Number of an item -> the run in which it has succeeded before."""
    if again or (single and not key):
        return {}
    by_key = {entry.key: entry for entry in reversed(earlier) if entry.key}
    keys = {item.number: key if single else key_of(batch_of(folder), item) for item in items}
    return {number: by_key[name] for number, name in keys.items() if name in by_key}


def _checked(folder: JobFolder, project: Project, items: Sequence[Item]) -> list[str]:
    """What there is to say of the rows' data, each sentence once."""
    notices: list[str] = []
    for item in items[:_MOST_CHECKED]:
        values = check_parameters(folder.schema, item.params)
        try:
            notices += check_data(folder, project, values, lambda _name, _report: None)
        except DataError as error:
            where = f"row {item.number}; {error.where}" if error.where else f"row {item.number}"
            raise DataError(error.code, error.what, where=where, fix=error.fix) from None
    if len(items) > _MOST_CHECKED:
        notices.append(f"The data of the first {_MOST_CHECKED} rows was checked, of {len(items):,} to run.")
    return list(dict.fromkeys(notices))


def _forecast(earlier: Sequence[Entry], batch: str, runs: int, at_a_time: int) -> Forecast:
    entries = [entry for entry in earlier if not entry.run.startswith(FANOUT_PREFIX)]
    choices = (
        ("item", "of the same notebook", [entry for entry in entries if entry.key.startswith(f"{batch}/")]),
        ("other item", "of the job", [entry for entry in entries if entry.parent]),
        ("single run", "of the job", entries),
    )
    noun, whose, chosen = next((choice for choice in choices if choice[2]), ("", "", []))
    costs = [Decimal(entry.cost) for entry in chosen if entry.cost is not None]
    seconds = [Decimal(repr(entry.seconds)) for entry in chosen if entry.seconds is not None]
    time = estimate_sum(seconds, runs)
    return Forecast(
        cost=estimate_sum(costs, runs),
        seconds=None if time is None else scale(time, Decimal(1) / at_a_time),
        basis=f"{len(chosen):,} {noun}{'s' if len(chosen) > 1 else ''} {whose}" if noun else "",
    )


def _short_of_money(cost: Estimate | None, limit: Decimal | None, spent: Decimal, project: Project) -> list[str]:
    """Which limits the expected cost, or the upper end of its interval, would break."""
    if cost is None:
        return []
    budget = project.manifest.budget
    limits = (("the budget for all rows", limit, spent), ("budget.per_day", budget.per_day, Decimal(0)))
    notices = []
    for name, usd, gone in (*limits, ("budget.per_month", budget.per_month, Decimal(0))):
        if usd is None:
            continue
        if cost.expected + gone > usd:
            notices.append(f"The expected cost is more than {name} allows (${usd:,.2f}): rows would be refused.")
        elif cost.high is not None and cost.high + gone > usd:
            notices.append(f"It may come to more than {name} allows (${usd:,.2f}).")
    return notices
