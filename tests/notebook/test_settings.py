"""Where an option's value comes from when the cell doesn't say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.errors import ConfigError, ParameterError
from prodkit.notebook.settings import defaults

if TYPE_CHECKING:
    from pathlib import Path


def test_the_nearest_place_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`%config` wins over the environment, which wins over [tool.prodkit]."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.prodkit]\nbudget = 1.5\nuser = "file"\nstrict = true\nmode = "warn"\n'
    )
    assert defaults({}, tmp_path) == {"budget": "1.5", "user": "file", "strict": True, "mode": "warn"}
    monkeypatch.setenv("PRODKIT_USER", "environment")
    monkeypatch.setenv("PRODKIT_MODE", "refuse")
    found = defaults({"user": "config", "budget": ""}, tmp_path)
    assert found == {"budget": "1.5", "user": "config", "strict": True, "mode": "refuse"}


def test_a_wrong_value_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One looks for the mistake where it is, not in the cell."""
    monkeypatch.setenv("PRODKIT_MODE", "refus")
    with pytest.raises(ParameterError, match=r"environment variable PRODKIT_MODE"):
        defaults({}, tmp_path)
    monkeypatch.delenv("PRODKIT_MODE")
    (tmp_path / "pyproject.toml").write_text('[tool.prodkit]\nbugdet = "1"\n')
    with pytest.raises(ConfigError, match=r"did you mean `budget`"):
        defaults({}, tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.prodkit]\nname = "x"\n')
    with pytest.raises(ConfigError, match=r"belongs to the cell"):
        defaults({}, tmp_path)
    (tmp_path / "pyproject.toml").write_text("not toml")
    with pytest.raises(ConfigError, match=r"can't be read"):
        defaults({}, tmp_path)


def test_config_sets_defaults_and_the_cell_overrides(notebook: Any) -> None:
    """`%config ProdkitMagics.budget` holds for every header that doesn't say another."""
    notebook.run('%config ProdkitMagics.budget = "0.25"')
    assert "of $0.25 budget" in notebook.run("%%prodkit --name a\n1").cards[0]
    assert "of $0.75 budget" in notebook.run("%%prodkit --name a --budget 0.75\n1").cards[0]
    notebook.run('%config ProdkitMagics.mode = "refus"')
    ran = notebook.run("%%prodkit --name a\n1")
    assert "%config ProdkitMagics.mode" in ran.errors[0]
