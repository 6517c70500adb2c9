"""`%%prodkit` above a cell and `%prodkit` on a line. Loading registers them; nothing else of a notebook changes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display
from traitlets import Bool, Unicode

from prodkit.capture.faces import faces
from prodkit.errors import ConfigError
from prodkit.manifest import find_project
from prodkit.notebook.cells import CellRuns
from prodkit.notebook.commands import Commands
from prodkit.notebook.completion import make_matcher
from prodkit.notebook.displays import Reading
from prodkit.notebook.header import MAGIC, OPENER, parse, parse_all, rewrite, synopsis
from prodkit.notebook.matrix import compare_cell, show_comparison
from prodkit.notebook.settings import DEFAULTABLE, defaults
from prodkit.sources import listeners

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from prodkit.sources import ReadReport

_ATTRIBUTE = "_prodkit_magics"
COMPARISON = ("prodkit.capture.comparison", "Comparison")
_HELP = f"""Capture a cell: its calls, prompts, data and cost, as one MLflow run with a card below the cell.

    %%prodkit --name classify --budget 0.50 --input tickets
    answers = [ask(text) for text in tickets["body"]]

The comment `#| prodkit: name=classify budget=0.50 input=tickets` does the same and leaves the cell plain Python for
editors. So does `with prodkit.run("classify", budget="0.50"):`.

    %%prodkit --matrix model=gpt-4o-mini,gpt-4o prompt=v1,v2 --expect tickets.queue --budget 0.50
    [ask(text) for text in tickets["body"]]

runs the cell once for each model and prompt, and lays quality, cost and latency side by side.

    %prodkit status        where things are written; `%prodkit` alone lists all line commands

Options:
{synopsis()}

Defaults come from the cell, then `%config ProdkitMagics`, then PRODKIT_ variables, then [tool.prodkit] in
pyproject.toml.
"""


@magics_class
class ProdkitMagics(Magics):
    """The magics of one shell."""

    budget = Unicode("", help="US dollars that a captured cell may cost.").tag(config=True)
    mode = Unicode("", help="quarantine, refuse or warn.").tag(config=True)
    strict = Bool(default_value=False, help="Refuse cells that use dataframes that nobody checked.").tag(config=True)
    user = Unicode("", help="On whose behalf calls are made.").tag(config=True)
    source = Unicode("", help="Where the content of calls comes from, e.g. crm.").tag(config=True)
    session = Unicode("", help="The conversation or batch that calls belong to.").tag(config=True)
    purpose = Unicode("", help="What the answers are for.").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.runs = CellRuns(shell, self._defaults)
        self.matcher = make_matcher(shell)
        self.commands = Commands(shell, self.runs)

    @no_var_expand
    @line_magic(OPENER)
    def open_cell(self, line: str) -> None:
        """What a header is rewritten into: opens the cell's run."""
        self.runs.open(parse(line))

    @no_var_expand
    @line_magic(MAGIC)
    def command(self, line: str) -> object:
        """One of prodkit's line commands; `%prodkit` alone lists them."""
        return self.commands.call(line)

    @no_var_expand
    @cell_magic(MAGIC)
    def run_cell(self, line: str, cell: str) -> object:
        """See `_HELP`; reached only where the header could not be rewritten: another cell magic is below it."""
        options, matrix = parse_all(f"%%{MAGIC} {line}")
        if matrix is not None:
            return compare_cell(self.shell, self.runs, options, matrix, cell)
        tree = self.shell.compile.ast_parse(self.shell.transform_cell(cell))
        if any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in ast.walk(tree)):
            what = "The cell awaits, and its prodkit line could not be rewritten."
            raise ConfigError("notebook.await", what, fix="load the extension in an earlier cell: `%load_ext prodkit`")
        self.runs.open(options)
        return self._execute(tree)

    def _defaults(self) -> dict[str, object]:
        return defaults({name: getattr(self, name) for name in DEFAULTABLE}, find_project().root)

    def _execute(self, tree: ast.Module) -> object:
        """Run a cell's tree in the user's namespace; the value of a last expression is what the magic returns."""
        body = tree.body
        last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
        tree.body = body[:-1] if last is not None else body
        name = self.shell.compile.cache(self.runs.code)
        exec(compile(tree, name, "exec"), self.shell.user_ns)  # noqa: S102  the user's own cell
        if last is None:
            return None
        return eval(compile(ast.Expression(last.value), name, "eval"), self.shell.user_ns)  # noqa: S307


ProdkitMagics.run_cell.__doc__ = _HELP


def _show_reading(report: ReadReport) -> None:
    display(Reading(report))


def load(shell: InteractiveShell) -> ProdkitMagics:
    """`%load_ext prodkit`. Loading twice changes nothing."""
    loaded = getattr(shell, _ATTRIBUTE, None)
    if loaded is not None:
        return loaded
    magics = ProdkitMagics(shell)
    shell.register_magics(magics)
    shell.configurables.append(magics)
    if magics.matcher is not None:
        shell.Completer.custom_matchers.append(magics.matcher)
    shell.input_transformers_cleanup.append(rewrite)
    shell.events.register("pre_run_cell", magics.runs.began)
    shell.events.register("post_run_cell", magics.runs.ended)
    shell.display_formatter.ipython_display_formatter.for_type_by_name(*COMPARISON, show_comparison)
    listeners.append(_show_reading)
    faces.append(magics.runs)
    setattr(shell, _ATTRIBUTE, magics)
    return magics


def unload(shell: InteractiveShell) -> None:
    """`%unload_ext prodkit`: the shell is as it was before."""
    magics = getattr(shell, _ATTRIBUTE, None)
    if magics is None:
        return
    shell.configurables.remove(magics)
    if magics.matcher is not None:
        shell.Completer.custom_matchers.remove(magics.matcher)
    shell.input_transformers_cleanup.remove(rewrite)
    shell.events.unregister("pre_run_cell", magics.runs.began)
    shell.events.unregister("post_run_cell", magics.runs.ended)
    manager: Any = shell.magics_manager
    shell.display_formatter.ipython_display_formatter.pop(".".join(COMPARISON), None)
    listeners.remove(_show_reading)
    faces.remove(magics.runs)
    magics.commands.close()
    manager.magics["line"].pop(OPENER, None)
    manager.magics["line"].pop(MAGIC, None)
    manager.magics["cell"].pop(MAGIC, None)
    delattr(shell, _ATTRIBUTE)
