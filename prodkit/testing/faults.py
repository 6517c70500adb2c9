"""The fault server: an OpenAI- and Anthropic-compatible server on loopback that fails as it is told to.

    with FaultServer(scale=0.1) as server:
        server.inject("503", models={"gpt-4o"})  # every other model answers well
        client = OpenAI(**server.openai_options())
        ...
        assert server.requests["gpt-4o"] <= 3

It runs in a thread of the test's own process and counts what reaches it. `FAULTS` lists what it can do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from prodkit.errors import ConfigError, nearest
from prodkit.testing.catalogue import FAULTS, Fault
from prodkit.testing.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["FAULTS", "Fault", "FaultServer"]

_TLS_HANDSHAKE = b"\x16"


@dataclass
class _Injected:
    """A fault that is in force, and how many requests it has still to spoil."""

    fault: Fault
    models: frozenset[str] | None
    left: int | None


class FaultServer:
    """A server that fails on purpose. A context manager; usable from any thread.

    Args:
        scale: multiplies the durations of faults: 0.1 makes `Retry-After: 1` a tenth of a second. Dates know whole
            seconds only and aren't scaled.

    Attributes:
        requests: requests that have reached the server, by model.
        connections: how many connections were opened, also those that never became a request.
    """

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale, self.port = scale, 0
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self._injected: list[_Injected] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------- what tests use

    def inject(self, name: str, *, models: AbstractSet[str] | None = None, times: int | None = None) -> Fault:
        """Put a fault into force, after those that are.

        Args:
            name: key of `FAULTS`.
            models: which models it spoils; None: all.
            times: how many requests; None: as many as the fault itself says, usually all.

        Raises:
            ConfigError: `testing.unknown-fault`.
        """
        if name not in FAULTS:
            raise ConfigError("testing.unknown-fault", f"There is no fault `{name}`.", fix=nearest(name, FAULTS))
        fault = FAULTS[name]
        with self._lock:
            chosen = None if models is None else frozenset(models)
            self._injected.append(_Injected(fault, chosen, fault.times if times is None else times))
        return fault

    def heal(self) -> None:
        """Take all faults back and forget the counts."""
        with self._lock:
            self._injected.clear()
            self.requests.clear()
            self.connections = 0

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    def url_for(self, fault: Fault | str) -> str:
        """The address at which this fault is found: faults of TLS, DNS and ports lie in the address."""
        address = (FAULTS[fault] if isinstance(fault, str) else fault).address
        if address == "tls":
            return f"https://127.0.0.1:{self.port}"
        if address == "dns":
            return "http://no-such-host.invalid"
        return f"http://127.0.0.1:{_closed_port()}" if address == "refused" else self.url

    def openai_options(self, url: str = "") -> dict[str, str]:
        """Keyword arguments for `OpenAI(...)` and `AsyncOpenAI(...)`."""
        return {"base_url": f"{url or self.url}/v1", "api_key": "simulated"}

    def anthropic_options(self, url: str = "") -> dict[str, str]:
        """Keyword arguments for `Anthropic(...)` and `AsyncAnthropic(...)`."""
        return {"base_url": url or self.url, "api_key": "simulated"}

    # ---------------------------------------------------------------------------------------------- its life

    def start(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="prodkit-faults", daemon=True)
        self._thread.start()
        started.wait(10)
        return self

    def close(self) -> None:
        """Stop, and drop every connection."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # the default backlog of 100 would drop connections of a storm
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side leaves."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            first = await reader.read(1)
            if first == _TLS_HANDSHAKE:
                Exchange(reader, writer).reset()
                return
            while not writer.is_closing():
                exchange = Exchange(reader, writer, scale=self.scale)
                if not await exchange.read(first):
                    break
                await self._play(exchange)
                first = b""
        writer.close()

    async def _play(self, exchange: Exchange) -> None:
        with self._lock:
            self.requests[exchange.model] += 1
            exchange.number = self.requests.total()
            injected = next((one for one in self._injected if self._spoils(one, exchange)), None)
            if injected is not None and injected.left is not None:
                injected.left -= 1
        if injected is None or injected.fault.play is None:
            await exchange.answer()
        else:
            await injected.fault.play(exchange)

    @staticmethod
    def _spoils(injected: _Injected, exchange: Exchange) -> bool:
        if injected.left == 0 or (injected.models is not None and exchange.model not in injected.models):
            return False
        return injected.fault.kind != "stream" or bool(exchange.body.get("stream"))


def _closed_port() -> int:
    """A port of loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
