from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from prodkit.errors import ConfigError
from prodkit.manifest import Manifest, find_project, load, parse

if TYPE_CHECKING:
    from pathlib import Path

WRONG = [
    ("budjet: {per_run: 1}", "manifest.unknown-key", 1, "`budget`"),
    ("service: {name: a}\nbudget:\n  per_rum: 1", "manifest.unknown-key", 3, "`per_run`"),
    ("models:\n- name: a\n  provider: b\n  prize: {input: 1, output: 1}", "manifest.unknown-key", 4, "`price`"),
    ("owners:\n  raci:\n    uptime:\n      Q: [a]", "manifest.unknown-key", 4, "known: A, C, I, R"),
    ("owners:\n  people:\n    ana: {name: Ana}", "manifest.missing-key", 3, "add `email:`"),
    ("budget:\n  per_run: a lot", "manifest.invalid", 2, ""),
    ("budget:\n  per_run: -1", "manifest.invalid", 2, ""),
    ("budget:\n  per_run: true", "manifest.invalid", 2, ""),
    ("resilience:\n  deadline: 5 parsecs", "manifest.invalid", 2, ""),
    ("service:\n  name: 'a name'", "manifest.invalid", 2, ""),
    ("data_sources:\n  t:\n    kind: floppy", "manifest.invalid", 3, ""),
    ("budget: {per_run: 1}\nbudget: {per_run: 2}", "manifest.duplicate-key", 2, "keep one"),
    ("service: [", "manifest.yaml", 1, ""),
    ("service: {name: a}\n  bad: indent", "manifest.yaml", 2, ""),
    ("- a\n- b", "manifest.yaml", 1, ""),
    ("service: !!python/object:os.system {}", "manifest.yaml", 1, ""),
]


@pytest.mark.parametrize(("text", "code", "line", "fix"), WRONG)
def test_wrong_manifest_names_its_line(text: str, code: str, line: int, fix: str):
    """Whatever is wrong in a manifest, the error has its code, its line, and a fix where one is known."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.code == code
    assert caught.value.where.startswith(f"prodkit.yaml:{line}")
    assert fix in caught.value.fix


def test_all_findings_are_told_at_once():
    """The first finding is the error; the others stand in its fix with their lines."""
    with pytest.raises(ConfigError) as caught:
        parse("budget:\n  per_rum: 1\n  per_dya: 1")
    assert caught.value.where == "prodkit.yaml:2 (budget.per_rum)"
    assert "prodkit.yaml:3 (budget.per_dya)" in caught.value.fix


def test_money_is_what_the_author_wrote():
    """An amount written as 0.10 is ten cents exactly, not a binary neighbour."""
    assert parse("budget: {per_run: 0.1}").budget.per_run == Decimal("0.1")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("7", 7), ("1.5", 1.5)]
)
def test_durations_have_units(text: str, seconds: float):
    """A duration is a number of seconds or has a unit."""
    assert parse(f"resilience: {{deadline: {text}}}").resilience.deadline == seconds


def test_empty_manifest_is_a_demo():
    """An empty file gives the defaults."""
    assert parse("") == Manifest()


def test_missing_manifest_says_how_to_write_one(tmp_path: Path):
    """A path without a manifest leads to `prodkit init`."""
    with pytest.raises(ConfigError, match="prodkit init"):
        load(tmp_path / "prodkit.yaml")


def test_project_is_found_from_below(tmp_path: Path):
    """From any folder below, the project's root is the folder of the manifest."""
    (tmp_path / "prodkit.yaml").write_text("service: {name: x}")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    project = find_project(below)
    assert project.root == tmp_path
    assert project.tracking_uri == f"sqlite:///{tmp_path}/.prodkit/mlflow.db"


def test_project_without_manifest_is_the_checkout(tmp_path: Path):
    """Without a manifest the git checkout is the project and its folder's name the service."""
    (tmp_path / "my demo" / ".git").mkdir(parents=True)
    below = tmp_path / "my demo" / "notebooks"
    below.mkdir()
    project = find_project(below)
    assert (project.root, project.experiment) == (tmp_path / "my demo", "my-demo")


def test_mlflow_address_of_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` are respected."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    project = find_project(tmp_path)
    assert (project.tracking_uri, project.experiment) == ("http://127.0.0.1:5000", "theirs")


def test_the_examples_manifest_is_right(repository: Path):
    """The repository's own prodkit.yaml loads, and its models and sources are found by name."""
    manifest = load(repository / "prodkit.yaml")
    assert manifest.data_sources["tickets"].contract == "contracts/tickets.odcs.yaml"
    assert manifest.model_named("gpt-4o-mini") is not None
    assert manifest.model_named("nothing") is None


def test_published_schema_has_not_drifted(repository: Path):
    """The JSON Schema that editors complete from is the one that the code checks with."""
    published = json.loads((repository / "templates" / "prodkit.schema.json").read_text())
    assert published == Manifest.model_json_schema(), (
        "write it anew: prodkit init --print-schema > templates/prodkit.schema.json"
    )
