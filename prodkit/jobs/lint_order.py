"""Rules about the order of cells: does the notebook run from top to bottom, with nothing left over from before?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.jobs.names import HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.jobs.lint import Case, CodeCell, Problem

_MOVE = "move the cell up, or the line that binds it"


def not_empty(case: Case) -> Iterator[Problem]:
    """There is something to run."""
    if not case.cells:
        yield case.problem("empty", "No code cell would go into the job.", "write one, or take the tag `demo` away")


def python(case: Case) -> Iterator[Problem]:
    """Each cell is Python."""
    for code in case.cells:
        if code.tree is None:
            yield case.problem(
                "syntax", "The cell isn't Python.", "correct it, or tag it `demo`", code.cell, _line_of(code)
            )


def in_order(case: Case) -> Iterator[Problem]:
    """Cells were last run in the order in which they stand."""
    last, previous = 0, None
    for code in case.cells:
        count = code.cell.execution_count
        if count is not None and count < last and previous is not None:
            what = f"The cell was run before cell {previous} above it."
            yield case.problem("order", what, "restart and run all cells", code.cell, severity="warning")
        if count is not None:
            last, previous = count, code.cell.number


def all_ran(case: Case) -> Iterator[Problem]:
    """In a notebook that was run, every cell was."""
    if not any(code.cell.execution_count for code in case.cells):
        return
    for code in case.cells:
        if code.cell.execution_count is None:
            what = "The cell was never run, though others were."
            yield case.problem("never-run", what, "restart and run all cells", code.cell, severity="warning")


def no_hidden_state(case: Case) -> Iterator[Problem]:
    """What was run and is gone may have left something that cells still use."""
    counts = [code.cell.execution_count for code in (*case.cells, *case.dropped) if code.cell.execution_count]
    if counts and max(counts) > len(counts):
        gone = max(counts) - len(counts)
        what = f"{gone} executions left no trace: cells were run again, changed or deleted."
        yield case.problem("hidden-state", what, "prove it with `prodkit lint --clean-run`", severity="warning")


def bound_before_use(case: Case) -> Iterator[Problem]:
    """A name is bound by an earlier cell that goes into the job."""
    bound = {parameter.name for parameter in case.notebook.parameters}  # also those that have to be given
    deleted: dict[str, int] = {}
    everywhere = {name for code in case.cells if code.names for name in code.names.bound}
    star = False
    for code in case.cells:
        if code.names is None:
            return  # a cell that can't be read may bind anything
        star = star or code.names.star
        for name, line in code.names.needed.items():
            if name in deleted and name not in bound:
                what = f"`{name}` was deleted by cell {deleted[name]}."
                yield case.problem("unbound", what, "delete it later, or not at all", code.cell, line)
            elif name not in bound and not star and name not in HISTORY:
                yield _unbound(case, code, name, line, later=name in everywhere)
        bound = (bound | code.names.bound.keys()) - code.names.deleted
        deleted |= dict.fromkeys(code.names.deleted, code.cell.number)
        for name, line in code.names.later.items():
            if name not in everywhere and not star and name not in HISTORY:
                yield _unbound(case, code, name, line, later=False)


def no_history(case: Case) -> Iterator[Problem]:
    """`_` and `Out` are the notebook's memory, not the job's."""
    for code in case.cells:
        if code.names is None:
            continue
        for name, line in {**code.names.needed, **code.names.later}.items():
            if name in HISTORY:
                fix = "give the value a name in the cell that makes it"
                yield case.problem("history", f"`{name}` is IPython's memory of an earlier cell.", fix, code.cell, line)


def parameters_stay(case: Case) -> Iterator[Problem]:
    """A parameter isn't set again by a later cell."""
    names = {parameter.name for parameter in case.notebook.parameters}
    own = case.notebook.parameters_cell.number
    for code in case.cells:
        if code.names is None or code.cell.number == own:
            continue
        for name in sorted(names & code.names.bound.keys()):
            what = f"The cell sets the parameter `{name}` again, so what is given from outside is lost."
            place = code.names.bound[name]
            yield case.problem("overridden", what, "use another name", code.cell, place, "warning")


def parameters_used(case: Case) -> Iterator[Problem]:
    """A parameter does something."""
    used = {name for code in case.cells if code.names for name in (*code.names.needed, *code.names.later)}
    readable = all(code.tree is not None for code in case.cells)
    for parameter in case.notebook.parameters:
        if readable and parameter.name not in used:
            what = f"The parameter `{parameter.name}` isn't used."
            cell = case.notebook.parameters_cell
            yield case.problem("unused-parameter", what, "use it, or take it out", cell, severity="warning")


def _unbound(case: Case, code: CodeCell, name: str, line: int, *, later: bool) -> Problem:
    demo = [other.cell.number for other in case.dropped if other.names and name in other.names.bound]
    if later:
        cell = next(other.cell.number for other in case.cells if other.names and name in other.names.bound)
        where = "this cell, further down" if cell == code.cell.number else f"cell {cell}, further down"
        return case.problem("late", f"`{name}` is used before it is bound, by {where}.", _MOVE, code.cell, line)
    if demo:
        what = f"`{name}` is bound only by cell {demo[0]}, which is tagged `demo` and stays behind."
        return case.problem("demo-name", what, "bind it in a cell of the job, or tag this cell too", code.cell, line)
    was_run = code.cell.execution_count is not None
    why = "; a cell that is gone may have" if was_run else ""
    return case.problem("unbound", f"No cell binds `{name}`{why}.", "bind it, or correct the name", code.cell, line)


def _line_of(code: CodeCell) -> int:
    import ast

    try:
        ast.parse(code.text)
    except SyntaxError as error:
        return error.lineno or 0
    except ValueError:
        return 0
    return 0


RULES: tuple[Callable[[Case], Iterator[Problem]], ...] = (
    not_empty,
    python,
    in_order,
    all_ran,
    no_hidden_state,
    bound_before_use,
    no_history,
    parameters_stay,
    parameters_used,
)
