"""The architecture is a test: who may import whom, how light the front door is, and how many names it has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "mlflow", "pandas", "numpy", "polars", "pyarrow", "papermill", "pandera", "IPython", "ipywidgets", "nbconvert", "dask",
    "sklearn", "aiohttp", "pydantic", "openai", "click", "yaml", "sqlite3", "cryptography",
)  # fmt: skip
PROBE = """
import json, sys
before = set(sys.modules)
import prodkit
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_walls_stand(repository: Path):
    """Imports point down only, rooms of one floor don't see each other, and each heavy library stays in its rooms."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_loads_nothing_heavy():
    """A fresh `import prodkit` loads none of the heavy libraries, and hardly any module at all."""
    loaded = loaded_by(PROBE)
    assert not [name for name in loaded if name.split(".")[0] in HEAVY]
    assert len([name for name in loaded if name.startswith("prodkit")]) == 1
    assert len(loaded) < 20, loaded


def test_help_loads_nothing_heavy():
    """`prodkit --help` answers without a heavy library."""
    loaded = loaded_by(
        "import json, sys\nfrom click.testing import CliRunner\nfrom prodkit.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\nprint(json.dumps(sorted(sys.modules)))"
    )
    assert not [name for name in loaded if name.split(".")[0] in set(HEAVY) - {"click"}]


def test_the_extension_loads_nothing_heavy():
    """`%load_ext prodkit` brings neither MLflow nor pandas nor the manifest's models: they come with the first capture."""
    loaded = loaded_by(
        "import json, sys\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\nbefore = set(sys.modules)\nshell.run_line_magic('load_ext', 'prodkit')\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert "prodkit.notebook.magics" in loaded
    assert not [name for name in loaded if name.split(".")[0] in set(HEAVY) - {"IPython", "yaml", "sqlite3"}]


def test_front_door_is_small_and_real():
    """The front door has at most 15 names, each says what it is, and an unknown one is an AttributeError."""
    import prodkit

    assert len(prodkit.__all__) <= 15
    for name in prodkit.__all__:
        assert getattr(prodkit, name).__doc__, name
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = prodkit.nothing_of_ours


def test_no_room_hides_a_name_of_the_front_door():
    """Once every module is loaded, the front door's names still are what they are called, not modules."""
    loaded_by(
        "import pkgutil, importlib, types, prodkit\n"
        "for room in pkgutil.iter_modules(prodkit.__path__, 'prodkit.'):\n"
        "    if not room.name.endswith('__main__'): importlib.import_module(room.name)\n"
        "hidden = [name for name in prodkit.__all__ if isinstance(getattr(prodkit, name), types.ModuleType)]\n"
        "assert not hidden, hidden\n"
        "print('[]')"
    )


def test_each_command_is_there_and_says_its_line():
    """The table of commands and the commands themselves agree, name for name and line for line."""
    import importlib

    from prodkit.cli import COMMANDS

    for name, (module, line) in COMMANDS.items():
        command = getattr(importlib.import_module(module), name.replace("-", "_"))
        assert (command.help or "").strip().split("\n")[0] == line, name


def test_repository_speaks_of_the_product_alone(repository: Path):
    """No tracked text names a machine path or a registry's host."""
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True)
    names = [
        n
        for n in listed.stdout.splitlines()
        if Path(n).suffix in {".py", ".md", ".toml", ".yaml", ".ipynb", ".j2", ".txt"}
    ]
    forbidden = re.compile(r"/" + r"root/|/" + r"work/|https?://[a-z.]*" + r"(pypi\.org|npmjs|pythonhosted)")
    hits = [n for n in names if forbidden.search((repository / n).read_text(encoding="utf-8", errors="replace"))]
    assert names
    assert hits == []


def test_readme_shows_the_commands_as_they_are(repository: Path):
    """README lists every command with the line that `prodkit --help` shows, and no other."""
    from prodkit.cli import COMMANDS

    readme = (repository / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^  ([a-z]+) {2,}([A-Z].*)$", readme, re.MULTILINE))
    assert shown == {name: line for name, (_, line) in COMMANDS.items()}
