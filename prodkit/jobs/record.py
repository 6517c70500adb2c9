"""The run record inside the executed notebook: what each cell and the run came to, true at every moment.

papermill's own manager marks what never ran as completed. This one keeps papermill's places (`metadata.papermill`, so
that every viewer of papermill's notebooks works) and adds `metadata.prodkit`, which says how the run ended.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from nbformat.v4 import new_output
from papermill.engines import NotebookExecutionManager
from papermill.iorw import papermill_io

from prodkit.jobs.ends import Failure, Outcome
from prodkit.jobs.events import CellEvent
from prodkit.jobs.kept import KEPT
from prodkit.jobs.saving import Saver
from prodkit.jobs.spent import NOTHING, Spent
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class CellFigures:
    """What one code cell took. `position` counts code cells from 1; `cost` is US dollars, None when not known."""

    position: int
    title: str
    outcome: Outcome
    seconds: float
    calls: int = 0
    cost: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True)
class End:
    """How the execution of a notebook ended."""

    outcome: Outcome
    seconds: float
    failure: Failure | None = None
    cell: int | None = None  # index of the cell in which it ended
    cells_run: int = 0
    cells: tuple[CellFigures, ...] = ()

    @property
    def error(self) -> str:
        """The class of the error, "" when there was none."""
        return self.failure.name if self.failure else ""


class Record(NotebookExecutionManager):
    """papermill's manager, made honest: pending stays pending, saves are atomic and seldom, the end is written down.

    Args:
        nb: the notebook, with papermill's metadata.
        output_path: where it is saved; None saves nowhere.
        on_event: called at each change of a code cell, in the thread that runs the notebook.
        every: seconds between two saves at least.
        options: papermill's own (`log_output`, `progress_bar`).
    """

    def __init__(
        self,
        nb: NotebookNode,
        output_path: str | None,
        *,
        on_event: Callable[[CellEvent], None] | None = None,
        every: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(nb, output_path=output_path, autosave_cell_every=0, **options)
        self.saver = Saver(nb, output_path or "", every=every, remote=papermill_io.write)
        self.figures: list[CellFigures] = []
        self._on_event = on_event
        self._positions = {index: n for n, (index, _) in enumerate(code_cells(nb), start=1)}

    def save(self, *, force: bool = False, **_: Any) -> None:
        """Save if it is time (at most once a second) or forced."""
        self.saver.save(force=force)

    def notebook_start(self, **_: Any) -> None:
        """Everything is pending; the run is running, in this process."""
        super().notebook_start()
        self.nb.metadata["prodkit"] = {
            **self.nb.metadata.get("prodkit", {}),
            "run": {
                "outcome": Outcome.RUNNING.value,
                "started": now().isoformat(),
                "pid": os.getpid(),
                "host": _host(),
            },
        }
        self.save(force=True)

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **_: Any) -> None:
        """The cell is running."""
        super().cell_start(cell, cell_index)
        self._tell("start", cell, cell_index)

    def cell_end(
        self, cell: NotebookNode, index: int, outcome: Outcome, *, error: str = "", spent: Spent = NOTHING
    ) -> None:
        """The cell ended; papermill's `completed` only if it really did. Its own time and cost are in its metadata."""
        if outcome is not Outcome.OK:
            self.cell_exception(cell, cell_index=index)
        self.saver.changed(cell)
        self.cell_complete(cell, cell_index=index)
        seconds = round(cell.metadata.papermill.get("duration") or 0.0, 3)
        told = cell.metadata.setdefault("prodkit", {})
        told["seconds"] = seconds
        if spent.calls:
            told.update(calls=spent.calls, cost_usd=None if spent.cost is None else str(spent.cost))
        if outcome is not Outcome.OK:
            told["outcome"] = outcome.value
        position = self._positions.get(index, 0)
        self.figures.append(CellFigures(position, title(cell), outcome, seconds, spent.calls, spent.cost))
        self.saver.finished(cell)
        self._tell("end", cell, index, outcome=outcome, error=error)

    def cell_retry(self, cell: NotebookNode, index: int, failure: Failure, *, seconds: float, waits: float) -> None:
        """The cell failed and will be tried again; the failed try stays on record in the cell's metadata."""
        tries = cell.metadata.setdefault("prodkit", {}).setdefault("tries", [])
        tries.append({"error": failure.name, "seconds": round(seconds, 3), "waited": round(waits, 3)})
        self.save()
        self._tell("retry", cell, index, error=failure.name, seconds=seconds, waits=waits)

    def cell_restored(self, cell: NotebookNode, index: int) -> None:
        """The cell wasn't run: an earlier attempt's outputs were put in its place."""
        cell.metadata.papermill["status"] = self.COMPLETED
        cell.metadata.setdefault("prodkit", {})["restored"] = True
        self.save()
        self._tell("restored", cell, index, outcome=Outcome.OK)

    def cell_kept(self, cell: NotebookNode, said: str) -> None:
        """The cell's declared outputs were kept for later attempts, or why not."""
        cell.metadata.setdefault("prodkit", {})["kept"] = said
        if said != KEPT:
            cell.outputs.append(new_output("stream", name="stderr", text=f"[prodkit] {said}\n"))
        self.saver.changed(cell)
        self.saver.finished(cell)
        self.save()

    def finish(self, end: End) -> None:
        """Write the end down. Cells that never ran stay pending."""
        self.end_time = self.now()
        run = self.nb.metadata["prodkit"]["run"]
        run.update(outcome=end.outcome.value, exit_code=end.outcome.exit_code, ended=self.end_time.isoformat())
        if end.failure is not None:
            run.update(error=end.failure.name, cell=end.cell)
            self.nb.metadata.papermill["exception"] = True
        self.nb.metadata.papermill["end_time"] = self.end_time.isoformat()
        self.nb.metadata.papermill["duration"] = end.seconds
        self.cleanup_pbar()
        self.save(force=True)

    def _tell(
        self, kind: Literal["start", "end", "retry", "restored"], cell: NotebookNode, index: int | None, **values: Any
    ) -> None:
        if self._on_event is None or index not in self._positions:
            return
        if kind == "end":
            values.setdefault("seconds", cell.metadata.papermill.get("duration") or 0.0)
        position = self._positions[index]
        self._on_event(CellEvent(kind, index, position, len(self._positions), title(cell), **values))


def code_cells(nb: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """The cells that run, with their indices."""
    skipped = "skip-execution"
    return [
        (index, cell)
        for index, cell in enumerate(nb.cells)
        if cell.cell_type == "code" and cell.source.strip() and skipped not in cell.metadata.get("tags", [])
    ]


def title(cell: NotebookNode) -> str:
    """The cell's first line that says something, at most 60 characters."""
    lines = (line.strip() for line in cell.source.splitlines())
    return next((line for line in lines if line), "")[:60]


def _host() -> str:
    return socket.gethostname()
