"""The editors without a browser: what a person types is checked, drawn, kept and written; errors lose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from prodkit.errors import ProdkitError
from prodkit.notebook.contract_editor import ContractEditor
from prodkit.notebook.raci import RaciEditor
from prodkit.notebook.wizard import ExportWizard

if TYPE_CHECKING:
    from prodkit.manifest import Project


@pytest.fixture
def here(example: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The example project as the one that the notebook works in."""
    monkeypatch.chdir(example.root)
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    return example


@pytest.fixture
def tickets() -> Any:
    import pandas as pd

    return pd.DataFrame({"ticket_id": ["T-12345", "12"], "channel": ["email", "fax"]}, dtype="str")


PLAIN = """apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0   # as agreed
status: active
schema:
  - name: tickets
    properties:
      - {name: ticket_id, logicalType: string}
      - {name: channel, logicalType: string}
"""


@pytest.fixture
def editor(here: Project, tickets: Any) -> ContractEditor:
    (here.root / "contracts" / "plain.odcs.yaml").write_text(PLAIN)
    return ContractEditor("tickets", {"tickets": tickets}, to="contracts/plain.odcs.yaml")


def test_a_contract_is_changed_tested_and_saved(editor: ContractEditor) -> None:
    """Rules are added by messages as the browser sends them; a test shows the rows; saving keeps the rest."""
    editor.receive({"do": "put", "column": "channel", "kind": "enum", "value": "email, chat"})
    editor.receive({"do": "test"})
    state = editor._widget.state
    rule = next(rule for rule in state["rules"] if rule["id"] == "channel.enum")
    assert (rule["rows"], rule["broken"]) == ("1 of 2", True)
    assert "1 of 2 rows break the contract" in state["verdict"]
    assert "1 of 2" in editor.to_table().to_html()
    assert state["dirty"]
    editor.receive({"do": "save"})
    assert editor._widget.state["said"].startswith("saved to contracts/plain.odcs.yaml")
    assert not editor._widget.state["dirty"]
    text = editor.path.read_text()
    assert "# as agreed" in text
    assert "validValues: [email, chat]" in text


def test_wrong_input_is_said_and_loses_nothing(editor: ContractEditor) -> None:
    """A value that can't be is shown as one error; what was typed before is still there."""
    editor.receive({"do": "put", "column": "channel", "kind": "maxLength", "value": "9"})
    editor.receive({"do": "put", "column": "channel", "kind": "minLength", "value": "10"})
    assert "contract.contradiction" in editor._widget.state["problem"]
    editor.receive({"do": "remove", "id": "nothing.at.all"})
    assert "contract.unknown-rule" in editor._widget.state["problem"]
    editor.receive({"do": "put"})
    assert "KeyError" in editor._widget.state["problem"]
    assert [rule["id"] for rule in editor._widget.state["rules"] if rule["kind"] == "maxLength"] == [
        "channel.maxLength"
    ]


def test_two_notebooks_on_one_contract(editor: ContractEditor, here: Project, tickets: Any) -> None:
    """The second to save is told, the first one's work stays, and the second one's draft is still there."""
    other = ContractEditor("tickets", {"tickets": tickets}, to="contracts/plain.odcs.yaml")
    editor.put("channel", "required")
    other.put("ticket_id", "unique")
    editor.save()
    other.receive({"do": "save"})
    assert "manifest.changed" in other._widget.state["problem"]
    assert other.dirty
    assert "required: true" in other.path.read_text()
    other.receive({"do": "load"})
    assert "channel.required" in {rule["id"] for rule in other._widget.state["rules"]}


def test_a_dataframe_without_a_contract_is_drafted(here: Project, tickets: Any) -> None:
    """From a dataframe alone a contract is drafted with its evidence, and saved where nobody has one."""
    editor = ContractEditor("inbox", {"inbox": tickets})
    assert any(rule["evidence"] for rule in editor.state()["rules"])
    assert editor.dirty
    assert editor.save() == here.root / "contracts" / "inbox.odcs.yaml"
    with pytest.raises(ProdkitError, match=r"notebook\.no-contract"):
        ContractEditor("tikets", {})
    with pytest.raises(ProdkitError, match=r"notebook\.no-frame"):
        ContractEditor("tickets", {}).test()


def test_raci_is_checked_while_typing_and_written_by_line(here: Project) -> None:
    """Two A in a row are said at once and not saved; one A is, and no other line of prodkit.yaml changes."""
    editor = RaciEditor()
    before = editor.path.read_text()
    editor.receive({"do": "put", "activity": "uptime", "who": "ana", "letters": "A"})
    row = next(row for row in editor._widget.state["rows"] if row["activity"] == "uptime")
    assert row["wrong"]
    assert "needs exactly one" in row["check"]
    editor.receive({"do": "save"})
    assert "owners.accountable" in editor._widget.state["problem"]
    assert editor.path.read_text() == before
    editor.receive({"do": "put", "activity": "uptime", "who": "ben", "letters": ""})
    editor.receive({"do": "save"})
    assert editor._widget.state["problem"] == ""
    new = [line for line in editor.path.read_text().splitlines() if line not in before.splitlines()]
    assert new == ["    uptime:               {R: [platform], A: ana, C: [data-science], I: [security]}"]


def test_raci_says_what_cannot_be_typed(here: Project) -> None:
    """A letter that is no role, a taken name and a person without an address are errors; nothing is lost."""
    editor = RaciEditor()
    for message, code in (
        ({"do": "put", "activity": "uptime", "who": "ana", "letters": "X"}, "owners.letters"),
        ({"do": "activity", "name": "uptime"}, "owners.activity-name"),
        ({"do": "person", "id": "dora", "name": "Dora", "email": ""}, "owners.person"),
    ):
        editor.receive(message)
        assert code in editor._widget.state["problem"]
    assert not editor.dirty
    editor.receive({"do": "person", "id": "dora", "name": "Dora Lind", "email": "dora@northwind.test"})
    editor.receive({"do": "put", "activity": "uptime", "who": "dora", "letters": "c"})
    editor.save()
    assert yaml.safe_load(editor.path.read_text())["owners"]["people"]["dora"]["name"] == "Dora Lind"


def test_two_notebooks_on_one_manifest(here: Project) -> None:
    """Who writes prodkit.yaml second is told to load it again, and the first one's line stays."""
    first, second = RaciEditor(), RaciEditor()
    first.put("rollback", "chloe", "I")
    second.put("uptime", "chloe", "I")
    first.save()
    second.receive({"do": "save"})
    assert "manifest.changed" in second._widget.state["problem"]
    assert "chloe" in yaml.safe_load(first.path.read_text())["owners"]["raci"]["rollback"]["I"]
    second.receive({"do": "load"})
    second.put("uptime", "chloe", "I")
    second.save()


def test_without_a_manifest_the_raci_says_how_to_get_one(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without prodkit.yaml is one clear error."""
    monkeypatch.setenv("PRODKIT_PROJECT", str(tmp_path))
    with pytest.raises(ProdkitError, match=r"manifest\.missing.*\n.*\n.*prodkit init"):
        RaciEditor()


def test_the_wizard_shows_checks_and_exports(here: Project) -> None:
    """Parameters, files and findings are drawn; a wrong wish disables the export; the right one is the real act."""
    wizard = ExportWizard(here.root / "notebooks" / "triage.ipynb")
    state = wizard._widget.state
    assert "batch" in {one["name"] for one in state["parameters"]}
    assert state["plan"]["schedule"] == "0 6 * * 1-5"
    assert state["fires"].startswith("Starts next (UTC): ")
    assert state["ready"]
    wizard.receive({"do": "plan", "key": "retries", "value": "many"})
    assert not wizard._widget.state["ready"]
    assert "export.plan" in wizard._widget.state["findings"][0]
    wizard.receive({"do": "plan", "key": "retries", "value": "4"})
    sent: list[dict[str, str]] = []
    wizard._widget.send = sent.append
    wizard.receive({"do": "open", "name": "job.yaml"})
    assert "retries: 4" in sent[0]["text"]
    assert not (here.root / "jobs").exists()
    wizard.receive({"do": "export"})
    assert "exported to jobs/triage" in wizard._widget.state["said"]
    assert (here.root / "jobs" / "triage" / "job.ipynb").exists()
    assert yaml.safe_load((here.root / "prodkit.yaml").read_text())["job"]["retries"] == 4
    assert "job.yaml" in wizard.to_table().to_text()


def test_a_notebook_without_a_file_is_said(notebook: Any) -> None:
    """In a notebook that was never saved the wizard says to save it, and how to name one."""
    ran = notebook.run("%prodkit panel export")
    assert "notebook.no-file" in notebook.errors[0] or "notebook.no-file" in str(ran.error)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("%prodkit panel cost", "notebook.unknown-panel"),
        ("%prodkit panel contract", "notebook.words"),
        ("%prodkit panel costs now", "notebook.words"),
        ("%prodkit panel owners --to x", "notebook.words"),
        ("%prodkit panel export --too x", "notebook.words"),
        ("%prodkit panel contract nothing", "notebook.no-contract"),
    ],
)
def test_a_panel_that_is_not_there(notebook: Any, line: str, code: str) -> None:
    """A misspelt panel gets the nearest name, a missing or surplus word the way to write it."""
    assert code in str(notebook.run(line).error)


@pytest.mark.parametrize(
    "name", ["costs", "contract tickets", "owners", "export notebooks/triage.ipynb", "requests", "runs"]
)
def test_every_panel_is_readable_without_its_front_end(
    here: Project, notebook: Any, tickets: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where no widget can be shown each panel is HTML and text, whole, and nothing fails."""
    monkeypatch.setenv("PRODKIT_PROJECT", str(here.root))
    monkeypatch.chdir(here.root)
    monkeypatch.setattr("prodkit.notebook.widgets.importlib.util.find_spec", lambda _name: None)
    notebook.shell.user_ns["tickets"] = tickets
    (twin,) = notebook.run(f"%prodkit panel {name}").outputs
    assert set(twin.data) == {"text/html", "text/plain"}
    assert len(twin.data["text/plain"].splitlines()) > 1
