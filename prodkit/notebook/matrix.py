"""`%%prodkit --matrix`: a cell's code once for each model and prompt, and what came of it side by side."""

from __future__ import annotations

import ast
import builtins
import inspect
from typing import TYPE_CHECKING, Any

from IPython.display import display

from prodkit.errors import ParameterError, nearest
from prodkit.notebook.displays import count
from prodkit.notebook.tables import bundle

if TYPE_CHECKING:
    from types import CodeType

    from IPython.core.interactiveshell import InteractiveShell

    from prodkit.capture import Comparison
    from prodkit.capture.comparison import Outcome
    from prodkit.notebook.cells import CellRuns
    from prodkit.notebook.header import Matrix

_ABSENT = object()


def compare_cell(shell: InteractiveShell, runs: CellRuns, options: dict[str, Any], matrix: Matrix, cell: str) -> Any:
    """Run a cell's body once a variant. The notebook's variables are afterwards what they were before.

    Returns:
        The comparison; for a body that awaits, a coroutine that gives it.

    Raises:
        ParameterError: an option, an expression or a name is wrong; nothing has been run then.
        Exception: the first variant's error, when no variant ran to its end.
    """
    from prodkit.capture.comparing import variants_of
    from prodkit.capture.scoring import EXACT, Scoring

    variants = variants_of(matrix.models, matrix.prompts)
    body = _Body(shell, runs.code, cell)
    expect = _expression(matrix.expect, "expect", body, shell)
    score = _expression(matrix.score, "score", body, shell)
    if matrix.into and not matrix.into.isidentifier():
        fix = "write a name as Python takes it, e.g. --into compared"
        raise ParameterError("notebook.bad-value", f"`{matrix.into}` is no variable.", where="--into", fix=fix)
    scoring = Scoring(
        None if expect is None else lambda outcome: _look_up(expect, outcome, shell),
        None if score is None else lambda outcome: _look_up(score, outcome, shell),
        matrix.score or (EXACT if matrix.expect else ""),
    )
    named = {**options, "name": options.get("name") or "compare"}
    run = runs.open(named, kind="compare")
    status = _Status(len(variants))
    work = _all_of(run, variants, scoring, body, status)
    if body.awaits:
        return _awaited(work, matrix.into, shell)
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        return _kept(done.value, matrix.into, shell)


async def _all_of(run: Any, variants: Any, scoring: Any, body: _Body, status: _Status) -> Comparison:
    """All variants, one after another, so that none slows another. Awaits only if its body does."""
    from prodkit.capture.comparing import Comparing

    with Comparing(run) as comparing:
        for number, variant in enumerate(variants, start=1):
            status.tell(number, variant.label)
            with comparing.turn(variant, scoring) as turn:
                await body.execute(turn)
        status.over()
        return comparing.result(scoring)


async def _awaited(work: Any, into: str, shell: InteractiveShell) -> Comparison:
    return _kept(await work, into, shell)


def _kept(comparison: Comparison, into: str, shell: InteractiveShell) -> Comparison:
    if into:
        shell.user_ns[into] = comparison
    return comparison


class _Body:
    """The code below the header, ready to be run more than once. Line numbers are those of the whole cell."""

    def __init__(self, shell: InteractiveShell, code: str, cell: str) -> None:
        self._shell = shell
        tree = shell.compile.ast_parse("\n" + shell.transform_cell(cell))
        self.names = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        filename = shell.compile.cache(code or cell)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        last = tree.body[-1] if tree.body else None
        self._last: CodeType | None = None
        self._target = ""
        if isinstance(last, ast.Expr):
            tree.body.pop()
            self._last = compile(ast.Expression(last.value), filename, "eval", flags)
        elif isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
            self._target = last.targets[0].id
        self._first = compile(tree, filename, "exec", flags)
        codes = [code for code in (self._first, self._last) if code is not None]
        self.awaits = any(code.co_flags & inspect.CO_COROUTINE for code in codes)

    async def execute(self, turn: Any) -> None:
        """Run once in the user's namespace, leave value and variables in the turn, and put all names back."""
        space = self._shell.user_ns
        before = dict(space)
        try:
            await self._run(self._first)
            if self._last is not None:
                turn.value = await self._run(self._last)
            elif self._target:
                turn.value = space.get(self._target)
        finally:
            turn.variables = {
                name: value
                for name, value in space.items()
                if before.get(name, _ABSENT) is not value and not name.startswith("_")
            }
            for name in [name for name in space if name not in before]:
                del space[name]
            space.update(before)

    async def _run(self, code: CodeType) -> Any:
        value = eval(code, self._shell.user_ns)  # noqa: S307  the user's own cell
        return await value if code.co_flags & inspect.CO_COROUTINE else value


class _Status:
    """One line below the cell that says how far it is; its last state stays."""

    def __init__(self, variants: int) -> None:
        self._variants = variants
        self._handle: Any = display(_Line("comparing"), display_id=True)

    def tell(self, number: int, label: str) -> None:
        """The next variant begins."""
        self._update(f"variant {number} of {self._variants}: {label}")

    def over(self) -> None:
        """All have had their turn."""
        self._update(f"{count(self._variants, 'variant')} run")

    def _update(self, text: str) -> None:
        if self._handle is not None:
            self._handle.update(_Line(text))


class _Line:
    """A line of text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self._text}

    def __repr__(self) -> str:
        return self._text


class _Table:
    """A comparison's table; the picture is an output of its own, because GitHub drops pictures inside of HTML."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        from prodkit.capture.side_by_side import table

        return bundle(table(self._comparison), self._comparison.to_text())


def show_comparison(comparison: Comparison) -> None:
    """Table and picture, as two outputs that need no kernel."""
    from prodkit.capture.side_by_side import title

    display(_Table(comparison))
    display({"image/svg+xml": comparison.to_svg(), "text/plain": f"{title(comparison)}, as bars"}, raw=True)


def _expression(text: str, option: str, body: _Body, shell: InteractiveShell) -> CodeType | None:
    """The code of an option that names something of the notebook; wrong names are said before anything is run."""
    if not text:
        return None
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        what = f"`{text}` isn't an expression: {error.msg}."
        raise ParameterError(
            "notebook.bad-value", what, where=f"--{option}", fix=f"e.g. --{option} tickets.queue"
        ) from None
    known = {*shell.user_ns, *body.names, *vars(builtins)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            shown = [name for name in known if not name.startswith("_") and not hasattr(builtins, name)]
            close = nearest(node.id, shown)
            fix = close if close.startswith("did you mean") else "set it in an earlier cell"
            raise ParameterError("notebook.unknown-name", f"There is no `{node.id}`.", where=f"--{option}", fix=fix)
    return compile(tree, f"<--{option}>", "eval")


def _look_up(code: CodeType, outcome: Outcome, shell: InteractiveShell) -> Any:
    """The right answers, in the notebook's variables and those that the variant has set."""
    return eval(code, {**shell.user_ns, **outcome.variables})  # noqa: S307  the user's own header
