"""`prodkit init` and the linters: their settings are added, and nothing of the user's is touched."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import nbformat
import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.cli.linting import SETTINGS, merged
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = """# our own remarks stay
[project]
name = "triage"  # and this one

[tool.black]
line-length = 100
[tool.ruff.lint.per-file-ignores]
"tests/*" = ["S101"]
"""


def at(text: str, path: tuple[str, ...]) -> object:
    place: object = tomllib.loads(text)
    for name in path:
        assert isinstance(place, dict)
        place = place[name]
    return place


@pytest.mark.parametrize("text", ["", THEIRS, THEIRS.rstrip("\n"), THEIRS.replace("\n", "\r\n"), "[tool]\n"])
def test_settings_are_added_and_everything_else_stays(text: str):
    """Every line that was there is there, in its order; each setting is; and a second time changes nothing."""
    merge = merged(text)
    assert [at(merge.text, setting.path) for setting in SETTINGS] == [list(setting.value) for setting in SETTINGS]
    kept = [line for line in merge.text.splitlines() if line in text.splitlines()]
    assert [line for line in kept if line] == [line for line in text.splitlines() if line]
    assert ("\r\n" in merge.text) == ("\r\n" in text)
    again = merged(merge.text)
    assert (again.text, again.added, again.left) == (merge.text, (), ())


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[tool.black]\npython-cell-magics = ["sql"]\n', "python-cell-magics is yours and stays"),
        ("tool.black.line-length = 100\n[other]\nx = 1\n", "written in another form"),
        ("[tool]\nblack = {line-length = 100}\n", "written in another form"),
    ],
)
def test_what_somebody_has_set_is_never_changed(text: str, hint: str):
    """A value of the user's, or a table in a form that can't be added to, is left and said."""
    merge = merged(text)
    before, after = tomllib.loads(text), tomllib.loads(merge.text)
    assert after["tool"]["black"] == before["tool"]["black"]
    assert any(hint in line for line in merge.left)
    assert at(merge.text, SETTINGS[0].path) == list(SETTINGS[0].value)


def test_init_writes_them_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`prodkit init` adds the settings; `--linters` does it alone for a project that has a manifest already."""
    monkeypatch.chdir(tmp_path)
    flags = ["init", "--name", "t", "--owner-name", "Ana", "--owner-email", "a@x.test", "--purpose", "Sorts"]
    done = CliRunner().invoke(cli, flags, catch_exceptions=False)
    assert "added [tool.black] python-cell-magics" in done.output
    (tmp_path / "pyproject.toml").unlink()
    again = CliRunner().invoke(cli, ["init", "--linters"], catch_exceptions=False)
    assert again.exit_code == 0
    assert "prodkit" in (tmp_path / "pyproject.toml").read_text()
    third = CliRunner().invoke(cli, ["init", "--linters"], catch_exceptions=False)
    assert "already" in third.output


def test_a_broken_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A pyproject.toml that isn't TOML is one error with its place, and no byte of it changes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.black\nx = 1\n")
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(cli, ["init", "--linters"], catch_exceptions=False)
    assert caught.value.code == "init.pyproject"
    assert (tmp_path / "pyproject.toml").read_text() == "[tool.black\nx = 1\n"


def test_ruffs_own_file_is_told_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where ruff.toml is there ruff ignores pyproject.toml, so the line to add is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ruff.toml").write_text("line-length = 100\n")
    done = CliRunner().invoke(cli, ["init", "--linters"], catch_exceptions=False)
    assert "ruff reads ruff.toml" in done.output


def test_ruff_is_quiet_with_them(tmp_path: Path):
    """The real ruff finds an unused import and an undefined name in a captured notebook before, and nothing after."""
    cells = ["%load_ext prodkit", "import os", "%%prodkit --name a\nx = os.name", "#| prodkit: name=b\nx"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["language_info"] = {"name": "python"}
    nbformat.write(book, tmp_path / "a.ipynb")
    check = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "E,F", "a.ipynb"]
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    before = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "F401" in before.stdout
    assert "F821" in before.stdout
    (tmp_path / "pyproject.toml").write_text(merged("[tool.ruff]\n").text)
    after = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert after.returncode == 0, after.stdout
