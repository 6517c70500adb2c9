from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner

from prodkit.cli import cli, main
from prodkit.errors import ConfigError
from prodkit.jobs.history import History
from prodkit.manifest import load

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.manifest import Project
    from tests.postgres import Postgres

FLAGS = [
    "init",
    "--name",
    "triage",
    "--purpose",
    'Sorts: "tickets"',
    "--owner-name",
    "Ana Ruiz",
    "--owner-email",
    "ana@northwind.test",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_from_flags_writes_a_manifest_that_loads(folder: Path):
    """`prodkit init` with flags writes a manifest whose owner is accountable for each activity."""
    result = CliRunner().invoke(
        cli, [*FLAGS, "--source", "tickets=data/*.xlsx", "--budget", "0.50"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    manifest = load(folder / "prodkit.yaml")
    assert manifest.service.purpose == 'Sorts: "tickets"'
    assert manifest.data_sources["tickets"].kind == "excel"
    assert {raci.accountable for raci in manifest.owners.raci.values()} == {("ana",)}
    assert len(manifest.owners.raci) == 11


def test_init_asks_for_what_no_flag_said(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """In a terminal `prodkit init` asks, and proposes the folder's name."""
    monkeypatch.setattr("prodkit.cli.project._at_terminal", lambda: True)
    answers = "Ana Ruiz\n\nSorts tickets\nana@northwind.test\n"
    result = CliRunner().invoke(cli, ["init"], input=answers, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert load(folder / "prodkit.yaml").service.name == folder.name


def test_init_without_terminal_names_the_missing_flag(folder: Path):
    """Without a terminal a missing answer is one error that names the flag, and nothing is written."""
    with pytest.raises(ConfigError, match="--owner-name"):
        CliRunner().invoke(cli, ["init"], catch_exceptions=False)
    assert list(folder.iterdir()) == []


def test_init_keeps_a_manifest_that_is_there(folder: Path):
    """An existing manifest is never overwritten without --force."""
    (folder / "prodkit.yaml").write_text("service: {name: mine}")
    with pytest.raises(ConfigError, match="already"):
        CliRunner().invoke(cli, FLAGS, catch_exceptions=False)
    assert load(folder / "prodkit.yaml").service.name == "mine"
    CliRunner().invoke(cli, [*FLAGS, "--force"], catch_exceptions=False)
    assert load(folder / "prodkit.yaml").service.name == "triage"


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (["--budget", "a lot"], "manifest.invalid"),
        (["--source", "tickets"], "init.source"),
        (["--source", "t=x.pdf"], "init.source"),
    ],
)
def test_init_with_a_wrong_flag_writes_nothing(folder: Path, extra: list[str], code: str):
    """A wrong flag is one clear error, and no half manifest is left behind."""
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(cli, [*FLAGS, *extra], catch_exceptions=False)
    assert caught.value.code == code
    assert list(folder.iterdir()) == []


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]):
    """A misspelt command gets the nearest known one and exit code 2."""
    with pytest.raises(SystemExit) as left:
        main(["exprot"])
    assert left.value.code == 2
    assert "did you mean `export`?" in capsys.readouterr().err


def test_error_is_text_and_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]):
    """A wrong manifest ends any command with its text on stderr and exit code 78, without a stack."""
    (folder / "prodkit.yaml").write_text("budjet: {per_run: 1}")
    with pytest.raises(SystemExit) as left:
        main(["ui", "--no-browser"])
    printed = capsys.readouterr().err
    assert left.value.code == 78
    assert "[manifest.unknown-key]" in printed
    assert "prodkit.yaml:1" in printed
    assert "Traceback" not in printed


def test_ui_before_any_capture_says_so(project: Project):
    """With an empty store `prodkit ui` says what to do first."""
    (project.state / "mlflow.db").unlink()
    with pytest.raises(ConfigError, match="Nothing was captured"):
        CliRunner().invoke(cli, ["ui", "--no-browser"], catch_exceptions=False)


def findings() -> dict[str, list[dict[str, str]]]:
    result = CliRunner().invoke(cli, ["doctor", "--json"], catch_exceptions=False)
    grouped: dict[str, list[dict[str, str]]] = {"exit": [{"code": str(result.exit_code)}]}
    for finding in json.loads(result.output):
        grouped.setdefault(finding["topic"], []).append(finding)
    return grouped


def test_doctor_tells_what_where_and_what_is_missing(project: Project):
    """`prodkit doctor` tells the Python, the packages, the state folder and MLflow's address."""
    told = findings()
    assert told["python"][0]["level"] == "ok"
    assert "mlflow 3." in told["packages"][0]["what"]
    assert str(project.state) in told["files"][0]["what"]
    assert told["mlflow"][0]["level"] == "ok", told["mlflow"]


def test_doctor_finds_an_mlflow_that_is_not_there(project: Project, monkeypatch: pytest.MonkeyPatch):
    """An address where no MLflow answers is an error with a fix, and the exit code is 78."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    told = findings()
    assert told["mlflow"][0]["level"] == "error"
    assert "127.0.0.1:9" in told["mlflow"][0]["what"]
    assert told["exit"][0]["code"] == "78"


def test_doctor_finds_a_wrong_manifest(folder: Path):
    """A manifest that doesn't load is a finding with its line, not a crash."""
    (folder / "prodkit.yaml").write_text("service: {nam: x}")
    told = findings()
    assert "prodkit.yaml:1" in told["manifest"][0]["what"]
    assert told["exit"][0]["code"] == "78"


def test_doctor_finds_a_missing_contract(folder: Path):
    """A data source whose contract file isn't there is an error that names both."""
    (folder / "prodkit.yaml").write_text("data_sources: {t: {kind: csv, location: t.csv, contract: t.odcs.yaml}}")
    told = findings()
    assert any("t.odcs.yaml" in finding["what"] for finding in told["manifest"] if finding["level"] == "error")


def test_doctor_looks_at_a_shared_state(project: Project, shared_postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    """`prodkit doctor` names the server and the schema of a shared state, no password, and makes nothing there."""
    url = shared_postgres.new_database().replace("prodkit@", "prodkit:geheim@")
    monkeypatch.setenv("PRODKIT_STATE_URL", url)
    for made in (False, True):
        told = findings()
        [state] = told["state"]
        assert (state["level"], "isn't there yet" in state["what"]) == ("ok", not made)
        schema = f"prodkit_{project.manifest.service.name}"
        assert f"127.0.0.1:{shared_postgres.port}" in state["what"]
        assert schema in state["what"]
        assert "geheim" not in json.dumps(told)
        assert "everything" not in told["files"][0]["what"]
        with psycopg.connect(url) as database:
            found = database.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        assert (found is not None) == made
        History.of(project).entries()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://prodkit:geheim@127.0.0.1:9/state", "127.0.0.1:9/state"),
        ("mysql://x:geheim@127.0.0.1/state", "isn't one of PostgreSQL"),
    ],
)
def test_doctor_finds_a_state_that_does_not_answer(
    address: str, said: str, project: Project, monkeypatch: pytest.MonkeyPatch
):
    """A server of the state that doesn't answer, and an address that is none, are an error with a fix."""
    monkeypatch.setenv("PRODKIT_STATE_URL", address)
    told = findings()
    [state] = told["state"]
    assert (state["level"], bool(state["fix"]), told["exit"][0]["code"]) == ("error", True, "78")
    assert said in state["what"]
    assert "geheim" not in json.dumps(told)
    assert str(project.state) in told["files"][0]["what"]


def test_doctor_for_people_is_a_table(project: Project):
    """Without --json the findings are lines that a person reads."""
    result = CliRunner().invoke(cli, ["doctor"], catch_exceptions=False)
    assert "everything that prodkit writes" in " ".join(result.output.split())


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_ui_that_is_told_to_end_takes_its_server_with_it(project: Project) -> None:
    """SIGTERM ends `prodkit ui` as Ctrl-C does: MLflow's server, which it started, doesn't go on without it."""
    import psutil

    from prodkit.ledger import Ledger
    from prodkit.records import RunSpec

    Ledger.open(project).start_run(RunSpec("shown", "session", "shown"))
    assert Ledger.open(project).flush(120).pending == 0
    command = [sys.executable, "-u", "-m", "prodkit", "ui", "--no-browser"]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        servers = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(60)
    assert servers
    assert psutil.wait_procs(servers, timeout=30)[1] == []
