"""What the Tab key offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import provisionalcompleter

if TYPE_CHECKING:
    from prodkit.manifest import Project

MANIFEST = """
service: {name: demo}
data_sources:
  tickets: {kind: excel, location: "data/*{batch}*.xlsx", contract: contracts/tickets.odcs.yaml}
  people: {kind: csv, location: people.csv}
models:
  - {name: gpt-4o-mini, provider: openai}
  - {name: gpt-4o, provider: openai}
"""


def offers(notebook: Any, text: str) -> list[str]:
    """What Tab offers at the end of the text, as a front end shows it."""
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text, len(text)))
    return [completion.text.removeprefix("'") for completion in found]


@pytest.fixture
def project(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(MANIFEST)
    (made.root / "jobs" / "sorting").mkdir(parents=True)
    (made.root / "jobs" / "sorting" / "job.yaml").touch()
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("PRODKIT_PROJECT", str(made.root))
    return made


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%prodkit --na", ["--name"]),
        ("%%prodkit --name x --s", ["--session", "--source", "--strict"]),
        ("%%prodkit --name x --mode ", ["quarantine", "refuse", "warn"]),
        ("%%prodkit --name x --source c", ["crm"]),
        ("%%prodkit --name x --input ti", ["tickets_now"]),
        ("#| prodkit: name=x bud", ["budget="]),
        ("#| prodkit: name=x mode=re", ["refuse"]),
        ("#| prodkit: name=x str", ["strict"]),
        ("%prodkit stat", ["status"]),
        ("x = 1\ndf = prodkit.read('ti", ["tickets"]),
        ("prodkit.read('tickets', ba", ["batch="]),
        ("prodkit.validate(df, 'con", ["contracts/tickets.odcs.yaml"]),
        ("%%prodkit --mat", ["--matrix"]),
        ("%%prodkit --matrix ", ["model=", "prompt="]),
        ("%%prodkit --matrix model=gpt", ["gpt-4o", "gpt-4o-mini"]),
        ("%%prodkit --matrix model=gpt-4o,gpt-4o-", ["gpt-4o-mini"]),
        ("%%prodkit --matrix model=gpt-4o pro", ["prompt="]),
        ("%%prodkit --matrix prompt=tri", ["triage"]),
        ("%%prodkit --matrix prompt=v", ["v1"]),
        ("%%prodkit --matrix prompt=v1 --expect tickets_now.", ["tickets_now.a"]),
        ("%%prodkit --matrix prompt=v1 --sc", ["--score"]),
        ("#| prodkit: matrix mo", ["model="]),
        ("%prodkit reh", ["rehearse"]),
        ("prodkit.prompt('tri", ["triage"]),
        ("%prodkit panel ", ["contract", "costs", "export", "owners", "requests", "runs"]),
        ("x = 1\n  %prodkit panel co", ["contract", "costs"]),
        ("%prodkit panel contract ", ["people", "tickets", "tickets_now"]),
        ("%prodkit panel contract tickets ", ["--to"]),
        ("%prodkit panel export --", ["--to"]),
        ("%prodkit contract ", ["infer"]),
        ("%prodkit contract infer ti", ["tickets_now"]),
        ("%prodkit on --bu", ["--budget"]),
        ("%prodkit run jo", ["jobs/sorting"]),
        ("%prodkit rehearse jobs/so", ["jobs/sorting"]),
    ],
)
def test_offers_what_fits(notebook: Any, text: str, offered: list[str]) -> None:
    """Options, their values, frames of the notebook, commands, sources, their parameters, contracts."""
    notebook.run("import prodkit\nprodkit.prompt('triage', 'Sort {ticket} into one queue')")
    notebook.run("import pandas as pd\ntickets_now = pd.DataFrame({'a': [1]})")
    assert sorted(offers(notebook, text)) == sorted(offered)


def test_ordinary_code_is_left_alone(notebook: Any) -> None:
    """Elsewhere IPython's own completion is what one gets."""
    notebook.run("number = 1")
    words = offers(notebook, "numb")
    assert "number" in words
    assert not [word for word in words if word.startswith("--")]


def test_a_wrong_manifest_does_not_disturb_typing(notebook: Any, project: Project) -> None:
    """While the manifest is broken nothing is offered, and nothing is raised."""
    (project.root / "prodkit.yaml").write_text("servce: {}")
    assert "tickets" not in offers(notebook, "prodkit.read('ti")


def test_an_older_ipython_goes_without(shell: Any, run_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab's IPython 7.34 can't tell a matcher the line: there prodkit loads, and the Tab key does what it did."""
    monkeypatch.delattr("IPython.core.completer.context_matcher")
    matchers = list(shell.Completer.custom_matchers)
    assert run_in(shell, "%load_ext prodkit").error is None
    assert shell.Completer.custom_matchers == matchers
    assert run_in(shell, "%unload_ext prodkit").error is None
