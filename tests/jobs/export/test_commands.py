"""`prodkit export`, `prodkit lint` and `prodkit owners`, as one types them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.errors import ProdkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from prodkit.manifest import Project


@pytest.fixture
def typed(owned: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Types a command in the project's root; an error ends it as on the command line."""
    monkeypatch.chdir(owned.root)

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words)

    return run


def error_of(result: Result) -> ProdkitError:
    assert isinstance(result.exception, ProdkitError), result.output
    return result.exception


def test_export_says_what_it_did(typed: Callable[..., Result], make_notebook: Callable[..., Path]):
    """Export writes to jobs/NAME by default and says what it wrote, what the job takes and what comes next."""
    make_notebook("print(batch)", ("1 / 0", "demo"))
    result = typed("export", "notebooks/sample.ipynb", "--no-hashes")
    assert result.exit_code == 0, result.output
    assert "exported jobs/sample" in result.output
    assert "parameters batch: str" in result.output
    assert "left out   demo cells 3" in result.output
    assert "next: prodkit run jobs/sample" in result.output
    again = typed("export", "notebooks/sample.ipynb", "--no-hashes")
    assert "wrote" not in again.output


def test_check_fails_on_drift(typed: Callable[..., Result], make_notebook: Callable[..., Path]):
    """`--check` is silent success while job and notebook agree, and exit code 78 with the command to run when not."""
    make_notebook("print(batch)")
    assert error_of(typed("export", "notebooks/sample.ipynb", "--check")).code == "job.missing"
    typed("export", "notebooks/sample.ipynb", "--no-hashes")
    assert typed("export", "notebooks/sample.ipynb", "--check").exit_code == 0
    make_notebook("print(batch, 2)")
    error = error_of(typed("export", "notebooks/sample.ipynb", "--check"))
    assert (error.code, error.exit_code) == ("export.drift", 78)
    assert error.fix.startswith("prodkit export notebooks/sample.ipynb --to ")


def test_lint_counts_and_fails_on_errors(typed: Callable[..., Result], make_notebook: Callable[..., Path]):
    """Lint prints each finding with its fix; errors fail, warnings only with --strict."""
    make_notebook("!ls\nprint(batch)")
    result = typed("lint", "notebooks/sample.ipynb")
    assert (result.exit_code, "0 errors, 1 warnings in 2 code cells" in result.output) == (0, True)
    assert typed("lint", "notebooks/sample.ipynb", "--strict").exit_code == 1
    make_notebook("print(batch, nosuch)")
    result = typed("lint", "notebooks/sample.ipynb")
    assert result.exit_code == 1
    assert "sample.ipynb, cell 2, line 1: No cell binds `nosuch`. [lint.unbound]" in result.output


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("print(batch)", None),
        ("assert batch == 'x'", "AssertionError"),
        pytest.param("import os\nos._exit(3)", "The kernel dies in this cell", marks=pytest.mark.slow),
    ],
)
def test_a_clean_run_proves_it(
    typed: Callable[..., Result], make_notebook: Callable[..., Path], source: str, says: str | None
):
    """`--clean-run` runs the job's cells in a fresh kernel: it names the failing cell, and demo cells don't count."""
    path = make_notebook("x = 1", f"if batch or x:\n    {source.replace(chr(10), chr(10) + '    ')}", ("1 / 0", "demo"))
    before = path.read_bytes()
    result = typed("lint", "notebooks/sample.ipynb", "--clean-run")
    assert result.exit_code == (0 if says is None else 1), result.output
    if says:
        assert "sample.ipynb, cell 3: " in result.output
        assert says in result.output
    assert path.read_bytes() == before


def test_owners_shows_and_checks(typed: Callable[..., Result], owned: Project):
    """`prodkit owners` shows the matrix and where an alert goes; a violation is printed with line and fix, exit 78."""
    manifest = owned.root / "prodkit.yaml"
    text = manifest.read_text()
    manifest.write_text(text + "alerts: [{name: slow, metric: p95, threshold: 5, activity: uptime}]\n")
    result = typed("owners")
    assert result.exit_code == 0, result.output
    assert "security_review" in result.output
    assert "slow (p95 beyond 5 in 1h) goes to Ana Ruiz, @ana" in result.output
    assert "0 violations" in result.output
    manifest.write_text(text.replace("A: ana", "A: anna"))
    result = typed("owners")
    assert result.exit_code == 78
    assert "[owners.unknown-id]" in result.output
    assert "fix: did you mean `ana`?" in result.output


def test_owners_of_another_day(typed: Callable[..., Result]):
    """`--today` asks whether the ownership will still hold on a day."""
    result = typed("owners", "--today", "2099-01-01")
    assert result.exit_code == 78
    assert "owners.review-past" in result.output


@pytest.mark.parametrize("name", ["backstage", "datadog", "cyclonedx", "codeowners"])
def test_owners_prints_other_formats(typed: Callable[..., Result], name: str):
    """`--format` prints only the other system's file, so that it can be redirected."""
    result = typed("owners", "--format", name)
    assert result.exit_code == 0, result.output
    content = json.loads(result.output) if name == "cyclonedx" else yaml.safe_load(result.output.replace("* ", "all "))
    assert content


def test_owners_refuses_an_unknown_format(typed: Callable[..., Result]):
    """An unknown format is one clear error with the nearest."""
    assert "did you mean `datadog`?" in error_of(typed("owners", "--format", "datadg")).fix
