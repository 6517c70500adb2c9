"""`schedule`: when a job runs; to the scheduler of this project, or as files for other ones."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prodkit.cli import screen
from prodkit.cli.runner import read_pairs
from prodkit.errors import ConfigError, ParameterError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.schedules.backfill import Gap
    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.schedules.store import ScheduleStore
    from prodkit.manifest import Project

_TARGETS = ("local", "systemd", "cron", "github", "airflow", "kubernetes")
_LOGICAL_DATE = "logical_date"  # a parameter of this name gets a firing's date without being asked
_KINDS = {"date": "date", "datetime": "datetime", "str": "text"}


class _Verbs(click.Group):
    """`prodkit schedule JOB ...` is `prodkit schedule add JOB ...`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["add", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Verbs)
def schedule() -> None:
    """Say when a job runs: to `prodkit scheduler`, or as files for another timekeeper.

    `prodkit schedule JOB ...` is short for `prodkit schedule add JOB ...`.
    """


@schedule.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--cron", "line", help='Five cron fields, e.g. "0 6 * * 1-5".  [default: the job\'s]')
@click.option("--tz", "zone", help="IANA time zone, e.g. Europe/Berlin.  [default: the job's]")
@click.option("--name", default="", help="The schedule's name; a job may have several.  [default: the job's]")
@click.option("--target", type=click.Choice(_TARGETS), default="local", show_default=True)
@click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--pool", help="The queue that it waits in, see `prodkit scheduler --pool`.  [default: the job's]")
@click.option("--priority", type=int, help="In its queue; higher numbers start first.  [default: the job's]")
@click.option("--jitter", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Spread starts so wide.")
@click.option(
    "--catch-up",
    type=click.Choice(["latest", "all", "none"]),
    default="latest",
    show_default=True,
    help="What runs of the firings that passed while no scheduler ran or the job was busy.",
)
@click.option("--catch-up-limit", "limit", type=click.IntRange(1), default=100, show_default=True, help="With all.")
@click.option(
    "--date-param", default="", help="The parameter that gets the date a firing is due.  [default: logical_date]"
)
@click.option("--image", default="", help="The image that runs the job, for kubernetes.  [default: the job's]")
@click.option(
    "--to", type=click.Path(path_type=Path), help="Where files are written.  [default: .prodkit/schedules/JOB]"
)
@click.option("--remove", "gone", is_flag=True, help="Take it away, as `prodkit schedule remove NAME` does.")
def add(
    job: Path,
    *,
    line: str | None,
    zone: str | None,
    name: str,
    target: str,
    pairs: tuple[str, ...],
    pool: str | None,
    priority: int | None,
    jitter: float,
    catch_up: Any,
    limit: int,
    date_param: str,
    image: str,
    to: Path | None,
    gone: bool,
) -> None:
    """Say when a job runs: to `prodkit scheduler`, or as files for another timekeeper."""
    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.parameters import check_parameters
    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.schedules.schedule import DEFAULT_POOL, Schedule
    from prodkit.manifest import find_project
    from prodkit.records import now

    folder = JobFolder.load(job)
    project = find_project(folder.project_root())
    name = _checked(name or folder.name)
    if gone:
        _remove(project, name)
        return
    how = folder.index.execution
    cron = Cron(_given(line or how.schedule), zone or how.timezone)
    params = read_pairs(pairs)
    date_name, date_kind = _date_parameter(folder, date_param)
    added = Schedule(
        *(name, folder.path, cron, params, now()),
        pool=_checked(pool or how.pool),
        priority=how.priority if priority is None else priority,
        jitter=jitter,
        catch_up=catch_up,
        limit=limit,
        date_parameter=date_name,
        date_kind=date_kind,
    )
    check_parameters(folder.schema, added.params_of(now()) if target == "local" else params)
    if target != "local":
        _write_files(project, folder, cron, params, target, image, to)
        return
    with _store(project) as store:
        store.put(added)
    following = cron.after(now())
    screen.console().print(
        f"{name} runs next at {following:%Y-%m-%d %H:%M} UTC, while `prodkit scheduler` runs", highlight=False
    )
    if added.pool not in {DEFAULT_POOL, *project.manifest.scheduler.pools}:
        click.echo(f"the pool {added.pool} runs one job at a time; scheduler.pools in prodkit.yaml can say more")


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(*, as_json: bool) -> None:
    """Show the schedules of this project and the last firing of each."""
    from prodkit.manifest import find_project

    show_schedules(find_project(), as_json=as_json)


@schedule.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a schedule away, with what it has waiting; a run that goes on is left alone."""
    from prodkit.manifest import find_project

    _remove(find_project(), name)


@schedule.command()
@click.argument("name")
def pause(name: str) -> None:
    """Let a schedule fire no more until it is resumed; what it has waiting is withdrawn."""
    _change(name, lambda store, moment: store.pause(name, moment))
    click.echo(f"{name} is paused; `prodkit schedule resume {name}` lets it fire again")


@schedule.command()
@click.argument("name")
def resume(name: str) -> None:
    """Let a paused schedule fire again from now on; `backfill` runs what passed meanwhile."""
    _change(name, lambda store, moment: store.resume(name, moment))
    click.echo(f"{name} fires again")


@schedule.command()
@click.argument("name")
@click.option("--from", "since", required=True, metavar="DATE", help="The first day or time, in the schedule's zone.")
@click.option("--to", "until", metavar="DATE", help="The last day or time.  [default: now]")
@click.option("--dry-run", is_flag=True, help="Only list the firings.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="List them as JSON; runs them only with --yes.")
def backfill(name: str, since: str, until: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Run the firings of a range of dates that never ran or ended otherwise than well.

    Each gets the date it was due on, as its scheduled run would have; what has succeeded isn't run again.
    """
    from prodkit.jobs.history import History
    from prodkit.jobs.schedules.backfill import find_gaps, read_moment
    from prodkit.manifest import find_project
    from prodkit.records import now

    project, moment = find_project(), now()
    with _store(project) as store:
        one = store.schedule(name)
        if one is None:
            raise _unknown(store, name)
        end = min(read_moment(until, one, end=True), moment) if until else moment
        gaps = find_gaps(one, store, History.of(project), read_moment(since, one), end)
        _show_gaps(gaps, as_json=as_json)
        dues = [gap.due for gap in gaps if gap.runs]
        if dry_run or not dues or (as_json and not yes):
            return
        if yes or _agreed(f"run {_firings(len(dues))}?"):
            count = store.backfill(name, dues, moment)
            click.echo(f"{_firings(count)} of {name} wait for their turn, while `prodkit scheduler` runs", err=as_json)


def _agreed(question: str) -> bool:
    """Ask; where nobody can answer, say which option does."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is there to be asked: {question}; --yes says yes, --dry-run only lists")
    return click.confirm(question, default=False)


def show_schedules(project: Project, *, as_json: bool) -> None:
    """Print the schedules with what is next, waits and was last."""
    from prodkit.jobs.schedules.presence import running
    from prodkit.jobs.schedules.schedule import Course
    from prodkit.records import now

    moment, rows = now(), []
    with _store(project) as store:
        serving = running(store) is not None
        waiting = Counter(firing.name for firing in store.unfinished() if firing.begun is None)
        for one in store.schedules():
            last, course = store.last(one.name), Course.of(one)
            following = one.cron.after(moment)
            rows.append(
                {
                    "schedule": one.name,
                    "job": str(one.job),
                    "cron": one.cron.line,
                    "zone": one.cron.zone,
                    "next": following.isoformat() if following and not one.paused else None,
                    "last": last.due.isoformat() if last else None,
                    "outcome": (last.outcome or _going(last.begun, serving=serving)) if last else None,
                    "error": last.error if last else "",
                    "paused": one.paused.isoformat() if one.paused else None,
                    "waiting": waiting[one.name],
                    "behind": course.behind(moment),
                    "pool": one.pool,
                    "priority": one.priority,
                    "jitter": one.jitter,
                    "catch_up": one.catch_up,
                }
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = screen.console()
    for row in rows:
        ran = f"last {str(row['last'])[:16]} {row['outcome']}" if row["last"] else "never ran"
        when = "paused" if row["paused"] else f"next {str(row['next'])[:16]} UTC"
        counts = "".join(f"  {row[word]} {word}" for word in ("waiting", "behind") if row[word])
        console.print(f"{row['schedule']}  {row['cron']} {row['zone']}  {when}  {ran}{counts}", highlight=False)
    if not rows:
        console.print("no local schedules; add one with `prodkit schedule add JOB --cron ...`")


def _going(begun: datetime | None, *, serving: bool) -> str:
    """The state of a firing that has not ended; the next start of a scheduler goes on with one that was cut off."""
    return "waiting" if begun is None else "running" if serving else "cut off"


def _store(project: Project) -> ScheduleStore:
    from prodkit.jobs.schedules.store import ScheduleStore

    return ScheduleStore(project.state / "jobs" / "schedules.db", project.root)


def _write_files(
    project: Project,
    folder: JobFolder,
    cron: Cron,
    params: Mapping[str, str],
    target: str,
    image: str,
    to: Path | None,
) -> None:
    from prodkit.jobs.schedules.plan import Plan
    from prodkit.jobs.schedules.targets import render_target
    from prodkit.records import now

    console = screen.console()
    place = to or project.state / "schedules" / folder.name
    place.mkdir(parents=True, exist_ok=True)
    for name, text in render_target(target, Plan.here(folder, cron, params, image, to=place.absolute())).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
        console.print(f"wrote {place / name}", soft_wrap=True, highlight=False)
    following = cron.after(now())
    console.print(f"next: {following:%Y-%m-%d %H:%M} UTC; the first lines of the file say how to install it")


def _given(line: str) -> str:
    if not line:
        raise ConfigError(
            "schedule.none", "Neither the job nor --cron says when it runs.", fix='e.g. --cron "0 6 * * 1-5"'
        )
    return line


def _checked(name: str) -> str:
    """A name that can stand in keys, files and unit names."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ParameterError("schedule.name", f"`{name}` is no name.", fix="use letters, digits, `-`, `_` and `.`")
    return name


def _date_parameter(folder: JobFolder, asked: str) -> tuple[str, str]:
    """The parameter that gets the date of a firing and what it is: `date`, `datetime` or `text`; two "" for none."""
    properties = folder.schema.get("properties", {})
    name = asked or (_LOGICAL_DATE if _LOGICAL_DATE in properties else "")
    if not name:
        return "", ""
    if name not in properties:
        raise ParameterError(
            "schedule.date-param", f"The job has no parameter `{name}`.", fix=nearest(name, properties)
        )
    kind = _KINDS.get(str(properties[name].get("x-python", "str")).removesuffix(" | None"))
    if kind is None:
        raise ParameterError(
            "schedule.date-param",
            f"The parameter `{name}` can't hold a date.",
            fix="declare it as date, datetime or str",
        )
    return name, kind


def _remove(project: Project, name: str) -> None:
    with _store(project) as store:
        if not store.remove(name):
            raise _unknown(store, name)
    click.echo(f"{name} has no local schedule any more")


def _change(name: str, change: Callable[[ScheduleStore, datetime], bool]) -> None:
    from prodkit.manifest import find_project
    from prodkit.records import now

    with _store(find_project()) as store:
        if not change(store, now()):
            raise _unknown(store, name)


def _unknown(store: ScheduleStore, name: str) -> ConfigError:
    names = [one.name for one in store.schedules()]
    fix = f"{nearest(name, names)} (`prodkit schedule list`)" if names else "`prodkit schedule add JOB --cron ...`"
    return ConfigError("schedule.unknown", f"`{name}` has no local schedule.", fix=fix)


def _show_gaps(gaps: tuple[Gap, ...], *, as_json: bool) -> None:
    if as_json:
        rows = [{"due": gap.due.isoformat(), "state": gap.state, "runs": gap.runs} for gap in gaps]
        click.echo(json.dumps(rows, indent=2))
        return
    for gap in gaps:
        click.echo(f"{gap.due:%Y-%m-%d %H:%M} UTC  {gap.state}{'' if gap.runs else '  (left as it is)'}")
    click.echo(f"{_firings(len(gaps))}, {sum(gap.runs for gap in gaps)} to run")


def _firings(count: int) -> str:
    return f"{count} firing{'' if count == 1 else 's'}"
