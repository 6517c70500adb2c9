"""A process that has imported what a notebook imports, and forks a kernel for each item: `python -m ...zygote FD`.

It runs in the kernel's own interpreter and does nothing but import and fork: no item's code ever runs in it, so each
kernel begins as the first one did. It speaks lines of JSON over the socket that it inherits; when that closes, its
worker is gone, and so are its kernels.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import socket
import sys
import sysconfig
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_LAST_FLUSH = 0.2  # seconds
_MACHINERY = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.debugger"),
    *("IPython.core.completerlib", "IPython.core.oinspect", "IPython.extensions.storemagic", "prodkit.jobs.probe"),
)
# what `import prodkit` itself leaves for later, and every captured cell then needs
_OURS = ("prodkit.capture", "prodkit.capture.opening", "prodkit.capture.autolog", "mlflow")


def main() -> None:
    """Import, then fork on request, until the worker is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    lines = channel.makefile("rb")
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd():
        del sys.path[0]  # as ipykernel's launcher does; the kernel puts it back
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = (
        "1"  # ipykernel's debugger would warn of something that nobody can change
    )
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel leaves when this process does
    children: set[int] = set()
    for line in lines:
        asked = json.loads(line)
        if "statements" in asked:
            _say(channel, prepare(asked["statements"]))
        elif "reap" in asked:
            children.discard(asked["reap"])
            _say(channel, {"status": _reap(asked["reap"])})
        else:
            child = os.fork()
            if child == 0:
                lines.close()
                channel.close()
                become_kernel(asked)
                return
            children.add(child)
            handle = os.pidfd_open(child)
            socket.send_fds(channel, [json.dumps({"pid": child}).encode() + b"\n"], [handle])
            os.close(handle)
    for child in children:
        for kill in (os.killpg, os.kill):
            with suppress(OSError):
                kill(child, signal.SIGKILL)


def prepare(statements: list[str]) -> dict[str, Any]:
    """Import; says which statement (by position) left something behind that doesn't survive a fork, and what."""
    for name in _MACHINERY:
        _execute(f"import {name}")
    at_first = _open_sockets()
    for position, statement in enumerate(statements):
        if not is_installed(statement):
            continue
        _execute(statement)
        if statement.split()[1].partition(".")[0] == "prodkit":
            for name in _OURS:
                _execute(f"import {name}")
        why = _why_not(at_first)
        if why:
            return {"ready": False, "culprit": position, "why": why}
    gc.collect()
    gc.freeze()  # the collector's marks would copy the pages that all kernels share
    return {"ready": True}


def is_installed(statement: str) -> bool:
    """Whether an import is of the standard library, an installed package or prodkit.

    A project's own modules may read the item's variables when they are imported, so each item imports them itself.
    """
    top = statement.split()[1].partition(".")[0].rstrip(",")
    if top == "prodkit" or top in sys.builtin_module_names:
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or ""] if spec is not None else []
    places += list(spec.submodule_search_locations or ()) if spec is not None else []
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return spec is not None and any(place.startswith(root) for place in places for root in roots if root)


def become_kernel(asked: dict[str, Any]) -> None:
    """In the child: what a fresh interpreter would have, and then ipykernel; returns when the kernel has ended."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(asked["env"], JPY_PARENT_PID=str(os.getppid()))
    os.chdir(asked["cwd"])
    _reseed()
    launcher = importlib.util.find_spec("ipykernel_launcher")
    sys.argv = [launcher.origin if launcher and launcher.origin else "", *asked["argv"]]
    from ipykernel.kernelapp import launch_new_instance

    _end_at_once()
    launch_new_instance()


def _end_at_once() -> None:
    """Flush no longer than needed after a shutdown: ipykernel waits 10 seconds when its output thread has gone."""
    from ipykernel.iostream import OutStream
    from ipykernel.ipkernel import IPythonKernel

    kind: Any = IPythonKernel
    stream: Any = OutStream
    shut_down = kind.do_shutdown

    def do_shutdown(kernel: Any, restart: bool) -> Any:
        sys.stdout.flush()
        stream.flush_timeout = _LAST_FLUSH
        return shut_down(kernel, restart)

    kind.do_shutdown = do_shutdown


def _reseed() -> None:
    """Random numbers of a kernel's own; `random` sees to itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()


def _execute(statement: str) -> None:
    with suppress(Exception):  # the notebook's own import will say it better
        exec(statement, {"__name__": "__main__"})  # noqa: S102  an import statement of the notebook that will run here


def _why_not(at_first: set[str]) -> str:
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        return f"starts a thread ({threads[0]})"
    if _open_sockets() - at_first:
        return "opens a connection"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "initialises CUDA"
    return ""


def _open_sockets() -> set[str]:
    """The sockets of this process, where /proc can say it."""
    found = set()
    with suppress(OSError):
        for place in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found.add(str(place.readlink()))
    return {place for place in found if place.startswith("socket:")}


def _reap(child: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        return -signal.SIGKILL


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
