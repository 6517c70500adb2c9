"""What a cell declares as its outputs is kept for the exact code and parameters above it, and for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from prodkit.jobs.kept import KEPT, RESTORED, Kept, declared_outputs, keep, restore

if TYPE_CHECKING:
    from pathlib import Path


def cells(*sources: str) -> nbformat.NotebookNode:
    """A notebook whose last cell declares `labels`."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.cells[-1].metadata["tags"] = ["retry=1", "outputs=labels"]
    return nb


def evaluate(expression: str, namespace: dict[str, Any]) -> str:
    """As the kernel does it."""
    return str(eval(expression, namespace))  # noqa: S307  the expression under test


def test_what_was_kept_follows_a_chain_of_resumed_runs(tmp_path: Path) -> None:
    """A run that resumes a run that resumed another still gets what the first one kept."""
    first = cells("n = 1", "labels = [n]")
    one = Kept(tmp_path / "one")
    one.follow(first)
    assert evaluate(one.keep_expression(first.cells[-1]), {"labels": [1]}) == KEPT
    for here, earlier in (("two", "one"), ("three", "two")):
        later = cells("n = 1", "labels = [n]")
        kept = Kept(tmp_path / here, tmp_path / earlier)
        kept.follow(later)
        namespace: dict[str, Any] = {}
        assert evaluate(kept.restore_expression(later.cells[-1]), namespace) == RESTORED
        assert namespace["labels"] == [1]


def test_another_line_above_makes_the_cell_run_again(tmp_path: Path) -> None:
    """A change of any cell above, parameters included, is another chain: nothing is restored."""
    first, changed = cells("n = 1", "labels = [n]"), cells("n = 2", "labels = [n]")
    kept = Kept(tmp_path / "one")
    kept.follow(first)
    evaluate(kept.keep_expression(first.cells[-1]), {"labels": [1]})
    kept.follow(changed)
    assert kept.restore_expression(changed.cells[-1]) == ""


def test_a_changed_file_is_not_trusted(tmp_path: Path) -> None:
    """A kept file whose bytes changed isn't restored."""
    path = tmp_path / "it"
    assert keep(str(path), ("labels",), {"labels": 1}) == KEPT
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert restore(str(path), ("labels",), {}) != RESTORED


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """A variable that is missing, or that can't be stored, is told and leaves no file."""
    for namespace in ({}, {"labels": (item for item in "ab")}):
        assert keep(str(tmp_path / "it"), ("labels",), namespace).startswith("not kept")
    assert list(tmp_path.iterdir()) == []


def test_cells_without_the_tag_declare_nothing() -> None:
    """Only the tag `outputs=` declares outputs."""
    assert declared_outputs(nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})) == ()
