"""Kernels forked from a template that has their imports behind it: what an item costs is its own work.

Only where a fork is sound and can be watched: Linux, an ipykernel spec, imports that start no thread and open no
connection. Everywhere else a kernel is started from nothing, and items only take longer.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from prodkit.jobs.imports import leading_imports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_client.connect import KernelConnectionInfo
    from nbformat import NotebookNode

_LAUNCHER = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
_MODULE = "prodkit.jobs.zygote"
_READY_WITHIN, _ANSWER_WITHIN = 120.0, 30.0  # seconds
_RELAUNCHES = 4  # how many imports may be found out as unfit for a fork before none is made ahead
_MESSAGE_BYTES = 65_536


class ForkFailedError(RuntimeError):
    """The template is gone or doesn't answer."""


class ForkedProcess:
    """A forked kernel as jupyter_client knows processes: the part of `Popen` that it uses."""

    stdin = stdout = stderr = None

    def __init__(self, template: Template, pid: int, handle: int) -> None:
        self.pid, self.returncode = pid, None
        self._template, self._handle = template, handle

    returncode: int | None

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        if self.returncode is None:
            watcher = select.poll()
            watcher.register(self._handle, select.POLLIN)
            if watcher.poll(0):
                self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `timeout` in seconds."""
        if self.returncode is None:
            select.select([self._handle], [], [], timeout)
        ended = self.poll()
        if ended is None:
            raise subprocess.TimeoutExpired(_MODULE, timeout or 0.0)
        return ended

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, and never to another one that was given its id."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _ended(self) -> None:
        self.returncode = self._template.reap(self.pid)
        os.close(self._handle)


class ForkingProvisioner(LocalProvisioner):
    """jupyter_client's local kernels, forked instead of started."""

    template: Template

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel.

        Raises:
            ForkFailedError: the template is gone.
        """
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        forked: Any = self.template.fork(arguments, kwargs["env"], kwargs.get("cwd") or str(Path.cwd()))
        self.process = forked
        self.pid = self.pgid = forked.pid  # it makes a session of its own first of all
        self.cwd = kwargs.get("cwd")
        return self.connection_info


class Template:
    """The worker's end of a process that forks kernels; threads may share it.

    Args:
        command: what starts it, less the number of its socket.
        env: its environment.
        cwd: its current directory.
    """

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: str) -> None:
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=dict(env),
                cwd=cwd,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the worker
            )

    def prepare(self, statements: tuple[str, ...]) -> dict[str, Any]:
        """Let it import; see `prodkit.jobs.zygote.prepare`.

        Raises:
            ForkFailedError: it doesn't start.
        """
        return self._ask({"statements": statements}, _READY_WITHIN)[0]

    def fork(self, argv: list[str], env: Mapping[str, str], cwd: str) -> ForkedProcess:
        """A new kernel process.

        Raises:
            ForkFailedError: the template is gone.
        """
        answer, handles = self._ask({"argv": argv, "env": dict(env), "cwd": cwd}, _ANSWER_WITHIN)
        return ForkedProcess(self, answer["pid"], handles[0])

    def reap(self, pid: int) -> int:
        """The exit status of a kernel that has ended; that of a killed one when nobody can say it any more."""
        try:
            return int(self._ask({"reap": pid}, _ANSWER_WITHIN)[0]["status"])
        except ForkFailedError:
            return -signal.SIGKILL

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and with it the kernels that still run."""
        self._channel.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, message: dict[str, Any], seconds: float) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            try:
                self._channel.settimeout(seconds)
                self._channel.sendall(json.dumps(message).encode() + b"\n")
                said, handles = b"", []
                while not said.endswith(b"\n"):
                    part, fds, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 1)
                    handles += fds
                    if not part:
                        raise ForkFailedError("the template's process has ended")
                    said += part
                return json.loads(said), handles
            except OSError as error:
                raise ForkFailedError(str(error)) from error


@dataclass
class _Templates:
    """The templates of this process, one for each kind of kernel that its items ask for."""

    made: dict[object, Template | None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_templates = _Templates()


def template_for(kernel: str, nb: NotebookNode, env: Mapping[str, str], cwd: Path | None) -> Template | None:
    """The template that kernels of this notebook are forked from; made at the first call.

    Args:
        kernel: the kernel spec's name.
        nb: the notebook; what it imports at its top is imported once.
        env: variables that all items share, added to this process's.
        cwd: where the notebook runs.

    Returns:
        None where kernels must be started from nothing.
    """
    spec = _spec(kernel)
    if spec is None:
        return None
    command = _command(spec)
    statements, place = leading_imports(nb), str(cwd or Path.cwd())
    key = (tuple(command), statements, place, tuple(sorted(env.items())))
    with _templates.lock:
        known = _templates.made.get(key)
        if known is not None and not known.lives:
            known.close()
            del _templates.made[key]
        if key not in _templates.made:
            known = _templates.made[key] = _make(command, statements, os.environ | spec.env | dict(env), place)
        return known


def close_templates() -> None:
    """End all templates of this process."""
    with _templates.lock:
        while _templates.made:
            template = _templates.made.popitem()[1]
            if template is not None:
                template.close()


atexit.register(close_templates)


def _make(command: list[str], statements: tuple[str, ...], env: Mapping[str, str], cwd: str) -> Template | None:
    for attempt in range(_RELAUNCHES + 1):
        wanted = statements if attempt < _RELAUNCHES else ()
        try:
            template = Template(command, env, cwd)
        except OSError:
            return None
        try:
            answer = template.prepare(wanted)
        except ForkFailedError:  # that interpreter has no prodkit, or an import ends the process
            template.close()
            return None
        if answer["ready"]:
            return template
        template.close()
        statements = tuple(one for n, one in enumerate(wanted) if n != answer["culprit"])
    return None


def _spec(kernel: str) -> KernelSpec | None:
    """The kernel spec, if it is one whose kernels can be forked."""
    if not (sys.platform == "linux" and hasattr(os, "pidfd_open")):
        return None
    try:
        spec = KernelSpecManager().get_kernel_spec(kernel)
    except NoSuchKernel:  # whoever starts the kernel tells it better
        return None
    plain = spec.argv[-len(_LAUNCHER) :] == _LAUNCHER and not spec.metadata.get("kernel_provisioner")
    return spec if plain else None


def _command(spec: KernelSpec) -> list[str]:
    """How the template of a kernel spec is started: in its own interpreter, with its own flags."""
    python, *flags = spec.argv[: -len(_LAUNCHER)]
    ours = python in {"python", f"python{sys.version_info[0]}"}  # as jupyter_client has it
    return [sys.executable if ours else python, *flags, "-m", _MODULE]
