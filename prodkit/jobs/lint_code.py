"""Rules about what the code does: would it work on another machine, unattended, with nothing given away?"""

from __future__ import annotations

import ast
import fnmatch
import re
from typing import TYPE_CHECKING, TypeVar

from prodkit.errors import nearest
from prodkit.jobs.directives import FIELDS
from prodkit.jobs.script import awaits
from prodkit.redaction import secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.jobs.lint import Case, CodeCell, Problem, Severity
    from prodkit.jobs.shell import ShellLine

_Node = TypeVar("_Node", bound=ast.AST)

_ABSOLUTE = re.compile(
    r"(/(home|Users|root|mnt|data|opt|var|srv|content|kaggle|Volumes|workspace|work|media|dbfs|scratch)/.+"
    r"|~[\w.-]*/.+|[A-Za-z]:[\\/].+|\\\\[^\\]+\\.+|file://.+)",
    re.DOTALL,
)
_READER = re.compile(r"(read_\w+|scan_\w+|open|load_dataset|loadtxt|genfromtxt|load|connect|create_engine)")
_MODULES = {"pd", "pandas", "pl", "polars", "np", "numpy", "pq", "duckdb", "sqlite3", "spark", "dd", "datasets", "pa"}
_ASKING = {"input", "getpass.getpass", "getpass"}
_NO_SHELL = "write it in Python, or tag the cell `demo`"


def no_install(case: Case) -> Iterator[Problem]:
    """A job's packages come from its lock."""
    for code, shell in _shells(case):
        if shell.meaning == "install":
            what = "The cell installs packages; a job's come from requirements.lock."
            yield case.problem(
                "install", what, "take the line out: export locks what is imported", code.cell, shell.line
            )


def no_foreign_lines(case: Case) -> Iterator[Problem]:
    """Each of IPython's lines means something in production."""
    for code, shell in _shells(case):
        name = f"{'%%' if shell.cell_wide else '%'}{shell.name}"
        if shell.meaning == "refuse":
            what = f"`{name}` has no meaning in production."
            yield case.problem("magic", what, _NO_SHELL, code.cell, shell.line)
        elif shell.meaning == "shell" and ("{" in shell.text or "$" in shell.text):
            what = "A shell line takes Python values, which a script can't pass safely."
            yield case.problem("shell", what, "use subprocess.run([...], check=True)", code.cell, shell.line)
        elif shell.meaning == "shell":
            what = "A shell line: its failure would go unnoticed."
            fix = "use subprocess.run([...], check=True)"
            yield case.problem("shell", what, fix, code.cell, shell.line, "warning")
        elif shell.meaning == "measure":
            what = f"`{name}` measures or debugs; the script leaves it out, the notebook job runs it."
            yield case.problem("measure", what, "tag the cell `demo`", code.cell, shell.line, "warning")


def no_ipython(case: Case) -> Iterator[Problem]:
    """The code asks nothing of IPython."""
    for code, node in _nodes(case, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "get_ipython":
            what = "`get_ipython()` is only there in a notebook."
            yield case.problem("ipython", what, _NO_SHELL, code.cell, node.lineno)


def nobody_asked(case: Case) -> Iterator[Problem]:
    """Nobody is there to answer a question."""
    for code, node in _nodes(case, ast.Call):
        if ast.unparse(node.func) in _ASKING:
            fix = "make it a parameter, or read a secret from the environment"
            yield case.problem("asks", "The cell waits for somebody to type.", fix, code.cell, node.lineno)


def no_absolute_paths(case: Case) -> Iterator[Problem]:
    """Paths hold on other machines."""
    for code, node in _nodes(case, ast.Constant):
        if isinstance(node.value, str) and _ABSOLUTE.fullmatch(node.value):
            what = "An absolute path holds on this machine only."
            fix = "make it relative to the notebook, a parameter, or a data source of prodkit.yaml"
            yield case.problem("absolute-path", what, fix, code.cell, node.lineno)


def no_secrets(case: Case) -> Iterator[Problem]:
    """No key is written down."""
    for code in (*case.cells, *case.dropped):
        for number, kind in secrets_in(code.cell.source):
            fix = "read it from the environment (os.environ), and make a new one: this one is known now"
            yield case.problem("secret", f"The line looks like it holds a secret ({kind}).", fix, code.cell, number)


def sources_mapped(case: Case) -> Iterator[Problem]:
    """What is read is in the manifest, so that it has an owner, a class and a contract."""
    sources = case.project.manifest.data_sources
    for code, node in _nodes(case, ast.Call):
        if not (text := _first_text(node)):
            continue
        function = ast.unparse(node.func)
        if function in {"prodkit.read", "read"} and text not in sources:
            what = f"`{text}` is no data source of prodkit.yaml."
            yield case.problem("unknown-source", what, nearest(text, sources) or "add it", code.cell, node.lineno)
        elif _reads(function, node) and not _is_mapped(text, case):
            what = "The cell reads data that prodkit.yaml doesn't map: nobody owns it, nothing checks it."
            fix = "add it under data_sources and use `prodkit.read(NAME)`"
            yield case.problem("unmapped-source", what, fix, code.cell, node.lineno, "warning")


def directives_known(case: Case) -> Iterator[Problem]:
    """The options of a captured cell are known, and it has a name."""
    for code in case.cells:
        directive = code.cell.directive
        if directive is None:
            continue
        if not directive.name:
            yield case.problem(
                "option", "The captured cell has no name.", "add `name=...` to its prodkit line", code.cell
            )
        for key, _ in directive.options:
            if key.replace("_", "-") not in FIELDS:
                what = f"The prodkit line has the option `{key}`, which there isn't."
                yield case.problem("option", what, nearest(key, FIELDS), code.cell)


def not_expected_to_fail(case: Case) -> Iterator[Problem]:
    """A cell of a job isn't there to fail."""
    for code in case.cells:
        if "raises-exception" in code.cell.tags:
            what = "The cell is tagged `raises-exception`: a job would go on after its error."
            yield case.problem(
                "raises-exception", what, "tag it `demo`, or take the tag away", code.cell, severity="warning"
            )


def no_star_imports(case: Case) -> Iterator[Problem]:
    """One sees which names an import binds."""
    for code, node in _nodes(case, ast.ImportFrom):
        if any(alias.name == "*" for alias in node.names):
            waits = code.tree is not None and awaits(code.tree)
            severity: Severity = "error" if waits else "warning"
            what = "`import *` hides which names are bound" + (
                ", and can't stand in a cell that awaits." if waits else "."
            )
            yield case.problem("star-import", what, "import the names that are used", code.cell, node.lineno, severity)


def _shells(case: Case) -> Iterator[tuple[CodeCell, ShellLine]]:
    for code in case.cells:
        for shell in code.shells:
            yield code, shell


def _nodes(case: Case, kind: type[_Node]) -> Iterator[tuple[CodeCell, _Node]]:
    for code in case.cells:
        for node in ast.walk(code.tree) if code.tree is not None else ():
            if isinstance(node, kind):
                yield code, node


def _first_text(node: ast.Call) -> str:
    first = node.args[0] if node.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _reads(function: str, node: ast.Call) -> bool:
    owner, _, name = function.rpartition(".")
    if function == "open":
        mode = _mode(node)
        return not set(mode) & set("wax")
    return owner.partition(".")[0] in _MODULES and bool(_READER.fullmatch(name))


def _mode(node: ast.Call) -> str:
    given = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"


def _is_mapped(text: str, case: Case) -> bool:
    if text.startswith(":memory:"):
        return True
    locations = [source.location for source in case.project.manifest.data_sources.values() if source.location]
    place = str(case.notebook.path.absolute().parent / text) if "://" not in text else text
    patterns = [location if "://" in location else str(case.project.root / location) for location in locations]
    return any(fnmatch.fnmatch(place, re.sub(r"\{\w+\}", "*", pattern)) for pattern in patterns)


RULES: tuple[Callable[[Case], Iterator[Problem]], ...] = (
    no_install,
    no_foreign_lines,
    no_ipython,
    nobody_asked,
    no_absolute_paths,
    no_secrets,
    sources_mapped,
    directives_known,
    not_expected_to_fail,
    no_star_imports,
)
