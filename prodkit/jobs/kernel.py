"""One kernel of our own: started over IPC, ready in one round trip, and given the time that its exit handlers need."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from prodkit.errors import ConfigError, ProdkitError, TransientError, nearest
from prodkit.jobs.forks import ForkFailedError, ForkingProvisioner
from prodkit.jobs.probe import EXPRESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

    from prodkit.jobs.forks import Template

_POLL = 0.01
_ALIVE_EVERY = 0.25
_SUBSCRIBED_WITHIN = 0.2
_ASK_AGAIN = 5.0  # seconds
_IPC_PATH_LIMIT = 90  # of the 107 bytes of a socket's path, less what ZeroMQ and the port's number add


class Kernel:
    """A running kernel and the client that speaks with it.

    Args:
        name: the kernel spec, e.g. `python3`.
        cwd: the kernel's current directory; the calling process keeps its own.
        env: added to the environment that the kernel inherits.
        start_timeout: seconds until it must have answered.
        template: a process to fork it from; None starts it from nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        template: Template | None = None,
    ) -> None:
        self.name, self._cwd, self._env, self._start_timeout = name, cwd, dict(env or {}), start_timeout
        self._template = template
        self._folder = Path(tempfile.mkdtemp(prefix="prodkit-"))  # 0700, so that no other user reaches the sockets
        self.manager = self._new_manager()
        self.client: Any = None
        self._stopped = False
        self.info: dict[str, Any] = {}

    async def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            ConfigError: there is no such kernel spec, or its process ends by itself.
            TransientError: the process was killed while it started, or wasn't ready in time.
        """
        options: dict[str, Any] = {"env": os.environ | self._env}
        if self._cwd is not None:
            options["cwd"] = str(self._cwd)
        if self.manager.ipykernel:
            options["extra_arguments"] = ["--HistoryManager.hist_file=:memory:"]
        try:
            await self._launch(options)
            self.client = self.manager.client()
            self.client.start_channels()
            self.client.allow_stdin = False
            await asyncio.wait_for(self._ready(), self._start_timeout)
        except NoSuchKernel:
            raise _no_such_kernel(self.name) from None
        except (TimeoutError, OSError, RuntimeError) as error:
            raise await self._not_started(error) from error

    async def _not_started(self, error: Exception) -> ProdkitError:
        """Why the kernel isn't there: a busy machine or a signal passes, a process that ends by itself doesn't."""
        status = await self._exit_status()
        killed = status is not None and status < 0
        if killed or isinstance(error, TimeoutError):
            how = f"was killed by signal {-status}" if status is not None and killed else "wasn't ready in time"
            return TransientError(
                "jobs.kernel-start",
                f"The kernel `{self.name}` {how} while it started ({self._start_timeout:g} s are given).",
                fix="run it again; look at the machine's memory and load if it stays so",
            )
        return ConfigError(
            "jobs.kernel-start",
            f"The kernel `{self.name}` didn't start ({type(error).__name__}).",
            fix="try `jupyter console --kernel " + self.name + "` to see why",
        )

    async def _exit_status(self) -> int | None:
        """How the kernel's process ended; None while it runs or when nobody knows."""
        provisioner = self.manager.provisioner
        status = None if provisioner is None else await provisioner.poll()
        return status if isinstance(status, int) else None

    async def _launch(self, options: dict[str, Any]) -> None:
        if self._template is not None:
            forked = ForkingProvisioner(kernel_id=self._folder.name, parent=self.manager)
            forked.kernel_spec, forked.template = self.manager.kernel_spec, self._template
            self.manager.provisioner = forked
            try:
                await self.manager.start_kernel(**options)
            except ForkFailedError:
                self.manager = self._new_manager()
            else:
                return
        await self.manager.start_kernel(**options)

    async def alive(self) -> bool:
        """Whether the process runs."""
        return bool(await self.manager.is_alive())

    async def interrupt(self) -> None:
        """KeyboardInterrupt in the running cell."""
        with contextlib.suppress(Exception):  # a kernel that died by itself needs no interrupt
            await self.manager.interrupt_kernel()

    async def last_failure(self) -> dict[str, Any]:
        """What `prodkit.jobs.probe` says about the last error; empty when this kernel can't say."""
        with contextlib.suppress(Exception):
            reply = await asyncio.wait_for(self.evaluate(EXPRESSION), 5.0)
            return dict(json.loads(reply))
        return {}

    async def evaluate(self, expression: str) -> str:
        """The string that an expression gives in the kernel, without a trace in the user's namespace or history."""
        asked = self.client.execute("", silent=True, store_history=False, user_expressions={"it": expression})
        while True:
            message = await self.client.shell_channel.get_msg(timeout=None)
            if message["parent_header"].get("msg_id") == asked:
                answer = message["content"]["user_expressions"]["it"]
                if answer["status"] != "ok":
                    raise RuntimeError(f"{answer.get('ename')} in the kernel")
                return str(ast.literal_eval(answer["data"]["text/plain"]))

    async def stop(self, *, grace: float) -> None:
        """Ask the kernel to leave, wait up to `grace` seconds for its exit handlers, then kill it. Again: nothing."""
        if self._stopped:
            return
        self._stopped = True
        try:
            if await self.alive():
                if grace > 0:
                    await self._ask_to_leave(grace)
                if await self.alive():
                    with contextlib.suppress(ProcessLookupError):
                        await self._process().kill()
                    await self._gone(5.0)
        finally:
            await self._clean_up()

    async def _ask_to_leave(self, grace: float) -> None:
        """Ask again every few seconds: a kernel that was just interrupted may have dropped the request."""
        end = time.monotonic() + grace
        while (left := end - time.monotonic()) > 0 and await self.alive():
            with contextlib.suppress(Exception):
                await self.manager.request_shutdown()
            await self._gone(min(left, _ASK_AGAIN))

    async def _ready(self) -> None:
        """Until one request was answered on both channels; from then on no output is missed."""
        while True:
            asked = self.client.kernel_info()
            self.info = (await self._answer(self.client.shell_channel, asked))["content"]
            with contextlib.suppress(TimeoutError):  # the subscription came too late for this one: ask again
                async with asyncio.timeout(_SUBSCRIBED_WITHIN):
                    await self._answer(self.client.iopub_channel, asked)
                return

    async def _answer(self, channel: Any, asked: str) -> dict[str, Any]:
        """The last message to this request: the reply, or on IOPub the return to idle."""
        while True:
            try:
                message = await channel.get_msg(timeout=_ALIVE_EVERY)
            except Empty:
                if not await self.alive():
                    raise RuntimeError("the process ended") from None
                continue
            ends = message["msg_type"] != "status" or message["content"]["execution_state"] == "idle"
            if message["parent_header"].get("msg_id") == asked and ends:
                return dict(message)

    async def _gone(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and await self.alive():  # noqa: ASYNC110  a process, not a task, is waited for
            await asyncio.sleep(_POLL)

    def _process(self) -> KernelProvisionerBase:
        if self.manager.provisioner is None:
            raise ProcessLookupError
        return self.manager.provisioner

    async def _clean_up(self) -> None:
        if self.client is not None:
            self.client.stop_channels()
        with contextlib.suppress(Exception):
            await self._process().wait()
        with contextlib.suppress(Exception):
            await self.manager.cleanup_resources()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _new_manager(self) -> AsyncKernelManager:
        manager = AsyncKernelManager(kernel_name=self.name, connection_file=str(self._folder / "kernel.json"))
        if sys.platform != "win32" and len(str(self._folder)) < _IPC_PATH_LIMIT:
            manager.transport = "ipc"  # no ports, so that kernels that start together can't take each other's
            manager.ip = str(self._folder / "ipc")
        return manager


def _no_such_kernel(name: str) -> ConfigError:
    installed = sorted(KernelSpecManager().find_kernel_specs())
    return ConfigError(
        "jobs.no-kernel",
        f"The kernel `{name}` isn't installed here.",
        fix=f"{nearest(name, installed)} or `python -m ipykernel install --sys-prefix --name {name}`",
    )
