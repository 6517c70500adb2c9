"""Shows what a running job does: one line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import click
from rich.markup import escape

from prodkit.jobs.ends import Outcome
from prodkit.jobs.events import AttemptEvent, CellEvent, OutputEvent

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from prodkit.jobs.events import Event


class Progress:
    """Give `show` to `run_job` as `on_event`.

    Args:
        console: where to.
        quiet: show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._status = console.status("checking")

    def __enter__(self) -> Self:
        if not self._quiet:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()

    def show(self, event: Event) -> None:
        """One event of the run."""
        if isinstance(event, OutputEvent):
            write_output(event, self._quiet)
        elif self._quiet:
            return
        elif isinstance(event, CellEvent):
            self._cell(event)
        elif isinstance(event, AttemptEvent):
            self._attempt(event)

    def _cell(self, event: CellEvent) -> None:
        place = f"cell {event.position}/{event.total}"
        if event.kind == "start":
            self._status.update(f"{place} [dim]{escape(event.title)}[/]")
        elif event.kind == "retry":
            self._console.print(f"  [yellow]{place}: {event.error}; once more in {event.waits:.1f} s[/]")
        elif event.kind == "restored":
            self._console.print(f"  [dim]{place}: outputs of an earlier attempt[/]")

    def _attempt(self, event: AttemptEvent) -> None:
        if event.kind == "start":
            self._status.update(f"attempt {event.number} of at most {event.limit}: starting a kernel")
        elif event.kind == "wait":
            self._console.print(f"  [yellow]next attempt in {event.waits:.1f} s[/]")
        elif event.outcome is Outcome.OK:
            self._console.print(f"  attempt {event.number}: [green]ok[/] after {event.seconds:.1f} s")
        else:
            error = f" ({event.error})" if event.error else ""
            self._console.print(
                f"  attempt {event.number}: [red]{event.outcome.value}[/]{error} after {event.seconds:.1f} s"
            )


def write_output(event: OutputEvent, to_stderr: bool) -> None:
    """What a notebook writes goes to stdout at once; to stderr where stdout is for a result. A closed one is let be."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(event.text, err=to_stderr)
