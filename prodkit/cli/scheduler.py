"""`scheduler`: the process that runs the local schedules of a project, what it has waiting, and its systemd unit."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.markup import escape

from prodkit.cli import screen
from prodkit.cli.logs import LOG_FORMAT, LOG_OUTPUT, Log, log_beat, run_logged
from prodkit.cli.schedules import show_schedules
from prodkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.jobs.schedules.schedule import Schedule
    from prodkit.jobs.schedules.scheduler import Beat
    from prodkit.manifest import Project


@click.command()
@click.option("--status", is_flag=True, help="Show the schedules and the last firing of each, and start nothing.")
@click.option("--queue", is_flag=True, help="Show what runs and waits, and for how long, and start nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --status and --queue: as JSON.")
@click.option(
    "--pool",
    "pairs",
    multiple=True,
    metavar="NAME=SIZE",
    help="How many jobs of a pool run at a time; may be repeated.  [default: scheduler.pools of the manifest]",
)
@click.option("--unit", is_flag=True, help="Write a systemd service that runs it, and start nothing.")
@click.option("--to", type=click.Path(path_type=Path), help="With --unit: the folder.  [default: .prodkit/schedules]")
@LOG_FORMAT
@LOG_OUTPUT
def scheduler(
    pairs: tuple[str, ...],
    to: Path | None,
    *,
    status: bool,
    queue: bool,
    as_json: bool,
    unit: bool,
    log_format: Literal["text", "json"] | None,
    log_output: bool,
) -> None:
    """Run the local schedules of this project, in the foreground, until it is stopped."""
    from prodkit.manifest import find_project

    project = find_project()
    given = _sizes(pairs)
    if status:
        show_schedules(project, as_json=as_json)
        return
    if queue:
        _show_queue(project, as_json=as_json)
        return
    if unit:
        _write_unit(project, given, to)
        return
    sizes = {**project.manifest.scheduler.pools, **given}
    with Log(log_format or "text") if log_format or log_output else nullcontext() as log:
        _serve(project, sizes, log, log_output=log_output)


def _serve(project: Project, sizes: Mapping[str, int], log: Log | None, *, log_output: bool) -> None:
    from functools import partial

    from prodkit.jobs.runner import run_job
    from prodkit.jobs.schedules.scheduler import Scheduler
    from prodkit.jobs.signals import StopRequest
    from prodkit.review import publish

    with StopRequest() as stop:
        if log is not None:
            run = partial(run_logged, log, log_output=log_output, page=publish)
            keeper = Scheduler(project, on_beat=partial(log_beat, log), run=run, pools=sizes)
            keeper.serve(stop, lambda: log.write("scheduler.start"))
            log.write("scheduler.stop", message=f"stopped by {stop.reason}")
            return
        console = screen.console()
        run = partial(run_job, page=publish)
        keeper = Scheduler(
            project, on_beat=lambda beat: console.print(_beat(beat), soft_wrap=True), run=run, pools=sizes
        )
        runs = "scheduler runs; Ctrl-C or SIGTERM stops it, and what it interrupts goes on with the next start"
        keeper.serve(stop, lambda: console.print(runs, soft_wrap=True))


def _sizes(pairs: tuple[str, ...]) -> dict[str, int]:
    sizes = {}
    for pair in pairs:
        name, _, size = pair.partition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise ParameterError(
                "schedule.pool-size", f"`{pair}` is no pool with its size.", where="--pool", fix="e.g. --pool heavy=2"
            )
        sizes[name] = int(size)
    return sizes


def _beat(beat: Beat) -> str:
    missed = f" (stands for {beat.missed} more that were missed)" if beat.missed else ""
    error = f" ({escape(beat.error)})" if beat.error else ""
    return f"{beat.due:%Y-%m-%d %H:%M} UTC  {beat.schedule}: {beat.outcome.value}{error}{missed}"


def _write_unit(project: Project, sizes: dict[str, int], to: Path | None) -> None:
    from prodkit.jobs.schedules.unit import SchedulerUnit

    unit = SchedulerUnit.here(project, sizes)
    place = to or project.state / "schedules"
    place.mkdir(parents=True, exist_ok=True)
    (place / unit.name).write_text(unit.text(), encoding="utf-8")
    screen.console().print(f"wrote {place / unit.name}; its first lines say how to install it", soft_wrap=True)


def _show_queue(project: Project, *, as_json: bool) -> None:
    state = _queue(project)
    if as_json:
        click.echo(json.dumps(state, indent=2))
        return
    console = screen.console()
    serving = state["scheduler"]
    console.print(
        f"scheduler {serving['pid']} runs since {serving['since'][:16]} UTC" if serving else "no scheduler runs",
        highlight=False,
    )
    for name, pool in state["pools"].items():
        size = "" if pool["size"] is None else f" of {pool['size']}"
        console.print(f"{name}: {pool['running']}{size} running, {pool['waiting']} waiting", highlight=False)
    for row in state["firings"]:
        console.print(
            f"  {row['state']:8} {row['seconds']:8.0f} s  {row['schedule']}  due {row['due'][:16]} UTC  "
            f"pool {row['pool']}, priority {row['priority']}"
            + (f"  for {row['waits_for']}" if row["waits_for"] else ""),
            highlight=False,
        )


def _reason(one: Schedule, pools: Mapping[str, Mapping[str, Any]], busy: set[Path], *, serving: bool) -> str:
    """What a firing waits for."""
    pool = pools[one.pool]
    if not serving:
        return "a scheduler"
    if one.job in busy:
        return "the run of its job that goes on"
    if pool["running"] >= pool["size"]:
        return "a place in its pool"
    return "its turn"


def _queue(project: Project) -> dict[str, Any]:
    """The pools and the firings that wait or run, in the order in which they start; `seconds` is how long they do."""
    from prodkit.jobs.schedules.presence import running
    from prodkit.jobs.schedules.store import ScheduleStore
    from prodkit.records import now

    moment = now()
    with ScheduleStore(project.state / "jobs" / "schedules.db", project.root) as store:
        serving, schedules = running(store), {one.name: one for one in store.schedules()}
        firings = [firing for firing in store.unfinished() if firing.name in schedules]
    sizes: dict[str, int] = serving["pools"] if serving else {}
    names = sorted({*sizes, *(schedules[firing.name].pool for firing in firings)})
    pools: dict[str, dict[str, Any]] = {
        name: {"size": sizes.get(name, 1) if serving else None, "running": 0, "waiting": 0} for name in names
    }
    rows, busy = [], set[Path]()
    for firing in sorted(firings, key=lambda one: (one.begun is None, -schedules[one.name].priority, one.due)):
        one = schedules[firing.name]
        at_work = firing.begun is not None and serving is not None
        pools[one.pool]["running" if at_work else "waiting"] += 1
        since = firing.begun if at_work else max(firing.due, firing.claimed or firing.due)
        rows.append(
            {
                "schedule": one.name,
                "due": firing.due.isoformat(),
                "kind": firing.kind,
                "state": "running" if at_work else "waiting" if firing.begun is None else "cut off",
                "seconds": round((moment - (since or moment)).total_seconds(), 3),
                "pool": one.pool,
                "priority": one.priority,
                "paused": one.paused is not None,
                "waits_for": "" if at_work else _reason(one, pools, busy, serving=serving is not None),
            }
        )
        if at_work:
            busy.add(one.job)
    return {"scheduler": serving, "pools": pools, "firings": rows}
