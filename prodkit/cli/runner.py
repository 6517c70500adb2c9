"""`run` and `runs`: run a job folder, and look at what has run."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from prodkit.cli import screen
from prodkit.cli.fanout import Items, show_over
from prodkit.cli.logs import LOG_FORMAT, LOG_OUTPUT, Log, run_logged
from prodkit.cli.plan import show_plan
from prodkit.cli.progress import Progress
from prodkit.errors import ParameterError
from prodkit.money import say_usd

if TYPE_CHECKING:
    from rich.console import Console

    from prodkit.jobs.history import Entry
    from prodkit.jobs.runner import JobResult, RunOptions
    from prodkit.manifest import Project


class _Money(click.ParamType[Decimal]):
    """An amount of US dollars, exactly as it is written."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            self.fail("that is no amount of money; write e.g. 2.50", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail("the amount must be above 0", param, ctx)
        return amount


MONEY = _Money()
_WIDE = 160  # columns of a table that no terminal shows
_WIDTH_OF = {"error": 12}  # columns that stay readable where a terminal is narrow


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--params", "file", type=click.Path(path_type=Path), help="A YAML or JSON file of parameters; -p wins.")
@click.option("--over", type=click.Path(path_type=Path), help="Run once for each row of this .csv or .parquet file.")
@click.option("--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True, help="With --over.")
@click.option("--scheduler", default="", help="With --engine dask: a running scheduler, e.g. tcp://host:8786.")
@click.option("--workers", type=click.IntRange(1), help="With --over: items at a time.  [default: the processors]")
@click.option("--again", is_flag=True, help="With --over: also the items that have succeeded before.")
@click.option("--budget", type=MONEY, help="With --over: US dollars for all items.  [default: budget.per_run]")
@click.option("--fresh-kernels", is_flag=True, help="With --over: start each item's kernel from nothing.")
@click.option("--key", default="", help="Idempotency key: a run that succeeded under it isn't run again.")
@click.option(
    "--resume", is_flag=False, flag_value="last", default="", metavar="[RUN]", help="Go on where a failed run ended."
)
@click.option(
    "--replay", is_flag=False, flag_value="last", default="", metavar="[RUN]", help="Send nothing: use a run's answers."
)
@click.option("--keep-answers", is_flag=True, help="Keep the models' answers, encrypted, so that --replay has them.")
@click.option("--retries", type=click.IntRange(0, 10), help="Attempts after the first.  [default: the job's]")
@click.option("--retry-wait", type=click.FloatRange(min=0.01), help="Seconds before the second attempt.")
@click.option("--retry-dead-kernel", is_flag=True, help="Also try again when the kernel's process died.")
@click.option("--timeout", type=click.FloatRange(min=0.1), help="Seconds for the job with all its attempts.")
@click.option("--cell-timeout", type=click.FloatRange(min=0.1), help="Seconds for one cell.")
@click.option("--dry-run", is_flag=True, help="Check rows and data, estimate cost and time, and run nothing.")
@click.option("--require-approval", is_flag=True, help="Refuse a job that nobody has approved as it is now.")
@LOG_FORMAT
@LOG_OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON to stdout, nothing else.")
def run(
    job: Path,
    pairs: tuple[str, ...],
    file: Path | None,
    *,
    over: Path | None,
    engine: str,
    scheduler: str,
    workers: int | None,
    key: str,
    resume: str,
    replay: str,
    keep_answers: bool,
    retries: int | None,
    retry_wait: float | None,
    timeout: float | None,
    cell_timeout: float | None,
    again: bool,
    budget: Decimal | None,
    fresh_kernels: bool,
    retry_dead_kernel: bool,
    require_approval: bool,
    dry_run: bool,
    log_format: Literal["text", "json"] | None,
    log_output: bool,
    as_json: bool,
) -> None:
    """Run an exported job, once or for each row of a file.

    Exit codes: 0 ok; 1 the notebook's own error; 65 wrong parameters or data, or the budget (don't retry); 75 transient
    (retry); 78 configuration; 138 the kernel died; 143 stopped by a signal. They are the job's alone: what couldn't be
    published is said in one line, kept, and published with the next run or by `prodkit audit sync`.
    """
    from prodkit.jobs.runner import RunOptions

    options = RunOptions(
        retries=retries,
        retry_wait=retry_wait,
        retry_dead_kernel=retry_dead_kernel,
        timeout=timeout,
        cell_timeout=cell_timeout,
        key=key,
        resume=resume,
        replay=replay,
        keep_answers=keep_answers,
        budget=budget,
        fresh_kernels=fresh_kernels,
        log_output=log_output,
    )
    with Log(log_format) if log_format else nullcontext() as log:
        _refuse_contradictions(over, replay=replay, budget=budget)
        if require_approval:
            _require_approval(job)
        console = screen.console(stderr=True)
        given = {**read_file(file), **read_pairs(pairs)}
        if dry_run:
            show_plan(console, job, over, given, workers=workers, again=again, key=key, budget=budget, as_json=as_json)
            return
        if over is not None:
            items = Items(over, engine, scheduler, workers, again)
            code = show_over(console, job, items, given, options, log, as_json=as_json)
        else:
            code = _run_once(console, job, given, options, log, as_json=as_json)
    sys.exit(code)


def _refuse_contradictions(over: Path | None, *, replay: str, budget: Decimal | None) -> None:
    if replay and over is not None:
        raise ParameterError("parameters.replay-over", "--replay runs a job once.", where="--over", fix="leave one out")
    if budget is not None and over is None:
        fix = "set budget.per_run in prodkit.yaml, which holds for one run"
        raise ParameterError(
            "parameters.budget-over", "--budget is for all items of --over.", where="--budget", fix=fix
        )


def _run_once(
    console: Console, job: Path, given: dict[str, Any], options: RunOptions, log: Log | None, *, as_json: bool
) -> int:
    from prodkit.jobs.runner import run_job
    from prodkit.review import publish

    if log is not None:
        how = {"log_output": options.log_output, "result_on_stdout": as_json}
        result = run_logged(log, job, given, options=options, page=publish, **how)
    else:
        with Progress(console, quiet=as_json) as progress:
            result = run_job(job, given, options=options, on_event=progress.show, page=publish)
    if as_json:
        click.echo(json.dumps(to_json(result), indent=2))
    elif log is None:
        _show(console, result)
    return result.exit_code


@click.command()
@click.argument("job", default="")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option("--clean", is_flag=True, help="Remove what old runs left on the disk instead; the list of runs stays.")
@click.option("--older-than", type=click.FloatRange(min=0.0), metavar="DAYS", help="With --clean: all that is older.")
def runs(job: str, limit: int, *, as_json: bool, clean: bool, older_than: float | None) -> None:
    """Show what has run, the latest first.

    What is older than `compliance.retention_days` goes by itself with the next job, once a day: records, MLflow's runs
    and traces with their artifacts, executed notebooks, quarantined rows; kept outputs and answers of runs that nobody
    resumed after 30 days. `--clean` does that now.
    """
    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.history import History
    from prodkit.manifest import find_project

    path = Path(job)
    project = find_project(JobFolder.load(path).project_root() if job and path.is_dir() else None)
    if clean:
        _clean(project, older_than, as_json=as_json)
        return
    entries = History.of(project).entries(path.name if job else "", limit=limit, parent="")
    if as_json:
        click.echo(json.dumps([_entry_json(entry) for entry in entries], indent=2))
        return
    _show_entries(screen.console(), entries)


def _clean(project: Project, days: float | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from prodkit.jobs.retention import clean_project

    done = clean_project(project, days=days)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2))
        return
    click.echo(
        f"removed {done.runs} runs, the kept outputs of {done.kept} more and {done.files} other files, "
        f"{done.bytes / 1e6:.1f} MB"
    )
    gone = done.ledger
    click.echo(
        f"removed from the journal {gone.records:,} records ({gone.requests:,} requests, {gone.bytes / 1e6:.1f} MB), "
        f"from MLflow {gone.traces:,} traces and {gone.runs:,} runs ({gone.freed / 1e6:.1f} MB of its own database)"
    )
    if gone.decided:
        click.echo(f"left: {gone.decided:,} runs in MLflow that somebody has decided on, without their artifacts")
    for day in gone.days_ended:
        click.echo(f"the period of a data source ended on {day}: that content can't be read any more")
    if gone.waiting:
        click.echo("left alone: records that aren't in MLflow yet; `prodkit audit sync` ships them")
    for what in gone.left:
        click.echo(f"left: {what}")
    if gone.busy:
        click.echo("left alone: journal and MLflow, which another process cleans just now")
    for job in done.busy:
        click.echo(f"left alone: {job} runs just now")


def _require_approval(job: Path) -> None:
    from prodkit.jobs.folder import JobFolder
    from prodkit.manifest import find_project
    from prodkit.review import require_approval

    folder = JobFolder.load(job)
    require_approval(find_project(folder.project_root()), folder.digest)


def read_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """`-p name=value` as text, for the job's types to parse."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ParameterError(
                "parameters.pair", "A parameter isn't written as NAME=VALUE.", where="-p", fix="e.g. -p batch=2026-11"
            )
        if name.strip() in values:
            raise ParameterError("parameters.twice", f"`{name.strip()}` is given twice.", where="-p", fix="give one")
        values[name.strip()] = value
    return values


def read_file(path: Path | None) -> dict[str, Any]:
    """The parameters of a YAML or JSON file."""
    if path is None:
        return {}
    import yaml

    fix = "write one `name: value` a line"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError("parameters.file", f"The file can't be read: {error.strerror}.", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ParameterError("parameters.file", "The file isn't YAML or JSON.", where=str(path), fix=fix) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError("parameters.file", "The file isn't a mapping of names.", where=str(path), fix=fix)
    return values


def to_json(result: JobResult) -> dict[str, Any]:
    """A result for programs. Money is text, as everywhere."""
    return {
        "job": result.job,
        "run": result.run,
        "outcome": result.outcome.value,
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "repeated": result.repeated,
        "mlflow_run_id": result.run_id,
        "url": result.url,
        "output": str(result.output or ""),
        "cost_usd": None if result.cost is None else str(result.cost),
        "calls": result.calls,
        "problem": result.problem,
        "attempts": [
            {
                "number": attempt.number,
                "outcome": attempt.outcome.value,
                "error": attempt.error_class,
                "seconds": round(attempt.seconds, 3),
                "waited": round(attempt.waited, 3),
                "cell": attempt.cell,
            }
            for attempt in result.attempts
        ],
    }


def cost_in_words(cost: Decimal | None, *, calls: int) -> str:
    """What calls have cost; no call, and a price that nobody knows, are told apart from nothing to pay."""
    if cost is None:
        return "cost not known"
    return f"cost {say_usd(cost)}" if calls or cost else "no model was called"


def _show(console: Console, result: JobResult) -> None:
    if result.repeated:
        where = f" on {result.host}" if result.host else ""
        cost = "" if result.cost is None else f" for {say_usd(result.cost)}"
        console.print(f"[green]done already[/] under this key by {result.run}{where}{cost}; nothing was run")
        return
    colour = "green" if result.exit_code == 0 else "red"
    console.print(
        f"[bold {colour}]{result.outcome.value}[/] (exit code {result.exit_code}) after {len(result.attempts)} "
        f"attempt{'s' if len(result.attempts) != 1 else ''}, {result.seconds:.1f} s, "
        f"{cost_in_words(result.cost, calls=result.calls)}"
    )
    last = result.attempts[-1] if result.attempts else None
    if last is not None and last.error_class:
        console.print(f"  {last.error_class} in cell {last.cell}: {last.message}", markup=False, highlight=False)
    for line in (f"notebook  {result.output}", f"review    {result.url}" if result.url else "", result.problem):
        if line:
            console.print("  " + line, markup=False, highlight=False, soft_wrap=True)
    for notice in result.notices:
        console.print(f"  [yellow]{notice}[/]")


def _show_entries(console: Console, entries: tuple[Entry, ...]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    several = len({entry.host for entry in entries if entry.host}) > 1
    for name in ("started, UTC", "job", "outcome", "tries", "seconds", "cost", "error", "run", "host")[: 8 + several]:
        table.add_column(
            name,
            no_wrap=True,
            justify="right" if name in {"tries", "seconds"} else "left",
            min_width=_WIDTH_OF.get(name),
        )
    for entry in entries:
        code = "" if entry.outcome == "running" else f" {entry.outcome.exit_code}"
        table.add_row(
            f"{entry.started:%m-%d %H:%M:%S}",
            entry.job,
            f"{entry.outcome.value}{code}",
            str(entry.attempts),
            "" if entry.seconds is None else f"{entry.seconds:.1f}",
            "" if entry.cost is None else say_usd(Decimal(entry.cost)),
            entry.error,
            entry.run[-8:],
            *([entry.host] if several else []),
        )
    width = None if console.is_terminal else _WIDE
    console.print(table if entries else "no runs yet; start one with `prodkit run JOB`", width=width)


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "run": entry.run,
        "job": entry.job,
        "key": entry.key,
        "params": entry.params,
        "started": entry.started.isoformat(),
        "ended": entry.ended.isoformat() if entry.ended else None,
        "outcome": entry.outcome.value,
        "exit_code": None if entry.outcome == "running" else entry.outcome.exit_code,
        "attempts": entry.attempts,
        "error": entry.error,
        "host": entry.host,
        "output": entry.output,
        "mlflow_run_id": entry.run_id,
        "cost_usd": entry.cost,
    }
