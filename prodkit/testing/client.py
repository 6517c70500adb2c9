"""The handle of a simulated provider: starts it as a child process, or reuses the one that is running."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Self

from prodkit.errors import ConfigError, TransientError
from prodkit.manifest.project import SIMULATION_VARIABLE

URL_VARIABLE = "PRODKIT_SIMULATED_URL"
KEY = "simulated"
_START_SECONDS = 30.0

_lock = threading.Lock()
_running: SimulatedProvider | None = None


@dataclass(eq=False)
class SimulatedProvider:
    """A running simulated provider. Also a context manager that closes it.

    Attributes:
        url: `http://127.0.0.1:PORT`, without `/v1`.
    """

    url: str
    process: subprocess.Popen[str] | None = field(default=None, repr=False)  # None: somebody else's, left running
    owner: int = field(default_factory=os.getpid, repr=False)

    def openai_options(self) -> dict[str, str]:
        """Keyword arguments for `openai.OpenAI(...)` and `AsyncOpenAI(...)`."""
        return {"base_url": f"{self.url}/v1", "api_key": KEY}

    def anthropic_options(self) -> dict[str, str]:
        """Keyword arguments for `anthropic.Anthropic(...)` and `AsyncAnthropic(...)`."""
        return {"base_url": self.url, "api_key": KEY}

    def environment(self) -> dict[str, str]:
        """Variables for a child process that shall use this provider."""
        return {URL_VARIABLE: self.url}

    def outage(self, requests: int = 3, status: int = 503) -> None:
        """Let the next `requests` requests fail with this HTTP status; 0 ends an outage."""
        self._control("outage", {"requests": requests, "status": status})

    def stats(self) -> dict[str, Any]:
        """Figures since the start: `requests`, `failed`, `by_path`, `by_model`, `tokens` (input, output), `failing`."""
        return self._control("stats")

    def alive(self) -> bool:
        """Whether it answers."""
        if self.process is not None and self.owner == os.getpid() and self.process.poll() is not None:
            return False
        try:
            return self.stats().get("simulated") is True
        except TransientError:
            return False

    def close(self) -> None:
        """End the child process. Closing twice, or one that another process has started, does nothing."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _control(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  our own loopback server
            f"{self.url}/_prodkit/{name}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        try:
            with opener.open(request, timeout=5) as response:
                answer: dict[str, Any] = json.loads(response.read())
        except (OSError, ValueError) as error:
            raise TransientError(
                "testing.provider-gone",
                "The simulated provider doesn't answer.",
                where=self.url,
                fix=f"start a new one with simulated_provider(), or unset {URL_VARIABLE}",
            ) from error
        return answer


def simulated_provider(*, seed: int = 0, latency: float = 0.03, fresh: bool = False) -> SimulatedProvider:
    """The simulated provider of this process: the one at `PRODKIT_SIMULATED_URL`, else a child process of ours.

    A second call gives the same one, and it ends with this process. In an exported job none is started: production
    never gets made-up answers because a key is missing. There only the one at `PRODKIT_SIMULATED_URL` is used.

    Args:
        seed: of its latencies and of answers with a temperature above 0.
        latency: median seconds until a response begins.
        fresh: start another one in any case; the caller closes it.

    Raises:
        ConfigError: `testing.provider-start`, the child process didn't start; `testing.simulation-off`, this is a job.
    """
    if fresh:
        _refuse_in_a_job()
        return _start(seed, latency)
    global _running  # noqa: PLW0603  one provider for each process is the point
    with _lock:
        if _running is None or not _running.alive():
            _running = _from_environment()
        if _running is None:
            _refuse_in_a_job()
            _running = _start(seed, latency)
        return _running


def openai_options() -> dict[str, str]:
    """`{}` when `OPENAI_API_KEY` is set, else the simulated provider's options: `OpenAI(**openai_options())`."""
    return {} if _has_key("OPENAI_API_KEY") else simulated_provider().openai_options()


def anthropic_options() -> dict[str, str]:
    """`{}` when `ANTHROPIC_API_KEY` is set, else the simulated provider's options."""
    return {} if _has_key("ANTHROPIC_API_KEY") else simulated_provider().anthropic_options()


def _has_key(variable: str) -> bool:
    """Whether there is a key; in a job without one this is the error, as the variable's name is known here."""
    if os.environ.get(variable):
        return True
    if not os.environ.get(URL_VARIABLE):
        _refuse_in_a_job(f"There is no {variable}, and a job's answers are never simulated.", variable)
    return False


def _refuse_in_a_job(
    what: str = "A job's answers are never simulated, and no provider is named.", key: str = "the provider's key"
) -> None:
    if os.environ.get(SIMULATION_VARIABLE, "").lower() == "off":
        raise ConfigError(
            "testing.simulation-off",
            what,
            fix=f"set {key}; to try the job with made-up answers: {SIMULATION_VARIABLE}=on prodkit run ...",
        )


def _from_environment() -> SimulatedProvider | None:
    url = os.environ.get(URL_VARIABLE, "").rstrip("/").removesuffix("/v1")
    if not url:
        return None
    provider = SimulatedProvider(url)
    return provider if provider.alive() else None


def _start(seed: int, latency: float) -> SimulatedProvider:
    command = [sys.executable, "-m", "prodkit.testing.provider", "--parent", str(os.getpid())]
    process = subprocess.Popen(
        [*command, "--seed", str(seed), "--latency", str(latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt in the notebook must not end it
    )
    line = _first_line(process)
    try:
        provider = SimulatedProvider(json.loads(line)["url"], process)
    except (ValueError, KeyError):
        process.kill()
        _, trouble = process.communicate()
        raise ConfigError(
            "testing.provider-start",
            "The simulated provider didn't start: " + (trouble.strip().splitlines() or ["it printed nothing"])[-1],
            fix="try `python -m prodkit.testing.provider` by hand",
        ) from None
    if process.stderr is not None:
        process.stderr.close()
    atexit.register(provider.close)
    return provider


def _first_line(process: subprocess.Popen[str]) -> str:
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        return process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()
