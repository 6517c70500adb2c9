"""`prodkit demo`: the whole story on made-up tickets. Each chapter calls the same verbs that a user would."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.panel import Panel
from rich.table import Table

from prodkit.cli import screen
from prodkit.errors import ConfigError
from prodkit.manifest import Project, find_project
from prodkit.manifest.project import ROOT_VARIABLE
from prodkit.money import say_usd
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import Console

    from prodkit.jobs import JobResult
    from prodkit.ledger.review import RunView
    from prodkit.testing import SimulatedProvider

NOTEBOOK = Path("notebooks") / "triage.ipynb"
JOB = Path("jobs") / "triage"
BATCH = "2026-11"
OUTAGE = 1_000_000  # requests; the outage ends when the first attempt has failed, not by count
CELL_SECONDS = 300


@click.command()
def demo() -> None:
    """Tell the whole story on made-up support tickets, without a key."""
    began = time.monotonic()
    story = Story(_example(), screen.console())
    with story.provider() as provider:
        story.introduce(provider)
        runs = story.run_notebook()
        story.show_capture(runs)
        story.show_findings(runs)
        story.export()
        result = story.run_job(provider)
        story.conclude(result, time.monotonic() - began)
    if result.exit_code:
        raise SystemExit(result.exit_code)


@dataclass
class Story:
    """The chapters, in the order in which they are told."""

    project: Project
    console: Console
    started: datetime = field(default_factory=now)
    chapter: int = 0

    @contextlib.contextmanager
    def provider(self) -> Iterator[SimulatedProvider | None]:
        """The simulated provider for all processes of the story; None when a key is set and calls are real."""
        if os.environ.get("OPENAI_API_KEY"):
            yield None
            return
        from prodkit.testing import simulated_provider

        with simulated_provider(fresh=True) as provider:
            os.environ.update(provider.environment())
            yield provider

    def introduce(self, provider: SimulatedProvider | None) -> None:
        """Say what is real and what is not."""
        if provider is None:
            whose = "[bold yellow]OPENAI_API_KEY is set: calls go to OpenAI and cost real money.[/]"
        else:
            whose = "no key: answers come from a [bold]simulated[/] provider on this machine; prices are list prices"
        text = f"Support tickets of a made-up company, from the notebook to a job that its reviewers can open.\n{whose}"
        self.console.print(Panel(text, title="prodkit demo", title_align="left", box=box.ROUNDED, padding=(0, 1)))

    def run_notebook(self) -> list[RunView]:
        """Run the example notebook in a kernel of its own, and read back what MLflow then holds."""
        self._head(f"A demo runs in the notebook  [dim]{NOTEBOOK}[/]")
        target = self.project.state / "demo" / NOTEBOOK.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.console.status("starting a kernel") as status:
            cells = _execute(self.project.path(NOTEBOOK), target, status.update)
        self.console.print(f"   {cells} cells ran; with their cards: [dim]{_relative(target, self.project.root)}[/]")
        from prodkit.ledger import Ledger
        from prodkit.ledger.review import runs_since

        with self.console.status("MLflow takes in what was captured"):
            Ledger.open(self.project).flush(60.0)
            return [run for run in runs_since(self.project, self.started) if run.parent]

    def show_capture(self, runs: list[RunView]) -> None:
        """What each captured cell sent and spent."""
        self._head("Each captured cell is a run in MLflow, each call a trace")
        table = _table("cell", "status", "calls", "tokens in / out", "cost", "p95", "rows checked / set aside")
        for run in runs:
            rows = _pair(run, "rows_checked", "rows_failed")
            tokens = _pair(run, "input_tokens", "output_tokens")
            table.add_row(
                run.name, _status(run), _count(run, "llm_calls"), tokens, _cost(run), _milliseconds(run), rows
            )
        self.console.print(table)

    def show_findings(self, runs: list[RunView]) -> None:
        """What broke the data contract: rules and counts, no values."""
        self._head("The tickets were checked against their contract before a cent was spent")
        rules = {
            key.removeprefix("failed."): int(n) for run in runs for key, n in run.metrics.items() if _is_rule(key, n)
        }
        table = _table("rule", "rows that break it")
        for rule, count in sorted(rules.items(), key=lambda item: -item[1]):
            table.add_row(rule, str(count))
        self.console.print(table)
        aside = sum(int(run.metrics.get("rows_failed", 0)) for run in runs)
        place = _relative(self.project.state / "quarantine", self.project.root)
        self.console.print(f"   {aside} bad rows were set aside with their reasons: [dim]{place}[/]")
        refused = [run.name for run in runs if run.tags.get("prodkit.status") == "refused"]
        if refused:
            self.console.print(
                f"   the cell [bold]{refused[0]}[/] is strict and touches an unchecked table: it was refused"
            )

    def export(self) -> None:
        """Write the job folder."""
        from prodkit.jobs import export

        self._head(f"prodkit export {NOTEBOOK} --to {JOB}")
        with self.console.status("writing the job folder"):
            export(self.project.path(NOTEBOOK), self.project.path(JOB), project=self.project)
        names = sorted(path.name for path in self.project.path(JOB).iterdir())
        self.console.print(f"   {', '.join(names)}")
        accountable = self.project.manifest.owners
        person = accountable.people[accountable.raci["uptime"].accountable[0]]
        self.console.print(
            f"   accountable for uptime: {person.name}, {person.email} [dim](nobody there: no export)[/]"
        )

    def run_job(self, provider: SimulatedProvider | None) -> JobResult:
        """Run the job; with the simulated provider the first attempt meets an outage."""
        from prodkit.jobs import run_job

        self._head(f"prodkit run {JOB} -p batch={BATCH}")
        if provider is not None:
            provider.outage(requests=OUTAGE)
            self.console.print(
                "   [yellow]injected:[/] the simulated provider answers 503 until the first attempt has failed"
            )

        def after(attempt: Any) -> None:
            if provider is not None:
                provider.outage(requests=0)
            self.console.print(_attempt_line(attempt))

        with self.console.status("running in fresh kernels"):
            result = run_job(self.project.path(JOB), {"batch": BATCH}, project=self.project, on_attempt=after)
        where = _relative(result.output, self.project.root) if result.output else "none was written"
        self.console.print(f"   exit code {result.exit_code}; executed notebook: [dim]{where}[/]")
        if result.run_id and not result.problem:
            from prodkit.review import publish

            with self.console.status("writing the reviewer's page"):
                open_questions = len(publish(self.project, result.run_id).findings)
            self.console.print(f"   review.html is in MLflow beside the run, with {open_questions} open findings")
        return result

    def conclude(self, result: JobResult, seconds: float) -> None:
        """The lines that one wants to screenshot."""
        from prodkit.ledger.review import runs_since

        everything = [run for run in runs_since(self.project, self.started) if "llm_calls" in run.metrics]
        cells = [run for run in everything if run.tags.get("prodkit.kind") == "cell"]
        calls = sum(int(run.metrics["llm_calls"]) for run in cells)
        spent = sum(run.metrics.get("cost_usd", 0.0) for run in cells)
        unpriced = sum(int(run.metrics.get("llm_calls_unpriced", 0)) for run in cells)
        accuracy = [f"{run.metrics['accuracy']:.0%}" for run in cells if "accuracy" in run.metrics]
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            "captured",
            f"{calls} calls in {len(cells)} runs, {say_usd(Decimal(repr(spent)))}, {unpriced} without a price",
        )
        grid.add_row("quality", f"{accuracy[-1] if accuracy else '?'} of the tickets reached the right queue")
        grid.add_row("job", f"exit code {result.exit_code} after {len(result.attempts)} attempts; folder {JOB}")
        grid.add_row("review", "prodkit ui" + (f" --run {result.run_id}" if result.run_id else ""))
        grid.add_row("proof", "prodkit audit verify")
        title = f"done in {seconds:.0f} s" + ("" if os.environ.get("OPENAI_API_KEY") else ", answers simulated")
        self.console.print()
        self.console.print(Panel(grid, title=title, title_align="left", box=box.ROUNDED, border_style="green"))

    def _head(self, text: str) -> None:
        self.chapter += 1
        self.console.print(f"\n[bold cyan]{self.chapter}[/] [bold]{text}[/]")


def _example() -> Project:
    project = find_project()
    if not project.path(NOTEBOOK).is_file():
        raise ConfigError(
            "demo.not-here",
            "The example notebook isn't in this project.",
            where=str(project.path(NOTEBOOK)),
            fix="run it in a clone of prodkit's repository",
        )
    return project


def _execute(source: Path, target: Path, tell: Any) -> int:
    """Run a notebook top to bottom as its author would; the executed copy is saved whatever happens."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(source, as_version=4)
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    done: list[int] = []

    def on_cell(cell: Any, cell_index: int, **_: Any) -> None:
        if cell.cell_type == "code":
            done.append(cell_index)
            tell(f"cell {len(done)} of {total}: {_first_line(cell.source)}")

    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its advice about transports isn't part of the story
        resources={"metadata": {"path": str(source.parent)}},
        on_cell_execute=on_cell,
    )
    os.environ[ROOT_VARIABLE] = str(find_project(source).root)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, target)
    return len(done)


def _first_line(source: str) -> str:
    line = next((line for line in source.splitlines() if line.strip()), "")
    return line[:70].replace("[", "\\[")


def _attempt_line(attempt: Any) -> str:
    if attempt.exit_code == 0:
        return f"   attempt {attempt.number}: [green]ok[/] after {attempt.seconds:.1f} s"
    return (
        f"   attempt {attempt.number}: [red]{attempt.outcome}[/] after {attempt.seconds:.1f} s"
        f" ({attempt.error_class}); a fresh kernel tries again"
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), header_style="dim")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    return table


def _is_rule(key: str, value: float) -> bool:
    return key.startswith("failed.") and value > 0


def _count(run: RunView, key: str) -> str:
    return f"{run.metrics[key]:.0f}" if key in run.metrics else "-"


def _pair(run: RunView, left: str, right: str) -> str:
    return f"{_count(run, left)} / {_count(run, right)}" if left in run.metrics else "-"


def _cost(run: RunView) -> str:
    if not run.metrics.get("llm_calls"):
        return "-"
    unpriced = int(run.metrics.get("llm_calls_unpriced", 0))
    return f"${run.metrics['cost_usd']:.5f}" + (f" + {unpriced} unpriced" if unpriced else "")


def _milliseconds(run: RunView) -> str:
    return f"{run.metrics['p95_seconds'] * 1000:.0f} ms" if "p95_seconds" in run.metrics else "-"


def _status(run: RunView) -> str:
    return run.tags.get("prodkit.status", run.status.lower())


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
