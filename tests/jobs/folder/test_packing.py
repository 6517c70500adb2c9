"""What comes along with a job, what is refused, and what is looked for before a start."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import platform
import zipfile
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from prodkit.errors import ConfigError, DataError
from prodkit.jobs import export
from prodkit.jobs.exporting import drift
from prodkit.jobs.folder import Execution, JobFolder, seal
from prodkit.jobs.packing.machine import check_machine, this_platform, this_python
from prodkit.jobs.packing.modules import gather_modules
from prodkit.jobs.packing.releases import Gap, holding, mark, others_for, others_in
from prodkit.jobs.packing.wheels import wheel_of
from prodkit.jobs.reading import read_notebook
from prodkit.jobs.requirements import lock_of
from prodkit.jobs.runner import run_job
from prodkit.jobs.starting import find_place
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.packing.modules import Modules


@pytest.fixture
def write(sample_project: Path) -> Callable[..., Path]:
    """Replaces a code cell of the sample's notebook, or adds one."""

    def put(source: str) -> Path:
        path = sample_project / "work shop" / "sorting.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=f"more-{len(notebook.cells)}"))
        nbformat.write(notebook, path)
        return path

    return put


def exported(notebook: Path) -> Any:
    root = find_project(notebook.parent).root
    return export(notebook, root / "jobs" / "sorting", hashes=False, wheels=False)


def gathered(notebook: Path, *sources: str) -> Modules:
    trees = [ast.parse(source) for source in sources]
    return gather_modules(read_notebook(notebook), find_project(notebook.parent), trees)


def test_what_is_imported_and_read_comes_along(write: Callable[..., Path], sample_project: Path):
    """Modules come with what they import, texts with their path; data is listed with who reads it, and not copied."""
    report = exported(write("1"))
    index = JobFolder.load(report.job).index
    brought = {name for name in index.files if name.startswith(("modules/", "work shop/", "data"))}
    assert brought == {
        "modules/queues.py", "modules/tools/__init__.py", "modules/tools/counting.py",
        "work shop/.keep", "work shop/texts/words.txt",
    }  # fmt: skip
    assert {(need.path, need.who) for need in index.needs} == {
        ("data", "data source tickets"),
        ("work shop/sites.csv", "cell 7"),
    }
    runbook = (report.job / "README.md").read_text()
    assert "| `work shop/sites.csv` | cell 7 |" in runbook
    assert drift(sample_project / "work shop" / "sorting.ipynb", report.job) == ()
    (sample_project / "work shop" / "queues.py").write_text("def count(frame, words):\n    return {}\n")
    assert "modules/queues.py" in drift(sample_project / "work shop" / "sorting.ipynb", report.job)


def test_a_change_of_what_came_along_is_seen(write: Callable[..., Path]):
    """A module or a text that was changed by hand is named, and the approved digest isn't the folder's any more."""
    job = exported(write("1")).job
    before = JobFolder.load(job).digest
    (job / "modules" / "queues.py").write_text("# mine\n")
    assert JobFolder.load(job).changed() == ("modules/queues.py",)
    assert JobFolder.load(job).digest != before


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from queues import count", {"queues", "tools"}),
        ("import tools.counting as c", {"tools"}),
        ("import importlib\nimportlib.import_module('queues')", {"queues", "tools"}),
        ("import sys\nsys.path.insert(0, '../vendored')\nimport spare", {"spare"}),
        ("from loose.part import x", {"loose"}),
        ("import json, pandas, prodkit", set()),
    ],
)
def test_local_modules_are_found(sample_project: Path, source: str, found: set[str]):
    """However code imports what lies in the project, it is found; installed packages and Python's own aren't taken."""
    (sample_project / "vendored").mkdir()
    (sample_project / "vendored" / "spare.py").write_text("x = 1\n")
    (sample_project / "work shop" / "loose").mkdir()
    (sample_project / "work shop" / "loose" / "part.py").write_text("x = 1\n")
    assert gathered(sample_project / "work shop" / "sorting.ipynb", source).names == found


def test_a_folder_that_pip_wrote_to_holds_packages(
    sample_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What lies in a `pip install --target` folder on PYTHONPATH is installed, and no module of the project's."""
    _install(tmp_path / "target", "spare", "1.0")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "own.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'target'}:{tmp_path / 'plain'}")
    assert gathered(sample_project / "work shop" / "sorting.ipynb", "import spare, own").names == {"own"}


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("broken.py", b"def (:\n", "export.module"),
        ("built.cpython-311-x86_64-linux-gnu.so", b"\x7fELF", "export.module"),
        ("keyed.py", b"key = 'sk-proj-canary4f8Kd02mXq7Zr5Tn'\n", "lint.secret"),
    ],
)
def test_a_module_that_cannot_come_is_refused(sample_project: Path, name: str, content: bytes, code: str):
    """What isn't Python, is compiled, or holds a secret stops the export by its name."""
    (sample_project / "work shop" / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        gathered(sample_project / "work shop" / "sorting.ipynb", f"import {name.partition('.')[0]}")
    assert caught.value.code == code
    assert name in caught.value.where
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "needs", "texts"),
    [
        ("open('secret.txt').read()", {"work shop/secret.txt"}, set()),
        ("open('../words.md').read()", set(), {"words.md"}),
        ("here = Path('texts')\n(here / 'more.txt').read_text()", set(), {"work shop/texts/more.txt"}),
        ("import pandas as pd\npd.read_parquet('../lake/x.parquet')", {"lake/x.parquet"}, set()),
        ("open('out.txt', 'w').write('x')\nopen('out.txt').read()", set(), set()),
        ("if Path('cache.json').exists(): print(Path('cache.json').read_text())", set(), set()),
        ("import json\njson.loads('{}')\nopen('/etc/hosts')\nopen(month)", set(), set()),
        ("import pandas as pd\npd.read_csv('../data/tickets-2026-11.csv')", set(), set()),
    ],
)
def test_what_code_reads_is_found(
    write: Callable[..., Path], sample_project: Path, source: str, needs: set[str], texts: set[str]
):
    """Paths that are spelled out are found: clean small texts come, the rest is listed; what the code makes isn't."""
    (sample_project / "words.md").write_text("be kind\n")
    (sample_project / "work shop" / "texts" / "more.txt").write_text("be brief\n")
    (sample_project / "work shop" / "secret.txt").write_text("write to ada.canary@northwind-mail.com\n")
    source = source.replace("open('/etc/hosts')", "open('/etc/hosts')  # prodkit: allow absolute-path")
    index = JobFolder.load(exported(write(source)).job).index
    usual = {"data", "work shop/sites.csv"}
    assert {need.path for need in index.needs} - usual == needs
    assert set(index.texts) - {"work shop/texts/words.txt"} == texts


def test_a_text_in_the_place_of_the_jobs_own_file_is_refused(write: Callable[..., Path], sample_project: Path):
    """A notebook that reads README.md of the project would read the job's: export says so."""
    (sample_project / "README.md").write_text("# ours\n")
    with pytest.raises(ConfigError) as caught:
        exported(write("open('../README.md').read()"))
    assert caught.value.code == "export.file-name"


def test_missing_data_is_said_first_and_whole(write: Callable[..., Path], tmp_path: Path):
    """A start without its data names all that is missing before anything is made, and writes no state."""
    job = exported(write("1")).job.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        run_job(job)
    assert caught.value.code == "job.data-missing"
    assert "data (data source tickets); work shop/sites.csv (cell 7)" in caught.value.what
    assert caught.value.where == str(job)
    assert not (job / ".prodkit").exists()


def test_a_place_without_a_manifest_is_no_project(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """PRODKIT_PROJECT that names a folder without a manifest is one error, and not a project without owners."""
    job = exported(write("1")).job
    (tmp_path / "nowhere").mkdir()
    monkeypatch.setenv("PRODKIT_PROJECT", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError) as caught:
        find_place(JobFolder.load(job))
    assert (caught.value.code, caught.value.where) == ("job.project", str(tmp_path / "nowhere"))


def test_a_state_that_cannot_be_written_is_said(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A place for state that isn't one is said with the variable that chooses another."""
    job = exported(write("1")).job
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRODKIT_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError) as caught:
        find_place(JobFolder.load(job))
    assert caught.value.code == "job.state"
    assert "PRODKIT_STATE" in caught.value.fix


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, False),
        ({"platform": ""}, False),
        ({"platform": "", "python": "2.7"}, False),
        ({"platform": "plan9-mips"}, True),
        ({"python": "3.99"}, True),
        ({"python_needs": f">={this_python()}.59"}, True),
        ({"python_needs": f">={this_python()}.0"}, False),
    ],
)
def test_another_machine_is_refused_with_both_names(changed: dict[str, str], refused: bool):
    """A lock for another Python or platform is one error that names both; 0.1.0 named no platform and runs on any."""
    how = Execution(**{"python": this_python(), "platform": this_platform(), **changed})
    if not refused:
        check_machine(how)
        return
    with pytest.raises(ConfigError) as caught:
        check_machine(how)
    assert caught.value.code == "job.machine"
    for word in (how.python, how.platform, platform.python_version(), this_platform(), how.python_needs):
        assert word in caught.value.what


def test_another_machine_is_said_at_the_start(write: Callable[..., Path]):
    """The runner looks at the machine before anything else."""
    job = exported(write("1")).job
    index = job / "job.yaml"
    text = index.read_text().partition("# sealed")[0].replace(this_platform(), "plan9-mips")
    index.write_text(seal(text))
    with pytest.raises(ConfigError) as caught:
        run_job(job)
    assert caught.value.code == "job.machine"


def test_wheels_hold_what_is_installed():
    """A packed wheel is the same each time, holds package and metadata with right digests, and no trace of this machine."""
    wheel = wheel_of("click")
    assert wheel is not None
    assert wheel_of("click") == wheel
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        names = archive.namelist()
        record = archive.read(next(name for name in names if name.endswith("RECORD"))).decode()
        for line in record.splitlines()[:-1]:
            name, digest, size = line.rsplit(",", 2)
            content = archive.read(name)
            known = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={known}", str(len(content)))
    assert "click/__init__.py" in names
    assert not [name for name in names if name.endswith((".pyc", "direct_url.json", "INSTALLER")) or ".." in name]


def test_the_wheel_of_prodkit_is_the_one_that_its_build_makes(repository: Path, tmp_path: Path):
    """The running package is packed with every file of the checkout that the build takes, templates too."""
    wheel = wheel_of("prodkit")
    assert wheel is not None
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        names = {name for name in archive.namelist() if not name.startswith("prodkit-")}
        info = {name.rpartition("/")[2] for name in archive.namelist() if name.startswith("prodkit-")}
    folders = {"prodkit": repository / "prodkit", "prodkit/_templates": repository / "templates"}
    wanted = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted
    assert {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"} <= info


def _install(place: Path, name: str, version: str, *fields: str) -> None:
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *fields]
    (info / "METADATA").write_text("\n".join(lines) + "\n\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n")
    (place / name).mkdir()
    (place / name / "__init__.py").touch()


def test_releases_that_a_lock_cannot_serve_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package that refuses a patch release, and one that only some of them need, are gaps in the lock."""
    minor = this_python()
    _install(
        tmp_path,
        "choosy",
        "2.0",
        f"Requires-Python: >={minor}.5",
        f"Requires-Dist: absent>=1; python_full_version < '{minor}.3'",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    lock = lock_of(["choosy"])
    mine = {gap.name: gap for gap in lock.gaps if gap.name in {"choosy", "absent"}}
    assert (mine["choosy"].unfit, mine["choosy"].pin) == (frozenset(range(5)), "choosy==2.0")
    assert (mine["absent"].unfit, mine["absent"].pin, mine["absent"].wanted) == (frozenset(range(3)), "", ">=1")
    assert holding(mine.values()) == f">={minor}.5"


def test_gaps_are_filled_by_a_registry():
    """Another version is pinned for the releases that refuse the first; what would need more than the lock isn't."""
    minor = this_python()
    gap = Gap("choosy", ">=1", frozenset(range(5)), "choosy==2.0")
    asked: list[tuple[list[str], str]] = []

    def ask(requirements: list[str], python: str) -> str:
        asked.append((requirements, python))
        return f"choosy==1.9 \\\n    --hash=sha256:{'a' * 64}\n"

    others = others_for([gap], ["choosy==2.0", "other==1"], ask)
    assert asked == [(["choosy>=1,<2.0", "-c other==1"], f"{minor}.0")]
    assert others[0].lines[0] == f'choosy==1.9 ; python_full_version < "{minor}.5" \\'
    assert mark("choosy==2.0 \\\n    --hash=sha256:b\nother==1\n", others) == (
        f'choosy==2.0 ; python_full_version >= "{minor}.5" \\\n    --hash=sha256:b\nother==1\n'
    )
    section = "".join(f"{line}\n" for line in others[0].lines)
    assert others_in(section, [gap]) == others
    assert others_in(section, [Gap("choosy", ">=1", frozenset(range(6)), "choosy==2.0")]) == ()
    assert others_for([gap], ["choosy==2.0"], lambda *_: "choosy==1.9\nmore==1\n") == ()
    assert holding([Gap("x", "", frozenset({3, 9}))]) == f"!={minor}.3,!={minor}.9"
