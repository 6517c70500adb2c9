"""A Dask cluster of its own, an MLflow server on PostgreSQL, and a worker killed in the middle: all is counted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.testing import simulated_provider
from tests.ledger.test_servers import free_port, postgres, postgres_server, until  # noqa: F401  fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ITEMS = int(os.environ.get("FANOUT_ITEMS", "30"))
CELL = """
import os, time
from pathlib import Path
from openai import OpenAI
from prodkit.capture import run
from prodkit.testing import openai_options

client = OpenAI(**openai_options())
with run("classify"):
    for part in range(2):
        if part == 1 and n == 7 and not Path("fixed").exists():
            Path("pid.part").write_text(str(os.getpid()))
            Path("pid.part").rename("bought")
            time.sleep(600)
        question = [{"role": "user", "content": f"Ticket {n}, part {part}: my invoice is wrong."}]
        client.chat.completions.create(model="gpt-4o-mini", messages=question, max_tokens=8)
"""


@pytest.fixture
def cluster(tmp_path: Path, postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: F811
    """The address of a scheduler with two worker processes, which see the server and the provider."""
    provider = simulated_provider(latency=0.0)
    for name, value in {**provider.environment(), "MLFLOW_TRACKING_URI": postgres_server.uri}.items():
        monkeypatch.setenv(name, value)
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    worker = [*dask, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    with (tmp_path / "dask.log").open("wb") as log:
        started = [subprocess.Popen(line, stdout=log, stderr=log, cwd=tmp_path) for line in (scheduler, worker)]
    try:
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_a_killed_worker_of_a_real_cluster_costs_only_its_item(
    make_job: Callable[..., Path],
    cluster: str,
    postgres_server: Any,  # noqa: F811
) -> None:
    """Every item succeeds once, each call is paid and shipped once, and only the killed item has a second run."""
    import psutil
    from mlflow import MlflowClient

    provider = simulated_provider(latency=0.0)
    before = provider.stats()["requests"]
    job = make_job(CELL, parameters={"n": ("int", 0)})
    root = job.parents[1]
    (root / "items.csv").write_text("n\n" + "\n".join(map(str, range(ITEMS))) + "\n")
    work = root / "notebooks"

    def kill() -> None:
        until((work / "bought").exists, 600, "the item never got so far")
        kernel = psutil.Process(int((work / "bought").read_text()))
        (work / "fixed").touch()
        next(one for one in kernel.parents() if "spawn_main" in " ".join(one.cmdline())).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command = [sys.executable, "-m", "prodkit", "run", str(job), "--over", str(root / "items.csv"), "--engine", "dask"]
    subprocess.run([*command, "--scheduler", cluster], cwd=root, check=True)
    killer.join(1)
    client = MlflowClient(postgres_server.uri)
    places = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(places, max_results=50_000)
    items = [run.info.status for run in runs if run.data.tags.get("prodkit.kind") == "item"]
    assert (items.count("FINISHED"), items.count("KILLED"), len(items)) == (ITEMS, 1, ITEMS + 1)
    assert [run.info.run_name for run in runs if run.info.status == "RUNNING"] == []
    assert provider.stats()["requests"] - before == 2 * ITEMS
    traces, page = [], None
    while page is None or page.token:
        page = client.search_traces(locations=places, max_results=500, page_token=page.token if page else None)
        traces += [trace.info.trace_id for trace in page]
    assert len(traces) == len(set(traces)) == 2 * ITEMS + 1  # the killed item's first call, and its answer served again
