"""Runs a notebook's cells one after the other under a deadline, and says honestly how that ended."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from prodkit.errors import ProdkitError
from prodkit.jobs.client import CellClient
from prodkit.jobs.ends import Failure, Outcome, by_exit_code, is_programming
from prodkit.jobs.kernel import Kernel
from prodkit.jobs.record import End, Record, code_cells
from prodkit.jobs.spent import EXPRESSION, NOTHING, Spent, read_spent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nbformat import NotebookNode

    from prodkit.jobs.forks import Template
    from prodkit.jobs.signals import StopRequest

_WAIT_FIRST, _WAIT_MAX = 1.0, 30.0
_TICK = 1.0


class Checkpoints(Protocol):
    """Keeps the declared outputs of cells over attempts."""

    def follow(self, nb: NotebookNode) -> None:
        """Know the notebook before its cells run."""

    def restore_expression(self, cell: NotebookNode) -> str:
        """What to evaluate in the kernel to restore this cell's outputs; "" when it must run."""

    def keep_expression(self, cell: NotebookNode) -> str:
        """What to evaluate in the kernel to keep this cell's outputs; "" when it declares none."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a notebook is executed. Durations are seconds.

    `deadline` is a point of `time.monotonic()`. `grace` is what an interrupted cell gets to leave, `exit_grace` what
    the kernel's exit handlers get.
    """

    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cell_timeout: float | None = None
    deadline: float | None = None
    start_timeout: float = 60.0
    grace: float = 5.0
    exit_grace: float = 30.0
    output_cap: int = 20_000_000
    mask: tuple[str, ...] = ()
    checkpoints: Checkpoints | None = None
    template: Template | None = None
    on_output: Callable[[NotebookNode | None], None] | None = None


def execute(record: Record, kernel_name: str, options: Options, stop: StopRequest) -> End:
    """Run all cells of the record's notebook; the record is finished and saved when this returns.

    Never raises for what happens in the notebook: the end says it.

    Raises:
        ConfigError: the kernel isn't installed or doesn't start.
        TransientError: the notebook can't be saved; the kernel was stopped.
    """
    execution = _Execution(record, kernel_name, options, stop)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(execution.run())
    return _in_a_thread(execution)


def _in_a_thread(execution: _Execution) -> End:
    """For callers inside an event loop, e.g. a notebook: the loop that runs already can't be waited on."""
    box: list[End | BaseException] = []

    def target() -> None:
        try:
            box.append(asyncio.run(execution.run()))
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=target, name="prodkit-execution")
    thread.start()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


class _Execution:
    def __init__(self, record: Record, kernel_name: str, options: Options, stop: StopRequest) -> None:
        self.record, self.options, self.stop = record, options, stop
        self.kernel = Kernel(
            kernel_name,
            cwd=options.cwd,
            env=options.env,
            start_timeout=options.start_timeout,
            template=options.template,
        )
        self.client: CellClient
        self.stopped, self.hurry = asyncio.Event(), asyncio.Event()
        self.saving: asyncio.Future[Any]
        self.cells_run = 0
        self.spent = NOTHING  # by the kernel's process, up to the cell that runs

    async def run(self) -> End:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        unlisten = self.stop.listen(partial(loop.call_soon_threadsafe, self._note_stop))
        self._note_stop()
        try:
            end = await self._all_cells(began)
        except BaseException as error:
            with contextlib.suppress(ProdkitError):
                self.record.finish(self._end(began, _outcome_of(error), Failure(type(error).__name__)))
            raise
        finally:
            unlisten()
            await self.kernel.stop(grace=self._exit_grace())
        self.record.finish(end)
        return end

    def _exit_grace(self) -> float:
        """Who asked to stop waits for us: exit handlers get less then, and nothing after a second request."""
        if self.stop.count > 1:
            return 0.0
        return min(self.options.exit_grace, self.options.grace) if self.stop.asked else self.options.exit_grace

    def _note_stop(self) -> None:
        if self.stop.asked:
            self.stopped.set()
        if self.stop.count > 1:
            self.hurry.set()

    async def _all_cells(self, began: float) -> End:
        self.saving = asyncio.ensure_future(self._save_now_and_then())
        try:
            await self.kernel.start()
            self.client = self._new_client()
            self.record.nb.metadata["language_info"] = self.kernel.info["language_info"]
            return await self._one_by_one(began)
        finally:
            self.saving.cancel()

    async def _one_by_one(self, began: float) -> End:
        if self.options.checkpoints is not None:
            self.options.checkpoints.follow(self.record.nb)
        runnable = {index for index, _ in code_cells(self.record.nb)}
        for index, cell in enumerate(self.record.nb.cells):
            if index not in runnable:
                self._pass(cell, index)
                continue
            ended = await self._cell(cell, index)
            if ended is not None:
                outcome, failure = ended
                return self._end(began, outcome, None if outcome is Outcome.OK else failure, index)
        self.client.set_widgets_metadata()
        return self._end(began, Outcome.OK)

    def _new_client(self) -> CellClient:
        return CellClient(
            self.record.nb,
            self.kernel,
            output_cap=self.options.output_cap,
            mask=self.options.mask,
            on_output=self._note_output,
            on_changed=self.record.saver.changed,
        )

    def _note_output(self, output: NotebookNode | None) -> None:
        self.record.saver.dirty = True
        if self.options.on_output is not None:
            self.options.on_output(output)

    def _end(self, began: float, outcome: Outcome, failure: Failure | None = None, cell: int | None = None) -> End:
        return End(outcome, time.monotonic() - began, failure, cell, self.cells_run, tuple(self.record.figures))

    def _pass(self, cell: NotebookNode, index: int) -> None:
        """Text and skipped cells have nothing that could fail."""
        self.record.cell_start(cell, index)
        self.record.cell_complete(cell, cell_index=index)

    async def _cell(self, cell: NotebookNode, index: int) -> tuple[Outcome, Failure] | None:
        too_late = self._too_late("before")
        if too_late is not None or await self._restored(cell, index):
            return too_late
        self.record.cell_start(cell, index)
        retries = declared_retries(cell)
        for attempt in range(retries + 1):
            began = time.monotonic()
            ended = await self._one_try(cell, index)
            if ended is None or attempt == retries or not _worth_another(*ended) or not await self.kernel.alive():
                break
            waits = min(_WAIT_FIRST * 2**attempt, _WAIT_MAX)
            if not await self._pause(cell, index, ended[1], time.monotonic() - began, waits):
                break
        self.cells_run += 1
        outcome, name = (ended[0], ended[1].name) if ended else (Outcome.OK, "")
        spent = await self._spent(ended is not None)
        self.record.cell_end(cell, index, outcome, error="" if outcome is Outcome.OK else name, spent=spent)
        if ended is None:
            await self._keep(cell)
        return ended

    async def _spent(self, failed: bool) -> Spent:
        """What the cell spent, all its tries together; a kernel that is gone can't say what it spent last."""
        total = self.client.spent
        if failed and await self.kernel.alive():
            with contextlib.suppress(RuntimeError, TimeoutError):
                total = read_spent(await asyncio.wait_for(self.kernel.evaluate(EXPRESSION), 5.0)) or total
        before, self.spent = self.spent, total or self.spent
        return self.spent - before

    async def _pause(self, cell: NotebookNode, index: int, failure: Failure, seconds: float, waits: float) -> bool:
        """Wait before the next try of a cell; False when there is no time for one or somebody asked to stop."""
        if self._left() <= waits:
            return False
        self.record.cell_retry(cell, index, failure, seconds=seconds, waits=waits)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), waits)
        return not self.stopped.is_set()

    async def _one_try(self, cell: NotebookNode, index: int) -> tuple[Outcome, Failure] | None:
        """Run the cell once: None when it succeeded, else the end that its failure means."""
        limit = min(self._left(), self.options.cell_timeout or inf)
        running: asyncio.Future[Any] = asyncio.ensure_future(self.client.run(cell, index))
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self.stopped.wait())
        await asyncio.wait(
            {running, stopping, self.saving},
            timeout=None if limit == inf else limit,
            return_when=asyncio.FIRST_COMPLETED,
        )
        stopping.cancel()
        if running.done():
            return await self._judge(running)
        await self._break_off(running)
        if self.saving.done():
            self.saving.result()  # raises why the notebook can't be saved
        too_late = self._too_late("in")
        return too_late or (
            Outcome.TRANSIENT,
            Failure("CellTimeout", f"the cell ran longer than {self.options.cell_timeout:g} s"),
        )

    def _too_late(self, where: str) -> tuple[Outcome, Failure] | None:
        """Why the run must end here: somebody asked for it, or the deadline is reached."""
        if self.stopped.is_set():
            return Outcome.TERMINATED, Failure("Terminated", f"{self.stop.reason} came {where} this cell")
        if self._left() <= 0:
            return Outcome.TRANSIENT, Failure("JobDeadline", f"the job's deadline was reached {where} this cell")
        return None

    async def _judge(self, running: asyncio.Future[Any]) -> tuple[Outcome, Failure] | None:
        try:
            await running
        except CellExecutionError as error:
            if error.ename == "SystemExit" and error.evalue in {"", "0"}:
                return Outcome.OK, Failure("SystemExit")  # as papermill has it: the notebook ends here, and well
            failure = await self._failure(error)
            return failure.outcome, failure
        except DeadKernelError:
            return Outcome.KERNEL_DIED, Failure("KernelDied", "the kernel's process ended while this cell ran")
        except CellTimeoutError:
            return Outcome.TRANSIENT, Failure("OutputTimeout", "the kernel's outputs didn't arrive in time")
        return None

    async def _failure(self, error: CellExecutionError) -> Failure:
        said = await self.kernel.last_failure()
        names = tuple(said.get("names", ()))
        if not names or names[0].rpartition(".")[2] != error.ename:
            said, names = {}, (error.ename,)  # another kernel, or an error that isn't the last one
        return Failure(error.ename, error.evalue, names, said.get("exit_code"), said.get("http_status"))

    async def _break_off(self, running: asyncio.Future[Any]) -> None:
        """Interrupt the cell so that its outputs come home; a kernel that doesn't listen is killed."""
        await self.kernel.interrupt()
        hurry: asyncio.Future[Any] = asyncio.ensure_future(self.hurry.wait())
        await asyncio.wait({running, hurry}, timeout=self.options.grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not running.done():
            running.cancel()
            await self.kernel.stop(grace=0.0)
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await running

    def _left(self) -> float:
        return inf if self.options.deadline is None else self.options.deadline - time.monotonic()

    async def _restored(self, cell: NotebookNode, index: int) -> bool:
        store = self.options.checkpoints
        expression = store.restore_expression(cell) if store else ""
        if not expression or await self._evaluate(expression) != "restored":
            return False
        self.record.cell_restored(cell, index)
        return True

    async def _keep(self, cell: NotebookNode) -> None:
        store = self.options.checkpoints
        expression = store.keep_expression(cell) if store else ""
        if expression:
            self.record.cell_kept(cell, await self._evaluate(expression))

    async def _evaluate(self, expression: str) -> str:
        try:
            return await self.kernel.evaluate(expression)
        except RuntimeError as error:
            return f"failed: {error}"

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if self.record.saver.dirty:
                self.record.save()


def declared_retries(cell: NotebookNode) -> int:
    """How often a cell that is tagged `retry=N` may run again after a failure. The tag says: running twice is safe."""
    for tag in cell.metadata.get("tags", []):
        name, _, number = str(tag).partition("=")
        if name == "retry" and number.isdigit():
            return int(number)
    return 0


def _worth_another(outcome: Outcome, failure: Failure) -> bool:
    """The world or the notebook's own error, unless it is a mistake in the code; never a dead kernel or a deadline."""
    if failure.name in {"JobDeadline", "OutputTimeout"}:
        return False
    return outcome in {Outcome.TRANSIENT, Outcome.FAILED} and not is_programming(failure)


def _outcome_of(error: BaseException) -> Outcome:
    return by_exit_code(error.exit_code) if isinstance(error, ProdkitError) else Outcome.FAILED
