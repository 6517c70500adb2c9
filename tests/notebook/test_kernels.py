"""In a real kernel: cards are stored in the notebook, and errors are errors for every runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.manifest import Project

ASK = (
    'client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "I was charged twice"}])'
)
SETUP = "%load_ext prodkit\nfrom openai import AsyncOpenAI, OpenAI\nfrom prodkit.testing import openai_options\nclient = OpenAI(**openai_options())"


def notebook_of(*cells: str) -> Any:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return book


def test_a_run_notebook_keeps_its_cards(in_kernel: Project) -> None:
    """Run by nbclient: await works, the card is stored as HTML and text, and needs no script, network or kernel."""
    stream = (
        "%%prodkit --name draft --budget 0.10\nasync with AsyncOpenAI(**openai_options()) as aclient:\n    answer = await a"
        + ASK
    )
    book = notebook_of(SETUP, f"#| prodkit: name=classify\n{ASK}\n'done'", stream + "\nanswer.usage.total_tokens")
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(in_kernel.root)}}).execute()
    for cell, name in ((book.cells[1], "classify"), (book.cells[2], "draft")):
        value, card = cell.outputs
        assert value.output_type == "execute_result"
        assert f"{name} finished" in card.data["text/plain"]
        assert "1 call" in card.data["text/plain"]
        html = card.data["text/html"]
        assert '<section class="prodkit-card' in html
        assert "<script" not in html
        assert 'src="' not in html


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("%%prodkit --nmae classify\n1", "notebook.unknown-option"),
        pytest.param(f"%%prodkit --name a --budget 0.0000001\n{ASK}", "budget.exceeded", marks=pytest.mark.slow),
    ],
)
def test_papermill_fails_with_our_message(in_kernel: Project, tmp_path: Path, cell: str, code: str) -> None:
    """Neither a wrong header nor a spent budget lets a notebook go on; the runner's error names our code."""
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    book = notebook_of(SETUP, cell, "never = 1")
    source = tmp_path / "in.ipynb"
    nbformat.write(book, source)
    with pytest.raises(PapermillExecutionError, match=code.replace(".", r"\.")):
        execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False, cwd=str(in_kernel.root))
    executed = nbformat.read(tmp_path / "out.ipynb", 4)
    assert executed.cells[-1].execution_count is None


@pytest.mark.slow
def test_nbclient_stops_at_our_errors(in_kernel: Project) -> None:
    """A refused input is a real error output: its name, its message and the next step."""
    book = notebook_of(SETUP, "%%prodkit --name a --input nothing\n1")
    with pytest.raises(CellExecutionError, match=r"capture\.unknown-input"):
        NotebookClient(book, timeout=120, resources={"metadata": {"path": str(in_kernel.root)}}).execute()
    (output,) = book.cells[1].outputs
    assert output.output_type == "error"
    assert output.ename == "ParameterError"
    assert "fix:" in "\n".join(output.traceback)
