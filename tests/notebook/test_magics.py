"""`%%prodkit` in a real shell: the cell stays an ordinary cell, and its run is captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.capture import current_run
from prodkit.errors import ParameterError
from prodkit.notebook.magics import load, unload

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

ASK = (
    'client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "I was charged twice"}])'
)
SURFACES = ["%%prodkit --name classify --budget 0.50", "#| prodkit: name=classify budget=0.50"]


@pytest.mark.parametrize("header", SURFACES)
def test_a_captured_cell_shows_its_card(notebook: Any, client: Any, header: str) -> None:
    """Both spellings count the call, its tokens and its cost, and close the run when the cell is over."""
    ran = notebook.run(f"{header}\nanswer = {ASK}\nanswer.choices[0].message.content")
    assert ran.error is None
    assert len(ran.cards) == 1
    card = ran.cards[0]
    assert "classify finished" in card
    assert "1 call" in card
    assert "of $0.50 budget" in card
    assert "gpt-4o-mini" in card
    assert "(simulated provider)" in card
    assert ran.result.result == notebook.shell.user_ns["_"]
    run = current_run()
    assert run is None or run.options.kind == "session"


def test_the_body_is_an_ordinary_cell(notebook: Any) -> None:
    """Top-level await, `_`, shell lines, line magics, a trailing `;` and `__future__` work below the header."""
    header = "%%prodkit --name a\n"
    assert notebook.run(header + "import asyncio\nawait asyncio.sleep(0, 41) + 1").result.result == 42
    assert notebook.run(header + "6 * 7").result.result == 42
    assert notebook.run("_ + 1").result.result == 43
    assert notebook.run(header + "said = !echo hello\nsaid[0]").result.result == "hello"
    assert "Wall time" in notebook.run(header + "%time x = 5\n").stdout
    assert notebook.run(header + "40 + 2;").result.result is None or "42" not in notebook.run(header + "40 + 2;").stdout
    assert notebook.run(header + "from __future__ import annotations\ny: unknown = 3\ny").result.result == 3


def test_time_above_and_below(notebook: Any) -> None:
    """`%%time` above or below the header: the cell is timed, captured once, and its value is shown."""
    for cell in ("%%time\n%%prodkit --name a\n6 * 7", "%%prodkit --name a\n%%time\n6 * 7"):
        ran = notebook.run(cell)
        assert ran.error is None
        assert "Wall time" in ran.stdout
        assert ran.result.result == 42
        assert len(ran.cards) == 1


def test_errors_point_at_the_right_line(notebook: Any) -> None:
    """A traceback names the line that the author sees, and the card says that the cell failed."""
    ran = notebook.run("%%prodkit --name a\nx = 1\n\n1 / 0")
    assert isinstance(ran.error, ZeroDivisionError)
    traceback = ran.error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    assert traceback.tb_lineno == 4
    assert "----> 4 1 / 0" in ran.errors[0]
    assert "a failed" in ran.cards[0]


def test_a_syntax_error_opens_nothing(notebook: Any) -> None:
    """A cell that isn't Python never starts, so there is no run and no card."""
    ran = notebook.run("%%prodkit --name a\nx = 1\ny = = 2")
    assert isinstance(ran.error, SyntaxError)
    assert ran.error.lineno == 3
    assert ran.cards == []


@pytest.mark.parametrize(
    ("header", "code", "hint"),
    [
        ("%%prodkit --nmae x", "notebook.unknown-option", "did you mean `name`"),
        ("%%prodkit --name x --budget plenty", "capture.bad-budget", "0.50"),
        ("#| prodkit: name=x budget=-1", "capture.bad-budget", "0.50"),
        ("%%prodkit", "capture.no-name", "name"),
        ("%%prodkit --name x --input tikets", "capture.unknown-input", "did you mean `tickets`"),
    ],
)
def test_a_wrong_header_stops_the_cell(notebook: Any, header: str, code: str, hint: str) -> None:
    """The body doesn't run, and what is shown is the message with its code and fix, not a traceback of ours."""
    notebook.run("import pandas as pd\ntickets = pd.DataFrame({'a': [1]})\nran = False")
    ran = notebook.run(f"{header}\nran = True")
    assert isinstance(ran.error, ParameterError)
    assert notebook.shell.user_ns["ran"] is False
    assert code in ran.errors[0]
    assert hint in ran.errors[0]
    assert "Traceback" not in ran.errors[0]
    assert len(ran.errors[0].splitlines()) <= 4


def test_a_spent_budget_stops_the_calls(notebook: Any, client: Any) -> None:
    """The call that would break the budget raises in the cell, and the card counts it as refused."""
    ran = notebook.run(f"%%prodkit --name a --budget 0.0000001\n{ASK}")
    assert type(ran.error).__name__ == "BudgetError"
    assert "budget.exceeded" in ran.errors[0]
    assert "1 refused" in ran.cards[0]


def test_the_with_block_is_equal(notebook: Any, client: Any) -> None:
    """`with prodkit.run(...)` shows the same card, under the same session run, and its failure is on the card too."""
    ran = notebook.run(
        f"import prodkit\nwith prodkit.run('block', budget='0.50') as run:\n    {ASK}\nrun.parent.options.kind"
    )
    assert ran.error is None
    assert ran.result.result == "session"
    assert "block finished" in ran.cards[0]
    assert "1 call" in ran.cards[0]
    assert "of $0.50 budget" in ran.cards[0]
    failed = notebook.run("with prodkit.run('block'):\n    1 / 0")
    assert isinstance(failed.error, ZeroDivisionError)
    assert "block failed" in failed.cards[0]
    assert notebook.shell._prodkit_magics.runs.open_runs == ()


def test_the_next_cell_is_not_captured(notebook: Any, client: Any) -> None:
    """A header holds for its own cell alone."""
    notebook.run(f"%%prodkit --name a\n{ASK}")
    assert notebook.run(ASK).cards == []


def test_a_cell_that_runs_a_cell_closes_both(notebook: Any) -> None:
    """Nested cells each have their own run and card, closed in the right order."""
    inner = repr("%%prodkit --name inner\nx = 1")
    ran = notebook.run(f"%%prodkit --name outer\nget_ipython().run_cell({inner});")
    assert ["inner" in card for card in ran.cards] == [True, False]


def test_help_shows_options_and_an_example(notebook: Any) -> None:
    """`%%prodkit?` tells what it does, with an example and all options."""
    text = notebook.shell.object_inspect("%%prodkit")["docstring"]
    assert "--budget USD" in text
    assert "%%prodkit --name classify --budget 0.50" in text


def test_a_console_waits_for_the_body(notebook: Any) -> None:
    """After the header line IPython asks for more lines instead of running an empty cell."""
    assert notebook.shell.check_complete("%%prodkit --name a")[0] == "incomplete"
    assert notebook.shell.check_complete("%%prodkit --name a\nx = 1\n\n")[0] == "complete"


def test_loading_twice_and_unloading_leave_the_shell_as_it_was(shell: InteractiveShell) -> None:
    """Nothing is registered twice, and nothing stays behind."""

    def state() -> Any:
        hooks = {name: list(found) for name, found in shell.events.callbacks.items()}
        magics = {kind: sorted(found) for kind, found in shell.magics_manager.magics.items()}
        return list(shell.input_transformers_cleanup), list(shell.ast_transformers), hooks, magics

    before = state()
    assert load(shell) is load(shell)
    unload(shell)
    unload(shell)
    assert state() == before


def test_lazy_loading_needs_no_load_ext(shell: InteractiveShell, run_in: Any) -> None:
    """With `MagicsManager.lazy_magics` the first `%%prodkit` loads the extension and is captured."""
    shell.magics_manager.lazy_magics["prodkit"] = "prodkit"
    ran = run_in(shell, "%%prodkit --name first\n6 * 7")
    assert ran.result.result == 42
    assert "first finished" in ran.cards[0]
    assert run_in(shell, "%%prodkit --name second\nimport asyncio\nawait asyncio.sleep(0, 3)").result.result == 3
    unload(shell)


def test_awaiting_in_the_lazily_loaded_cell_says_what_to_do(shell: InteractiveShell, run_in: Any) -> None:
    """The one thing that lazy loading can't do is said in one error with the fix."""
    shell.magics_manager.lazy_magics["prodkit"] = "prodkit"
    ran = run_in(shell, "%%prodkit --name first\nimport asyncio\nawait asyncio.sleep(0)")
    assert "%load_ext prodkit" in ran.errors[0]
    unload(shell)


def test_a_reading_is_shown_once(notebook: Any, repository: Any) -> None:
    """`prodkit.read` shows below its cell what it could not read; the log stays silent."""
    code = f"import prodkit, pathlib\nfrom prodkit.manifest import find_project\nproject = find_project(pathlib.Path({str(repository)!r}))"
    ran = notebook.run(f"{code}\ntickets = prodkit.read('tickets', project=project, batch='2026-11')")
    assert ran.error is None
    assert len(ran.cards) == 1
    assert "2 files unreadable" in ran.cards[0]
    assert "locked with a password" in ran.cards[0]
    assert ran.stdout == ""
