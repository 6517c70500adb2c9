"""Forked kernels: what they import is there at once, and nothing goes from one item to the next."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import run_over
from prodkit.jobs.forks import close_templates, template_for
from prodkit.jobs.imports import leading_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEN = """
import json, os, random, sys, textwrap, warnings
import numpy as np
from pathlib import Path
"""
LEAVE_EVERYTHING = """
seen = {
    "global": "left" in globals(),
    "builtin": hasattr(__builtins__, "left"),
    "environment": os.environ.get("LEFT"),
    "folder": os.getcwd(),
    "attribute": textwrap.fill("x"),
    "path": "/left" in sys.path,
    "module": "left_module" in sys.modules,
    "filters": any(one[1] is not None and one[1].pattern == "left" for one in warnings.filters),
    "files": [fd for fd in os.listdir("/proc/self/fd") if "left-" in os.path.realpath(f"/proc/self/fd/{fd}")],
    "random": random.random(),
    "numpy": float(np.random.random()),
    "pid": os.getpid(),
    "parent": os.getppid(),
    "job_run": os.environ["PRODKIT_JOB_RUN"],
    "signals": os.getpgrp() == os.getpid(),
    "count": get_ipython().execution_count,
}
Path(f"seen-{n}.json").write_text(json.dumps(seen))
left = open(f"left-{n}", "w")
import builtins, types
builtins.left = 1
os.environ["LEFT"] = str(n)
sys.path.append("/left")
sys.modules["left_module"] = types.ModuleType("left_module")
warnings.filterwarnings("ignore", message="left")
random.seed(1); np.random.seed(1)
os.chdir("/")
textwrap.fill = lambda text: "patched"
"""


@pytest.fixture(autouse=True)
def _no_template_is_left() -> Iterator[None]:
    yield
    close_templates()


def note(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (("import a, b.c as d\nfrom e import f",), ("import a", "import b.c as d", "from e import f")),
        (("'text'\nX = 1\nimport a\n\ndef f(): g()", "import b"), ("import a", "import b")),
        (("import os\nos.environ['A'] = '1'\nimport a",), ("import os",)),
        (("import sys\nsys.path.insert(0, 'src')", "import mine"), ("import sys",)),
        (("import a\n%load_ext x", "import b"), ()),
        (("import a", "x = a.start()\nimport b"), ("import a",)),
        (("from __future__ import annotations\nimport a\nfrom . import b",), ("import a",)),
    ],
)
def test_only_imports_that_nothing_could_have_changed(cells: tuple[str, ...], found: tuple[str, ...]) -> None:
    """Imports are made ahead up to the first statement that may change what a later one finds."""
    assert leading_imports(note(*cells)) == found


def test_nothing_goes_from_one_item_to_the_next(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """Globals, builtins, environment, folder, random seeds, patched modules, search path, filters and open files of
    an item are unknown to the next one, which is a process of its own forked from the same template.
    """
    job = make_job(SEEN, LEAVE_EVERYTHING, parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n3\n")
    whole = run_over(job, over, workers=1, ledger=remembering_ledger)
    assert whole.counts == {"ok": 3}, whole
    work = job.parents[1] / "notebooks"
    seen = [json.loads((work / f"seen-{n}.json").read_text()) for n in (1, 2, 3)]
    for one in seen:
        own = {name: one[name] for name in ("random", "numpy", "pid", "job_run", "parent")}
        assert {name: value for name, value in one.items() if name not in own} == {
            "global": False,
            "builtin": False,
            "environment": None,
            "folder": str(work),
            "attribute": "x",
            "path": False,
            "module": False,
            "filters": False,
            "files": [],
            "signals": True,
            "count": 5,
        }
    for name in ("random", "numpy", "pid", "job_run"):
        assert len({one[name] for one in seen}) == 3, name
    assert len({one["parent"] for one in seen}) == 1
    assert seen[0]["parent"] != os.getpid()


def test_a_project_s_own_modules_are_imported_by_each_item(
    make_job: Callable[..., Path], remembering_ledger: Any
) -> None:
    """A module of the project reads the item's own variables when it is imported, as in a fresh kernel."""
    job = make_job(
        "import own_settings\nfrom pathlib import Path",
        "Path(f'run-{n}').write_text(own_settings.RUN)",
        parameters={"n": ("int", 0)},
    )
    work = job.parents[1] / "notebooks"
    (work / "own_settings.py").write_text("import os\nRUN = os.environ['PRODKIT_JOB_RUN']\n")
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n")
    whole = run_over(job, over, workers=1, ledger=remembering_ledger)
    assert [(work / f"run-{n}").read_text() for n in (1, 2)] == [item.run for item in whole.items]


def test_a_dead_kernel_costs_its_item_only(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """A kernel that is killed ends its item as `kernel-died`; its siblings and those after it succeed."""
    job = make_job("import os, signal", "if n == 2: os.kill(os.getpid(), signal.SIGKILL)", parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n3\n4\n")
    whole = run_over(job, over, workers=2, ledger=remembering_ledger)
    assert [item.outcome.value for item in whole.items] == ["ok", "kernel-died", "ok", "ok"]
    assert whole.outcome is Outcome.KERNEL_DIED


def test_a_killed_template_is_made_anew(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """When the template itself is killed, what ran in it is told as it was, and the next items get a new one."""
    job = make_job(
        "import os, signal, time",
        "if n == 1: os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
        parameters={"n": ("int", 0)},
    )
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n")
    whole = run_over(job, over, workers=1, ledger=remembering_ledger)
    assert [item.outcome.value for item in whole.items] == ["kernel-died", "ok"]


def test_what_can_t_be_forked_is_imported_by_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed module that starts a thread when it is imported isn't imported ahead; the others are."""
    import sysconfig
    import uuid

    name = f"threaded_{uuid.uuid4().hex}"
    module = Path(sysconfig.get_path("purelib")) / f"{name}.py"
    module.write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n")
    try:
        template = template_for("python3", note(f"import wave\nimport {name}"), {}, tmp_path)
        assert template is not None
        from prodkit.jobs.kernel import Kernel

        async def loaded() -> str:
            kernel = Kernel("python3", cwd=tmp_path, template=template)
            await kernel.start()
            try:
                asked = f"str([n in __import__('sys').modules for n in ('wave', '{name}')])"
                return await kernel.evaluate(asked)
            finally:
                await kernel.stop(grace=5)

        import asyncio

        assert asyncio.run(loaded()) == "[True, False]"
    finally:
        module.unlink()


def test_another_kind_of_kernel_is_started_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel spec that isn't ipykernel's own launcher has no template."""
    spec = tmp_path / "kernels" / "wrapped"
    spec.mkdir(parents=True)
    argv = ["sh", "-c", "exec python -m ipykernel_launcher -f $0", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "w", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert template_for("wrapped", note("import json"), {}, tmp_path) is None


def test_kernels_end_with_their_worker(tmp_path: Path) -> None:
    """When a worker is killed, its template and the kernels that still run are gone within two seconds."""
    import subprocess
    import sys

    import psutil

    code = (
        "import asyncio, sys, nbformat\nfrom pathlib import Path\n"
        "from prodkit.jobs.forks import template_for\nfrom prodkit.jobs.kernel import Kernel\n"
        "async def go():\n"
        "    t = template_for('python3', nbformat.v4.new_notebook(), {}, Path.cwd())\n"
        "    k = Kernel('python3', cwd=Path.cwd(), template=t)\n    await k.start()\n"
        "    print(k.manager.provisioner.pid, t._process.pid, flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(go())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as worker:
        assert worker.stdout is not None
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        processes = [psutil.Process(pid) for pid in pids]
        worker.send_signal(signal.SIGKILL)
    assert len(processes) == 2
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive, alive


def test_a_cell_is_interrupted_and_its_kernel_leaves(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """A forked kernel is interrupted like any other: a cell over its time ends as transient, promptly."""
    job = make_job("import time\ntime.sleep(60)", parameters={"n": ("int", 0)}, cell_timeout=0.5)
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n")
    began = time.monotonic()
    whole = run_over(job, over, ledger=remembering_ledger)
    assert [(item.outcome, item.error) for item in whole.items] == [(Outcome.TRANSIENT, "CellTimeout")]
    assert time.monotonic() - began < 30
