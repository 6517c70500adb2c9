"""Items on Dask workers: another process or machine runs them, a worker that dies costs only the item that it had.

The workers must see the job folder and the project's state folder under the same paths.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prodkit.errors import TransientError, missing_extra
from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import ItemResult, Work, run_item
from prodkit.jobs.signals import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECT = 20  # seconds
_POLL = 0.2
_LOST_WORKERS = 3  # how many workers an item may take with it before it is given up


class DaskWorkers:
    """Give it to `run_over` as `run_items`.

    Args:
        scheduler: the address of a running scheduler, e.g. `tcp://10.0.0.5:8786`; "" starts worker processes here.
        workers: how many of them; default: the machine's processors.
    """

    def __init__(self, scheduler: str = "", *, workers: int | None = None) -> None:
        self._scheduler, self._workers = scheduler, workers

    def __call__(self, works: list[Work], stop: StopRequest) -> Iterator[ItemResult]:
        """Results as items end; no order.

        Raises:
            ConfigError: the extra `dask` isn't installed.
            TransientError: `jobs.dask`: the scheduler doesn't answer.
        """
        try:
            import distributed
        except ImportError:
            raise missing_extra("dask", "Running items on Dask workers") from None
        if not works:
            return
        with self._client(distributed) as client:
            futures = {}
            for work in works:
                future = client.submit(_run, work, key=f"prodkit-{work.options.key}", pure=False, retries=0)
                futures[future] = work
            yield from _results(distributed, futures, stop)

    @contextmanager
    def _client(self, distributed: Any) -> Iterator[Any]:
        import dask

        settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": _LOST_WORKERS}
        if not self._scheduler and sys.platform == "linux":
            settings["distributed.worker.multiprocessing-method"] = "forkserver"
        with dask.config.set(settings):
            if not self._scheduler:
                _preload(distributed)
            if not self._scheduler:
                with (
                    distributed.LocalCluster(
                        n_workers=self._workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
                    ) as cluster,
                    distributed.Client(cluster) as client,
                ):
                    yield client
                return
            try:
                client = distributed.Client(self._scheduler, timeout=_CONNECT)
            except (OSError, TimeoutError):
                raise TransientError(
                    "jobs.dask",
                    "The Dask scheduler doesn't answer.",
                    where=self._scheduler,
                    fix="start it with `dask scheduler`, and workers with `dask worker ADDRESS`",
                ) from None
            with client:
                yield client


def _preload(distributed: Any) -> None:
    """Let this machine's workers be forked from a process that has their imports behind it, once for all of them."""
    context = distributed.utils.get_mp_context()  # its first call sets modules of Dask's own
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["prodkit.jobs.worker_imports"])


def _results(distributed: Any, futures: dict[Any, Work], stop: StopRequest) -> Iterator[ItemResult]:
    waiting = set(futures)
    while waiting and not stop.asked:
        try:
            done, waiting = distributed.wait(waiting, timeout=_POLL, return_when="FIRST_COMPLETED")
        except TimeoutError:
            continue
        for future in done:
            yield _result_of(future, futures[future].item.number)
    for future in waiting:
        future.cancel()


def _result_of(future: Any, number: int) -> ItemResult:
    if future.status == "finished":
        result: ItemResult = future.result()
        return result
    error = future.exception()  # its workers died, one after the other
    return ItemResult(number, Outcome.KERNEL_DIED, error=type(error).__name__)


def _run(work: Work) -> ItemResult:
    return run_item(work, StopRequest())
