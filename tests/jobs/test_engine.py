"""The engine's record of a run is true after every end, and the notebook on disk is whole at every moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from prodkit.errors import ConfigError, KernelDiedError, TransientError
from prodkit.jobs.ends import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.record import End

SLEEPS = "import time\nprint('began', flush=True)\ntime.sleep(600)"


def execute(source: Path, **options: Any) -> tuple[nbformat.NotebookNode, End | None, BaseException | None]:
    """Run a notebook through papermill with the engine; the saved notebook, how it ended, and what was raised."""
    ends: list[End] = []
    output = source.with_name(f"out-{source.name}")
    raised = None
    try:
        papermill.execute_notebook(
            source, output, engine_name="prodkit", progress_bar=False, on_end=ends.append, **options
        )
    except Exception as error:
        raised = error
    saved = nbformat.read(output, 4)
    nbformat.validate(saved)
    return saved, ends[0] if ends else None, raised


def statuses(nb: nbformat.NotebookNode) -> list[str]:
    """The status of each cell, without the notes that papermill inserts."""
    return [cell.metadata.papermill.status for cell in nb.cells if "papermill" in cell.metadata]


def text(nb: nbformat.NotebookNode, cell: int) -> str:
    """What one cell printed."""
    return "".join(output.get("text", "") for output in nb.cells[cell].outputs)


def test_a_failed_cell_leaves_the_rest_pending(make_notebook: Callable[..., Path]) -> None:
    """After a cell's error the cells before are completed, it is failed, and those after are pending, not completed."""
    path = make_notebook("x = 1", ("undefined_name", ["retry=3"]), "y = 2")
    saved, end, raised = execute(path)
    assert isinstance(raised, PapermillExecutionError)
    assert statuses(saved) == ["completed", "failed", "pending"]
    assert saved.metadata.papermill.exception is True
    assert (saved.metadata.prodkit.run.outcome, saved.metadata.prodkit.run.exit_code) == ("failed", 1)
    assert end is not None
    assert end.error == "NameError"
    assert "tries" not in saved.cells[1].metadata.get("prodkit", {})  # a mistake in the code isn't tried again


def test_a_dead_kernel_is_told(make_notebook: Callable[..., Path]) -> None:
    """When the kernel's process is killed in a cell, that cell is failed, with what it had printed, and the error says so."""
    path = make_notebook(
        "x = 1", "import os, time\nprint('last words', flush=True)\ntime.sleep(.2)\nos.kill(os.getpid(), 9)", "y = 2"
    )
    saved, end, raised = execute(path)
    assert isinstance(raised, KernelDiedError)
    assert statuses(saved) == ["completed", "failed", "pending"]
    assert text(saved, 1) == "last words\n"
    assert saved.metadata.prodkit.run.outcome == "kernel-died"
    assert end is not None
    assert end.outcome.exit_code == 138


def test_a_cell_timeout_interrupts_even_the_deaf(make_notebook: Callable[..., Path]) -> None:
    """A cell that runs too long is interrupted; one that swallows the interrupt is killed with its kernel, not waited for."""
    deaf = """
        import os, time
        print(os.getpid(), flush=True)
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                print("I go on", flush=True)
    """
    saved, end, raised = execute(make_notebook("x = 1", deaf, "y = 2"), execution_timeout=2, grace=1.5)
    assert isinstance(raised, TransientError)
    assert raised.code == "jobs.cell-timeout"
    assert statuses(saved) == ["completed", "failed", "pending"]
    assert "I go on" in text(saved, 1)
    assert end is not None
    assert end.outcome is Outcome.TRANSIENT
    with pytest.raises(ProcessLookupError):
        os.kill(int(text(saved, 1).split()[0]), 0)


def test_the_deadline_is_for_the_whole_notebook(make_notebook: Callable[..., Path]) -> None:
    """A job that passes its deadline ends in the cell that runs then, with that cell's outputs kept."""
    path = make_notebook("x = 1", SLEEPS, "y = 2")
    for allowed in (2.5, 10, 40):  # on a busy machine the kernel alone may take longer than the first
        saved, end, raised = execute(path, job_timeout=allowed)
        if statuses(saved)[0] == "completed":
            break
    assert isinstance(raised, TransientError)
    assert raised.code == "jobs.deadline"
    assert statuses(saved) == ["completed", "failed", "pending"]
    assert text(saved, 1) == "began\n"
    assert saved.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert end is not None
    assert end.error == "JobDeadline"


def test_a_good_run_keeps_what_belongs_in_the_notebook(make_notebook: Callable[..., Path]) -> None:
    """Retried cells keep the kernel's state, outputs are capped and in order, displays update, secrets are masked."""
    path = make_notebook(
        "from IPython.display import display\ntries = []\nshown = display('waiting', display_id=True)",
        ("tries.append(1)\nif len(tries) < 2: raise ConnectionError('down')\nprint(len(tries))", ["retry=2"]),
        "for n in range(3): print(n)\nprint('é' * 10, end='')",
        "print('x' * 5000); print('y' * 5000); print('z' * 5000)",
        "shown.update('done')\nprint('the key is hush-hush')\nimport sys; sys.exit(0)",
        "never = 1",
    )
    events: list[Any] = []
    saved, end, raised = execute(path, output_cap=10_100, mask=("hush-hush",), on_event=events.append)
    assert raised is None
    assert end is not None
    assert end.outcome is Outcome.OK
    assert statuses(saved) == ["completed"] * 5 + ["pending"]
    assert saved.cells[0].outputs[0].data["text/plain"] == "'done'"
    assert text(saved, 1) == "2\n"
    assert [t.error for t in saved.cells[1].metadata.prodkit.tries] == ["ConnectionError"]
    assert [output.text for output in saved.cells[2].outputs] == ["0\n1\n2\n" + "é" * 10]
    assert len(text(saved, 3)) < 10_300
    assert "dropped" in text(saved, 3)
    assert text(saved, 4).startswith("the key is [secret]\n")
    assert [(event.kind, event.position) for event in events][:4] == [
        ("start", 1),
        ("end", 1),
        ("start", 2),
        ("retry", 2),
    ]
    assert saved.metadata.language_info.name == "python"


def test_an_unknown_kernel_is_a_configuration_error(make_notebook: Callable[..., Path]) -> None:
    """A kernel spec that isn't installed is one clear error that names what is there; the record says misconfigured."""
    saved, _, raised = execute(make_notebook("x = 1", kernel="python-from-elsewhere"))
    assert isinstance(raised, ConfigError)
    assert "jupyter" not in raised.what.lower()
    assert statuses(saved) == ["pending"]
    assert saved.metadata.prodkit.run.outcome == "misconfigured"


DRIVER = """
import resource, sys
from prodkit.errors import ProdkitError
import papermill
if sys.argv[3] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    papermill.execute_notebook(sys.argv[1], sys.argv[2], engine_name="prodkit", progress_bar=False)
except ProdkitError as error:
    print(error.code)
    sys.exit(error.exit_code)
"""


def end_process(source: Path, how: str) -> tuple[int, str, nbformat.NotebookNode]:
    """Run a notebook in a process of its own and end that process in its second cell: exit code, output, notebook."""
    output = source.with_name(f"out-{how}.ipynb")
    command = [sys.executable, "-c", DRIVER, str(source), str(output), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=source.parent) as process:
        number = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGKILL": signal.SIGKILL}.get(how)
        ready = re.compile(f"began-{how} [0-9]+")  # printed; the source alone doesn't match
        while number and not (output.exists() and ready.search(output.read_text())) and process.poll() is None:
            time.sleep(0.05)
        if number:
            process.send_signal(number)
        said = process.communicate(timeout=120)[0]
        return process.returncode, said, nbformat.read(output, 4)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, nbformat.NotebookNode]]:
    """The same notebook, ended in four ways by four processes that run at the same time."""
    folder = tmp_path_factory.mktemp("ends")
    cells = {
        how: ["x = 1", f"import os, time\nprint('began-{how}', os.getpid(), flush=True)\ntime.sleep(600)", "y = 2"]
        for how in ("SIGTERM", "SIGINT", "SIGKILL")
    }
    cells["full"] = ["x = 1", "import time\nprint('x' * 1_000_000, flush=True)\ntime.sleep(600)", "y = 2"]
    for how, sources in cells.items():
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        nbformat.write(nb, folder / f"{how}.ipynb")
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda how: end_process(folder / f"{how}.ipynb", how), cells)
        return dict(zip(cells, done, strict=True))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_signal_is_an_end_like_others(how: str, ended: dict[str, tuple[int, str, nbformat.NotebookNode]]) -> None:
    """SIGTERM and SIGINT interrupt the cell, save, and exit with 143; the record says terminated."""
    code, said, saved = ended[how]
    assert (code, said) == (143, "jobs.terminated\n")
    assert statuses(saved) == ["completed", "failed", "pending"]
    assert saved.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert saved.metadata.prodkit.run.outcome == "terminated"


def test_kill_9_leaves_a_true_notebook(ended: dict[str, tuple[int, str, nbformat.NotebookNode]]) -> None:
    """After kill -9 the notebook is whole and says running, by a process that can be looked for; its kernel is gone."""
    code, _, saved = ended["SIGKILL"]
    assert code == -signal.SIGKILL
    assert statuses(saved) == ["completed", "running", "pending"]
    assert saved.metadata.prodkit.run.outcome == "running"
    with pytest.raises(ProcessLookupError):
        os.kill(saved.metadata.prodkit.run.pid, 0)
    kernel = int(text(saved, 1).split()[1])
    for _ in range(100):  # the kernel looks for its parent once a second
        if not Path(f"/proc/{kernel}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the kernel outlived its runner")


def test_a_full_disk_ends_the_run_and_keeps_the_last_save(
    ended: dict[str, tuple[int, str, nbformat.NotebookNode]],
) -> None:
    """When the notebook can't be saved the run stops at once with one clear error; what was saved before is whole."""
    code, said, saved = ended["full"]
    assert (code, said) == (75, "jobs.cannot-save\n")
    assert statuses(saved)[0] in {"pending", "completed", "running"}


def test_whoever_is_imported_first() -> None:
    """Papermill loads the engine while it is imported itself: either order works, and the engine alone stays light."""
    first = "import prodkit.jobs.engine, sys; assert 'papermill' not in sys.modules; import papermill.engines as e"
    second = "import papermill.engines as e"
    check = "assert e.papermill_engines.get_engine('prodkit').__name__ == 'ProdkitEngine'"
    for order in (first, second):
        subprocess.run([sys.executable, "-c", f"{order}; {check}"], check=True)


async def test_inside_a_running_loop(make_notebook: Callable[..., Path]) -> None:
    """A notebook that runs jobs has an event loop of its own already; the engine works there too."""
    saved, _, raised = execute(make_notebook("await __import__('asyncio').sleep(0)\nprint('ran')"))
    assert raised is None
    assert text(saved, 0) == "ran\n"


def test_an_error_gives_no_secret_away(make_notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in an exception's text, in a chained one or on stderr is in no place of the saved notebook; results stay."""
    key, password = "sk-proj-4f8Kd02mXq7Zr5TnWb3Lc9", "hunter2-Tr0ub4dor"
    monkeypatch.setenv("THE_KEY", key)
    monkeypatch.setenv("THE_PASSWORD", password)
    path = make_notebook(
        "import os, sys\nprint('a result of ana@northwind.test')\n"
        "print(f\"GET /v1 authorization: Bearer {os.environ['THE_KEY']}\", file=sys.stderr)",
        "try:\n    raise KeyError(f\"api_key={os.environ['THE_KEY']}\")\nexcept KeyError as error:\n"
        "    raise ValueError(f\"can't open postgresql://ada:{os.environ['THE_PASSWORD']}@db/shop\") from error",
    )
    _, end, raised = execute(path)
    written = path.with_name(f"out-{path.name}").read_text()
    assert key not in written
    assert password not in written
    assert key not in str(raised)
    assert password not in str(raised)
    assert "a result of ana@northwind.test" in written
    assert end is not None
    assert end.failure is not None
    assert (end.outcome, end.failure.name) == (Outcome.FAILED, "ValueError")
    assert "[redacted:" in written


@pytest.mark.parametrize(
    ("command", "error"), [("kill -KILL $$", TransientError), ("exit 3", ConfigError)], ids=["killed", "ended"]
)
def test_a_kernel_that_does_not_start_says_whether_to_retry(
    command: str,
    error: type[Exception],
    make_notebook: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel that is killed while it starts is worth another attempt; one that ends by itself isn't."""
    spec = tmp_path / "kernels" / "broken"
    spec.mkdir(parents=True)
    argv = ["/bin/sh", "-c", command, "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "broken", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    _, _, raised = execute(make_notebook("x = 1", kernel="broken"))
    assert isinstance(raised, error)
    assert "jobs.kernel-start" in str(raised)
