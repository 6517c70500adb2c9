"""nbconvert, with a template of ours: cells that were rewritten for a script become one Python file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbconvert.exporters import PythonExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from prodkit.templates import folder

if TYPE_CHECKING:
    from collections.abc import Iterable


class TwinExporter(PythonExporter):
    """nbconvert's exporter to Python over `templates/job/job.py.j2`.

    nbconvert's own template turns `!command` into calls that only IPython has, and leaves awaits where a script can't
    have them; here cells come as they are to stand in the file. No preprocessor and no configuration of the user's has
    a say, so that the same notebook gives the same bytes everywhere.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            template_file="job.py.j2",
            extra_template_paths=[str(folder() / "job")],
            default_preprocessors=[],
            exclude_input_prompt=True,
            **options,
        )


def convert(texts: Iterable[tuple[str, str]], **values: object) -> str:
    """The script of a notebook's cells.

    Args:
        texts: each cell's kind (`code` or `markdown`) and the text that stands for it; empty ones leave no trace.
        values: what the template asks for beside the cells.
    """
    make = {"code": new_code_cell, "markdown": new_markdown_cell}
    cells = [make[kind](text) for kind, text in texts if text]
    script, _ = TwinExporter().from_notebook_node(new_notebook(cells=cells), resources={"job": values})
    return str(script)
