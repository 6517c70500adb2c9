"""`%prodkit ...` on a line: each command calls one act and shows what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.manifest import find_project
from prodkit.notebook.always import name_of
from prodkit.notebook.commands import Commands

if TYPE_CHECKING:
    from prodkit.manifest import Project

ASK = (
    'client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "I was charged twice"}])'
)


def shown(ran: Any) -> str:
    """The text of what a line command gave."""
    return ran.outputs[-1].data["text/plain"] if ran.outputs else repr(ran.result.result)


def test_alone_it_lists_the_commands(notebook: Any) -> None:
    """Each command is listed with one line of what it does."""
    text = shown(notebook.run("%prodkit"))
    for name, line in Commands.names().items():
        assert f"%prodkit {name}" in text
        assert line.endswith((".", "`.")), name


@pytest.mark.parametrize(
    ("line", "code", "hint"),
    [
        ("%prodkit statsu", "notebook.unknown-command", "did you mean `status`"),
        ("%prodkit status now", "notebook.words", "write `%prodkit status`"),
        ("%prodkit contract", "notebook.words", "contract FRAME"),
        ("%prodkit contract tikets", "notebook.no-frame", "did you mean `tickets`"),
        ("%prodkit on --bugdet 1", "notebook.unknown-option", "did you mean `budget`"),
        ("%prodkit lint", "notebook.no-file", "save it, or name it"),
        ("%prodkit traceback", "notebook.no-error", ""),
        ("%prodkit export 'x", "notebook.words", ""),
    ],
)
def test_mistakes_are_one_clear_error(notebook: Any, line: str, code: str, hint: str) -> None:
    """A command that doesn't exist, a word too many, a name that is misspelt: code and fix."""
    notebook.run("import pandas as pd\ntickets = pd.DataFrame({'a': [1]})")
    ran = notebook.run(line)
    assert getattr(ran.error, "code", None) == code
    assert hint in ran.errors[0]


def test_status_says_where_things_are(notebook: Any, project: Project) -> None:
    """The project's folder, MLflow's address and what is captured."""
    text = shown(notebook.run("%prodkit status"))
    assert str(project.root) in text
    assert project.tracking_uri in text
    assert "cells with a prodkit header" in text


def test_on_captures_following_cells(notebook: Any, client: Any) -> None:
    """After `%prodkit on` each cell that does something is captured, named and limited; `%prodkit off` ends it."""
    assert notebook.run("%prodkit on --budget 0.25").cards == []
    assert notebook.run("import json\ndef f():\n    return 1").cards == []
    ran = notebook.run(f"# ask about money\n{ASK}.choices[0].message.content")
    assert "ask-about-money finished" in ran.cards[0]
    assert "1 call" in ran.cards[0]
    assert "$0.25 budget" in ran.cards[0]
    assert ran.result.result
    assert len(notebook.run("%%prodkit --name own\n1 + 1").cards) == 1
    failed = notebook.run("x = 1\n1 / 0")
    assert "----> 2 1 / 0" in failed.errors[0]
    assert "every cell" in shown(notebook.run("%prodkit status"))
    notebook.run("%prodkit off")
    assert notebook.run("1 + 1").cards == []


def test_cells_get_readable_names() -> None:
    """The first comment names a cell, else its number does."""
    assert name_of("\n# Which team should answer this?\nx = 1", 3) == "which-team-should-answer-this"
    assert name_of("x = 1", 3) == "cell-3"
    assert name_of("# ---", 3) == "cell-3"


def test_costs_add_up(notebook: Any, client: Any) -> None:
    """The table has a line for each run and their sum, which is what the cards said."""
    for name in ("a", "b"):
        notebook.run(f"%%prodkit --name {name}\n{ASK}")
    history = notebook.shell._prodkit_magics.runs.history
    lines = shown(notebook.run("%prodkit costs")).splitlines()
    assert [run.calls for run in history] == [1, 1]
    total = next(line.split() for line in lines if line.strip().startswith("total"))
    assert total[1] == "2"
    assert any(line.strip().startswith("a ") for line in lines)


def test_costs_say_what_mlflow_would_say(notebook: Any, client: Any, project: Project) -> None:
    """Under a contract price the list price of MLflow's catalog is a line below the table, once the calls are there."""
    from prodkit.ledger import Ledger

    price = "models: [{name: gpt-4o-mini, provider: openai, price: {input: 100, output: 100}}]\n"
    (project.root / "prodkit.yaml").write_text("service: {name: demo}\n" + price)
    notebook.run(f"%%prodkit --name a\n{ASK}")
    assert "MLflow says" not in shown(notebook.run("%prodkit costs"))
    Ledger.open(find_project()).flush()
    assert "its own prices differ for 1 call" in shown(notebook.run("%prodkit costs"))


def test_contract_drafts_from_the_frame_and_never_overwrites(notebook: Any, project: Project) -> None:
    """The draft is shown, written where asked, and a file that is there is left alone."""
    notebook.run("import pandas as pd\npeople = pd.DataFrame({'name': ['a', 'b', 'c'], 'age': [30, 41, 52]})")
    ran = notebook.run("%prodkit contract infer people --to contracts/people.odcs.yaml")
    assert "age" in shown(ran)
    assert "no empty cell in 3 rows" in shown(ran), "each rule comes with its evidence"
    written = project.root / "contracts" / "people.odcs.yaml"
    text = written.read_text()
    assert "people" in text
    again = notebook.run("%prodkit contract people --to contracts/people.odcs.yaml")
    assert getattr(again.error, "code", None) == "notebook.exists"
    assert written.read_text() == text


def test_owners_show_what_is_missing(notebook: Any) -> None:
    """Without anybody accountable the table says so in words."""
    assert "owners" in shown(notebook.run("%prodkit owners"))
    assert notebook.shell._prodkit_magics.command("owners").tone == "warn"


def test_a_command_of_the_terminal_is_relayed(notebook: Any) -> None:
    """`%prodkit doctor` shows the lines that the command prints, and a failing command fails the cell."""
    ran = notebook.run("%prodkit runs --help")
    assert ran.error is None
    assert "Usage: " in ran.stdout
    failed = notebook.run("%prodkit run jobs/nowhere")
    assert getattr(failed.error, "code", None) == "notebook.command"
    assert "exit code" in failed.errors[0]


def test_names_in_braces_are_filled_in(notebook: Any) -> None:
    """`{run.run_id}` is the value, as in other magics; an unknown name and the braces of JSON stay as they are."""
    notebook.run("class run: ids = ['r-1']")
    filled = notebook.shell._prodkit_magics.commands._filled
    assert filled("review {run.ids[0]} --note {nobody}") == "review r-1 --note {nobody}"
    assert filled("""run job -p 'limits={"a": 1}'""") == """run job -p 'limits={"a": 1}'"""
    told = notebook.run("job = 'jobs/nowhere'\n%prodkit run {job}")
    assert "jobs/nowhere" in told.stdout


def test_a_relayed_command_writes_no_moving_lines(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel asks its children for colours; what they print into a notebook still has no colour and no spinner."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.setenv(name, "1")
    told = notebook.run("%prodkit runs")
    assert told.error is None
    assert "\x1b" not in told.stdout


def test_lint_takes_this_notebook(notebook: Any, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file `%prodkit lint` is about the notebook that is open, as the editor says."""
    import nbformat

    path = project.root / "open.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    ran = notebook.run("%prodkit lint")
    assert "open.ipynb" in ran.stdout
    assert "parameters" in ran.stdout
    notebook.run("%prodkit export --help")
    assert notebook.run("%prodkit rehearse --fault nonsense").error is not None


@pytest.mark.slow
def test_from_notebook_to_rehearsed_job(
    example: Project, shell: Any, run_in: Any, prodkit_provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lint, export, run with few tickets, rehearse one fault: each without leaving the notebook."""
    from prodkit.notebook.magics import load, unload

    for name, value in prodkit_provider.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    monkeypatch.chdir(example.root)
    monkeypatch.setenv("JPY_SESSION_NAME", str(example.root / "notebooks" / "triage.ipynb"))
    load(shell)
    for line, word in (
        ("lint", "0 errors"),
        ("export --to jobs/triage", "jobs/triage"),
        ("run jobs/triage -p batch=2026-11 -p limit=5", "ok"),
        ("rehearse jobs/triage --fault 503-once", "passed"),
    ):
        ran = run_in(shell, f"%prodkit {line}")
        assert ran.error is None, ran.stdout[-2000:]
        assert word in ran.stdout
    unload(shell)


@pytest.mark.slow
def test_the_ui_is_served_on_loopback(notebook: Any, client: Any) -> None:
    """`%prodkit ui` gives an address of this machine at which MLflow answers; unloading stops it."""
    from urllib.request import urlopen

    notebook.run(f"%%prodkit --name a\n{ASK}")
    text = shown(notebook.run("%prodkit ui"))
    url = next(word for word in text.split() if word.startswith("http://127.0.0.1"))
    with urlopen(url.partition("#")[0], timeout=20) as answer:  # noqa: S310  our own server on loopback
        assert answer.status == 200
    notebook.shell._prodkit_magics.commands.close()


def test_review_is_of_this_notebook(notebook: Any, client: Any, project: Project) -> None:
    """Without a run `%prodkit review` sums this notebook's cells; MLflow's columns hold what a reviewer sorts by."""
    from prodkit.ledger.review import run_tree

    assert getattr(notebook.run("%prodkit review").error, "code", "") == "notebook.no-run"
    notebook.run(f"%%prodkit --name first\n{ASK}")
    ran = notebook.run("%prodkit review")
    assert ran.error is None, ran.stdout
    assert "| 1 | 0 | 0 | 0 |" in ran.stdout, "one call, none without a price, failed or degraded"
    runs = notebook.shell._prodkit_magics.runs
    _, below = run_tree(project, runs.session_run_id)
    columns = {"cost_usd", "llm_calls_unpriced", "llm_calls_degraded", "p95_seconds"}
    assert columns <= set(below[0].metrics)


def test_the_whole_traceback_is_there_on_request(notebook: Any) -> None:
    """The short message is what is shown first; the traceback can be had."""
    notebook.run("%%prodkit --nmae x\n1")
    ran = notebook.run("%prodkit traceback")
    assert "Traceback (most recent call last)" in ran.stdout
    assert "notebook.unknown-option" in ran.stdout
