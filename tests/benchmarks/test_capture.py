"""What a captured call costs its caller, beside MLflow's own asynchronous autologging, in the same run.

Run with `pytest tests/benchmarks/test_capture.py --benchmark-enable -s`; it prints the figures. Both sides make the same
calls with the real openai SDK, each in a process of its own on a fresh SQLite: at a server on this machine that answers at
once over HTTP, and at a provider that takes 20 ms, as a fast one does. A third one answers from memory, at once, so
that the caller and all that goes on behind it share one interpreter without a pause: it shows what capture itself costs.
Beside the caller's wall time stands the CPU of the whole process. prodkit runs with its shipping process, as by default.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 5
CALLS = 200
WAITING_CALLS = 60
FIGURES = ("p50", "mean", "p99", "process CPU")

SCRIPT = """
    import json, sys, threading, time, warnings
    warnings.simplefilter("ignore")
    import httpx2
    from openai import OpenAI

    side, calls, latency, url = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    BODY = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
            "system_fingerprint": "simulated-0",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "billing"}}],
            "usage": {"prompt_tokens": 120, "completion_tokens": 2, "total_tokens": 122}}

    def answer(request):
        time.sleep(latency)
        return httpx2.Response(200, json=BODY)

    transport = httpx2.MockTransport(answer if latency else lambda request: httpx2.Response(200, json=BODY))
    http = None if url else httpx2.Client(transport=transport)
    client = OpenAI(api_key="x", base_url=url or "http://127.0.0.1:9/v1", http_client=http)
    PROMPT = "Classify this ticket: the invoice of March shows the wrong amount, please correct it. " * 6

    def call(number):
        client.chat.completions.create(
            model="gpt-4o-mini", temperature=0, messages=[{"role": "user", "content": f"{PROMPT}{number}"}]
        )

    def measure():
        for number in range(20):
            call(number)
        seconds, cpu = [], time.process_time()
        for number in range(calls):
            begun = time.perf_counter()
            call(number)
            seconds.append(time.perf_counter() - begun)
        cpu = time.process_time() - cpu
        seconds.sort()
        figures = {"p50": seconds[calls // 2], "p99": seconds[int(calls * 0.99)], "mean": sum(seconds) / calls}
        return {**figures, "process CPU": cpu / calls}

    bare = measure()
    if side == "mlflow":
        import mlflow
        mlflow.set_experiment("benchmark")
        mlflow.openai.autolog()
        with mlflow.start_run():
            captured = measure()
        mlflow.flush_trace_async_logging()
    else:
        import prodkit
        with prodkit.run("benchmark"):
            captured = measure()
    print(json.dumps({"bare": bare, "captured": captured}))
"""


def _measure(side: str, folder: Path, template: Path, calls: int, latency: float, url: str) -> dict[str, float]:
    """Microseconds per call, less those of the same call without capture."""
    (folder / ".prodkit").mkdir(parents=True)
    (folder / "prodkit.yaml").write_text("service: {name: benchmark}\n")
    shutil.copy(template, folder / ".prodkit" / "mlflow.db")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PRODKIT_PROJECT": str(folder), "PRODKIT_SHIPPER": "helper"}
    if side == "mlflow":
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / '.prodkit' / 'mlflow.db'}"
    command = [sys.executable, str(script), side, str(calls), str(latency), url]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (found["captured"][name] - found["bare"][name]) * 1e6 for name in FIGURES}


@pytest.mark.parametrize("provider", ["from memory", "over HTTP", "after 20 ms"])
@pytest.mark.timeout(600)
def test_a_captured_call_costs_its_caller_no_more_than_mlflows(request, tmp_path, mlflow_template, provider):
    """A captured call, priced, redacted and in the durable journal, costs its caller at most what MLflow's does."""
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("timed claims are checked with --benchmark-enable")
    calls, latency = (WAITING_CALLS, 0.02) if provider == "after 20 ms" else (CALLS, 0)
    figures = {side: [] for side in ("mlflow", "prodkit")}
    with simulated_provider(latency=0.0, fresh=True) if provider == "over HTTP" else nullcontext() as server:
        url = server.openai_options()["base_url"] if server is not None else ""
        for number in range(ROUNDS):
            for side, rounds in figures.items():
                rounds.append(_measure(side, tmp_path / f"{side}-{number}", mlflow_template, calls, latency, url))
    print()
    for side, rounds in figures.items():
        parts = {name: statistics.median(one[name] for one in rounds) for name in FIGURES}
        print(f"{side:8}" + "".join(f"  {name} {value:8.0f} us" for name, value in parts.items()))
    mean = {side: statistics.median(one["mean"] for one in rounds) for side, rounds in figures.items()}
    print(f"ratio of the means, prodkit to MLflow: {mean['prodkit'] / mean['mlflow']:.2f}")
    assert mean["prodkit"] <= mean["mlflow"]
