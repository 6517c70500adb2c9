"""`schedule` and `scheduler`: when a job runs, and the process that runs it then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from prodkit.cli import screen
from prodkit.cli.runner import read_pairs
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from prodkit.jobs.schedules.scheduler import Beat, Scheduler

_TARGETS = ("local", "systemd", "cron", "github", "airflow", "kubernetes")


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--cron", "line", help='Five cron fields, e.g. "0 6 * * 1-5".  [default: the job\'s]')
@click.option("--tz", "zone", help="IANA time zone, e.g. Europe/Berlin.  [default: the job's]")
@click.option("--target", type=click.Choice(_TARGETS), default="local", show_default=True)
@click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--image", default="", help="The image that runs the job, for kubernetes.  [default: the job's]")
@click.option(
    "--to", type=click.Path(path_type=Path), help="Where files are written.  [default: .prodkit/schedules/JOB]"
)
@click.option("--remove", is_flag=True, help="Take a local schedule away.")
def schedule(
    job: Path,
    line: str | None,
    zone: str | None,
    target: str,
    pairs: tuple[str, ...],
    image: str,
    to: Path | None,
    *,
    remove: bool,
) -> None:
    """Say when a job runs: to `prodkit scheduler`, or as files for another timekeeper."""
    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.parameters import check_parameters
    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.schedules.plan import Plan
    from prodkit.jobs.schedules.store import ScheduleStore
    from prodkit.jobs.schedules.targets import render_target
    from prodkit.manifest.project import state_of
    from prodkit.records import now

    folder = JobFolder.load(job)
    root = folder.project_root()
    store = ScheduleStore(state_of(root) / "jobs" / "schedules.db")
    console = screen.console()
    if remove:
        _remove(store.remove(folder.name), folder.name)
        return
    how = folder.index.execution
    cron = Cron(_given(line or how.schedule), zone or how.timezone)
    params = read_pairs(pairs)
    check_parameters(folder.schema, params)
    following = cron.after(now())
    if target == "local":
        store.put(folder.name, folder.path, cron, params)
        console.print(f"{folder.name} runs next at {following:%Y-%m-%d %H:%M} UTC, while `prodkit scheduler` runs")
        return
    place = to or state_of(root) / "schedules" / folder.name
    place.mkdir(parents=True, exist_ok=True)
    for name, text in render_target(target, Plan.here(folder, cron, params, image)).items():
        (place / name).write_text(text, encoding="utf-8")
        console.print(f"wrote {place / name}", soft_wrap=True, highlight=False)
    console.print(f"next: {following:%Y-%m-%d %H:%M} UTC; the first lines of the file say how to install it")


@click.command()
@click.option("--status", is_flag=True, help="Show the schedules and the last firing of each, and start nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --status: as JSON.")
def scheduler(*, status: bool, as_json: bool) -> None:
    """Run the local schedules of this project, in the foreground, until it is stopped."""
    from functools import partial

    from prodkit.jobs.runner import run_job
    from prodkit.jobs.schedules.scheduler import Scheduler
    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import find_project
    from prodkit.review import publish

    console = screen.console()
    run = partial(run_job, page=publish)
    keeper = Scheduler(find_project(), on_beat=lambda beat: console.print(_beat(beat)), run=run)
    if status:
        _status(console, keeper, as_json=as_json)
        return
    with StopRequest() as stop:
        console.print("scheduler runs; Ctrl-C or SIGTERM stops it, and what it interrupts goes on with the next start")
        keeper.serve(stop)


def _given(line: str) -> str:
    if not line:
        raise ConfigError(
            "schedule.none", "Neither the job nor --cron says when it runs.", fix='e.g. --cron "0 6 * * 1-5"'
        )
    return line


def _remove(was_there: bool, name: str) -> None:
    if not was_there:
        raise ConfigError("schedule.unknown", f"`{name}` has no local schedule.", fix="`prodkit scheduler --status`")
    click.echo(f"{name} has no local schedule any more")


def _beat(beat: Beat) -> str:
    missed = f" (stands for {beat.missed} more that were missed)" if beat.missed else ""
    error = f" ({escape(beat.error)})" if beat.error else ""
    return f"{beat.due:%Y-%m-%d %H:%M} UTC  {beat.schedule}: {beat.outcome.value}{error}{missed}"


def _status(console: Console, keeper: Scheduler, *, as_json: bool) -> None:
    from prodkit.records import now

    rows = []
    for one in keeper.store.schedules():
        last, following = keeper.store.last(one.name), one.cron.after(now())
        rows.append(
            {
                "schedule": one.name,
                "cron": one.cron.line,
                "zone": one.cron.zone,
                "next": following.isoformat() if following else None,
                "last": last.due.isoformat() if last else None,
                "outcome": (last.outcome or "running or cut off") if last else None,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        ran = f"last {str(row['last'])[:16]} {row['outcome']}" if row["last"] else "never ran"
        console.print(f"{row['schedule']}  {row['cron']} {row['zone']}  next {str(row['next'])[:16]} UTC  {ran}")
    if not rows:
        console.print("no local schedules; add one with `prodkit schedule JOB --cron ...`")
