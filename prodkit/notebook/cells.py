"""From a header to a card: which captured run belongs to the cell that is running, and when it is over."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from prodkit.manifest import find_project
from prodkit.notebook.always import name_of
from prodkit.notebook.displays import Card, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from prodkit.capture import OpenRun
    from prodkit.ledger import Ledger
    from prodkit.records import CallRecord, RunSummary


MOST_CALLS = 30_000
WITH_CONTENT = 2_000  # of them keep prompt and answer here; the journal has them all
_FRESH = 0.2  # seconds for which several panels share one look at the open runs


@dataclass
class _Cell:
    """A cell that is running, and the runs that it has opened."""

    code: str = ""
    place: str = ""
    runs: list[OpenRun] = field(default_factory=list)


class CellRuns:
    """Opens runs for the running cell and closes them when it is over. Cells nest: a cell may run another."""

    def __init__(self, shell: InteractiveShell, defaults: Callable[[], dict[str, Any]] = dict) -> None:
        self._shell, self._defaults = shell, defaults
        self._cells: list[_Cell] = []
        self._session: OpenRun | None = None  # the notebook's own run, above those of its cells
        self._blocks: list[OpenRun] = []  # of `with prodkit.run(...)`
        self._closing: list[OpenRun] = []  # no longer open, not yet in the history
        self.history: list[RunSummary] = []  # of the runs that are over
        self._kept: tuple[int, tuple[CallRecord, ...]] = (0, ())  # calls of the runs that are over, and which state
        self._seen: tuple[float, tuple[RunSummary, ...]] = (0.0, ())
        self._looking = threading.Lock()
        self.listeners: list[Callable[[], None]] = []  # called when a run has begun or ended
        self.last_error: BaseException | None = None

    def began(self, info: ExecutionInfo) -> None:
        """`pre_run_cell`: a cell begins."""
        place = str(info.cell_id or f"In [{self._shell.execution_count}]")
        self._cells.append(_Cell(str(info.raw_cell or ""), place))

    def open(self, options: dict[str, Any], **more: Any) -> OpenRun:
        """Open a run for the running cell; what it refuses is raised, so that the cell doesn't go on.

        Args:
            options: keywords for `RunOptions`, as the header gives them.
            more: further keywords that no header can say.
        """
        from prodkit.capture import RunOptions, open_run

        if not self._cells:  # the extension was loaded by this very cell
            self._cells.append(_Cell())
        cell = self._cells[-1]
        said = {"name": "", **self._defaults(), **options, **more}
        run = open_run(RunOptions(**said, **self.surroundings(), namespace=self._shell.user_ns, code=cell.code))
        cell.runs.append(run)
        self._session = run.parent
        self._tell()
        return run

    @property
    def session_run_id(self) -> str:
        """MLflow's id of the notebook's own run; empty before the first cell, and while MLflow hasn't answered."""
        return self._session.handle.run_id if self._session is not None else ""

    def surroundings(self) -> dict[str, Any]:
        """Where the running code stands, for runs of this kernel."""
        place = self._cells[-1].place if self._cells else ""
        return {"in_session": True, "notebook": notebook_path(self._shell.user_ns), "cell": place}

    def opened(self, run: OpenRun) -> None:
        """A `with prodkit.run(...)` block has begun."""
        self._blocks.append(run)
        self._tell()

    def closed(self, run: OpenRun, summary: RunSummary) -> None:
        """A `with prodkit.run(...)` block is over: it has a card as a cell has."""
        if run in self._blocks:
            self._closing.append(run)
            self._blocks.remove(run)
        self._show(run, summary)

    @property
    def open_runs(self) -> tuple[OpenRun, ...]:
        """The runs of the cells that are running, the newest last."""
        return (*(run for cell in list(self._cells) for run in list(cell.runs)), *self._blocks)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """The latest calls of the runs that are over, the newest last."""
        return self._kept[1]

    @property
    def lists(self) -> dict[Hashable, Sequence[CallRecord]]:
        """All calls at hand: of the runs that are over, and of each open run. Under one key a list only grows."""
        state, over = self._kept
        return {state: over} | {run.key: run.tally.calls for run in self.open_runs}

    def _tell(self) -> None:
        with self._looking:
            self._seen = (0.0, ())
        for listener in list(self.listeners):
            listener()

    def snapshot(self) -> tuple[RunSummary, ...]:
        """The figures of the open runs and of those that are over, the newest first.

        Panels that ask at the same time get the same figures, and the sums are made once.
        """
        with self._looking:
            at, seen = self._seen
            if not seen or time.monotonic() - at > _FRESH:
                working = dict.fromkeys((*self._closing, *self.open_runs))
                open_now = [run.summary() for run in reversed(working)]
                seen = (*open_now, *reversed(self.history))
                self._seen = (time.monotonic(), seen)
            return seen

    @property
    def ledger(self) -> Ledger:
        """The ledger of the project that this kernel works in."""
        from prodkit.ledger import Ledger

        return Ledger.open(find_project())

    @property
    def problem(self) -> str:
        """Why records wait instead of being in MLflow; empty when all is well, or nothing was recorded yet."""
        return self.ledger.problem if self.history or self.open_runs else ""

    @property
    def code(self) -> str:
        """The source of the running cell."""
        return self._cells[-1].code if self._cells else ""

    @property
    def default_name(self) -> str:
        """A name for the running cell's run when nobody gave one."""
        return name_of(self.code, self._shell.execution_count)

    def ended(self, result: ExecutionResult) -> None:
        """`post_run_cell`: close what the cell has opened, and show its card below the cell's other outputs."""
        if not self._cells:
            return
        error = result.error_before_exec or result.error_in_exec
        self.last_error = error or self.last_error
        runs = list(reversed(self._cells[-1].runs))
        self._closing += runs
        self._cells.pop()
        for run in runs:
            self._close(run, error)

    def _keep(self, more: Sequence[CallRecord]) -> None:
        """Keep the calls of a run that is over, and let go of old prompts and answers, which the journal has."""
        state, over = self._kept
        calls = [*over, *more][-MOST_CALLS:]
        old = max(len(calls) - WITH_CONTENT, 0)
        slim = max(old - len(more), 0)  # those before it have let go earlier
        calls[slim:old] = map(_slim_call, calls[slim:old])
        self._kept = state + 1, tuple(calls)

    def _close(self, run: OpenRun, error: BaseException | None) -> None:
        from prodkit.capture import close_run

        try:
            self._show(run, close_run(run, error))
        except Exception as problem:  # a card must not take the cell's own outputs away
            self._closing = [one for one in self._closing if one is not run]
            display(Trouble("The run could not be closed properly.", problem))

    def _show(self, run: OpenRun, summary: RunSummary) -> None:
        with self._looking:  # a panel that looks now sees the run once
            self.history.append(summary)
            self._closing = [one for one in self._closing if one is not run]
            self._seen = (0.0, ())
        self._keep(run.calls)
        self._tell()
        display(Card(summary))


def _slim_call(call: CallRecord) -> CallRecord:
    return call if call.prompt is None and call.response is None else replace(call, prompt=None, response=None)


def notebook_path(namespace: dict[str, Any]) -> Path | None:
    """The notebook's file, as far as the editor says: None in consoles and for notebooks that were never saved."""
    said = namespace.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or ""
    path = Path(str(said))
    return path.resolve() if path.suffix == ".ipynb" and path.is_file() else None
