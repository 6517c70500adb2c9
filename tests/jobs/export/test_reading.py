"""Reading a notebook: what it says, and one clear error for each way in which it can't be read."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING

import pytest

from prodkit.errors import ConfigError
from prodkit.jobs.directives import call_of, split_directive
from prodkit.jobs.reading import read_notebook
from prodkit.jobs.shell import indent, read_shell_lines, to_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_notebook(path).parameters  # noqa: B018
    return caught.value


def test_cells_are_read(make_notebook: Callable[..., Path]):
    """Tags, prodkit lines and the parameters are found; demo cells and empty ones stay behind."""
    notebook = read_notebook(
        make_notebook("#md # Title", "%%prodkit --name first --input a,b --input c\nx = 1", "", ("y = 2", "demo"))
    )
    assert [cell.number for cell in notebook.code] == [1, 3]
    directive = notebook.code[1].directive
    assert directive is not None
    assert (directive.name, directive.values("input")) == ("first", ("a", "b", "c"))
    assert notebook.code[1].body == "\nx = 1"
    assert [parameter.name for parameter in notebook.parameters] == ["batch"]


def test_comparisons_stay_behind(make_notebook: Callable[..., Path]):
    """A cell that compares models is no production work: it is left out as a demo cell is, in both spellings."""
    cells = ("%%prodkit --matrix model=a,b --name c\nx = 1", "#| prodkit: matrix prompt=v1,v2\nx = 1", "y = 2")
    assert [cell.number for cell in read_notebook(make_notebook(*cells)).code] == [1, 4]


def test_digest_follows_what_is_said_not_what_was_run(make_notebook: Callable[..., Path]):
    """The digest changes with a source or a tag, never with outputs, counts or layout."""
    path = make_notebook("x = 1")
    first = read_notebook(path).digest
    content = json.loads(path.read_text())
    content["cells"][1] |= {"execution_count": 7, "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}]}
    path.write_text(json.dumps(content, indent=3))
    assert read_notebook(path).digest == first
    content["cells"][1]["source"] = ["x = ", "2"]
    path.write_text(json.dumps(content))
    assert read_notebook(path).digest != first


def test_enums_of_earlier_cells_are_known(make_notebook: Callable[..., Path]):
    """A parameter may be a member of an Enum that an earlier cell defines."""
    path = make_notebook(
        "from enum import Enum\nclass Size(Enum):\n    S = 1\n    L = 2",
        ("size: Size = Size.S", "parameters"),
        parameters=None,
    )
    assert read_notebook(path).parameters[0].choices == ("S", "L")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "notebook.unreadable"),
        ("# a script", "notebook.unreadable"),
        ('{"cells": [\n<<<<<<< ours\n', "notebook.unreadable"),
        ("[]", "notebook.format"),
        ('{"nbformat": 3, "worksheets": []}', "notebook.format"),
        ('{"nbformat": 4}', "notebook.format"),
        ('{"nbformat": 4, "cells": [1]}', "notebook.format"),
        (
            '{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"name": "ir", "language": "R"}}}',
            "notebook.language",
        ),
        ('{"nbformat": 4, "cells": [], "metadata": {"language_info": {"name": "julia"}}}', "notebook.language"),
        ('{"nbformat": 4, "cells": []}', "notebook.parameters"),
        (
            '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "%%prodkit --name \'x"}]}',
            "notebook.directive",
        ),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, text: str, code: str):
    """Each way in which a file isn't a usable notebook has one clear error with the file's name."""
    path = tmp_path / "n.ipynb"
    path.write_text(text)
    error = refused(path)
    assert error.code == code
    assert "n.ipynb" in error.where
    assert error.exit_code == 78


def test_missing_and_unreadable_files_are_refused(tmp_path: Path):
    """A path that isn't there, a folder and a binary file are said plainly."""
    assert refused(tmp_path / "no.ipynb").code == "notebook.missing"
    assert "it is a folder" in refused(tmp_path).what
    (tmp_path / "b.ipynb").write_bytes(b"\xff\xfe\x00")
    assert refused(tmp_path / "b.ipynb").code == "notebook.unreadable"


def test_the_likely_parameters_cell_is_named(make_notebook: Callable[..., Path]):
    """Without a tag the error names the cell that looks like the parameters, and how to tag it."""
    error = refused(make_notebook("import os", "month = '2026-11'\nlimit = 5", parameters=None))
    assert error.code == "notebook.parameters"
    assert "tag cell 2 (it sets month, limit)" in error.fix


def test_two_parameters_cells_are_refused(make_notebook: Callable[..., Path]):
    """Two tagged cells are one too many."""
    assert "Cells 1 and 2" in refused(make_notebook(("x = 1", "parameters"))).what


def test_outputs_of_any_size_are_left_behind(make_notebook: Callable[..., Path]):
    """A notebook with tens of megabytes of outputs is read, and the outputs aren't kept."""
    path = make_notebook("x = 1")
    content = json.loads(path.read_text())
    content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 20_000_000}]
    path.write_text(json.dumps(content))
    notebook = read_notebook(path)
    assert notebook.code[1].has_outputs
    assert len(repr(notebook)) < 10_000


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("%%prodkit --name classify --budget 0.50", 'prodkit.run("classify", budget="0.50")'),
        ("#| prodkit: name=classify budget=0.50", 'prodkit.run("classify", budget="0.50")'),
        ("%%prodkit --name=x --strict", 'prodkit.run("x", strict=True)'),
        ("#| prodkit: name=x strict", 'prodkit.run("x", strict=True)'),
        ("#| prodkit: name=x strict=no", 'prodkit.run("x", strict=False)'),
        (
            "%%prodkit --name x --input a --input b,c --output d",
            'prodkit.run("x", inputs=["a", "b", "c"], outputs=["d"])',
        ),
        ("%%prodkit --name 'two words' --purpose \"a 'b'\"", 'prodkit.run("two words", purpose="a \'b\'")'),
        ("%%prodkit", 'prodkit.run("")'),
    ],
)
def test_both_spellings_mean_the_same_call(line: str, call: str):
    """A prodkit line, however spelled, means one call of `prodkit.run`."""
    directive, body = split_directive(f"# a comment\n{line}\nx = 1", "here")
    assert directive is not None
    assert call_of(directive) == call
    assert body == "# a comment\n\nx = 1"


def test_time_above_the_prodkit_line_is_put_aside():
    """`%%time` above the prodkit line doesn't hide it, and isn't part of the body."""
    directive, body = split_directive("%%time\n%%prodkit --name x\ny = 1", "here")
    assert directive is not None
    assert body.strip() == "y = 1"


def test_a_line_below_code_is_no_header():
    """A comment that looks like a prodkit line below code is a comment."""
    assert split_directive("x = 1\n#| prodkit: name=x", "here")[0] is None


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("%matplotlib inline\nx = 1", "pass  # %matplotlib inline\nx = 1"),
        ("%time x = f(1)", "x = f(1)"),
        ("%%time\nx = 1", "pass  # %%time\nx = 1"),
        ("df?", "pass  # df?"),
        ("?df", "pass  # ?df"),
        ('t = """\n%no\n!no\nno?\n"""', None),
        ("x = (5\n  % y)", None),
        ("x = 5 \\\n% y", None),
        ("if x:\n    %matplotlib inline", "if x:\n    pass  # %matplotlib inline"),
        ("%env KEY=value", "__import__(\"os\").environ['KEY'] = 'value'"),
        ("%%html\n<b>not python</b>", "# %%html\n# <b>not python</b>"),
        ("a = b % c\nd != e", None),
    ],
)
def test_lines_of_ipython_become_python(source: str, python: str | None):
    """IPython's lines become Python on the same lines; what only looks like one is left alone."""
    assert to_python(source) == (source if python is None else python)
    assert bool(read_shell_lines(source)) == (python is not None)


def test_shell_lines_run_in_a_script():
    """`!command` and `x = !command` become calls that do the same."""
    names: dict = {}
    exec(to_python("files = !printf 'a\\nb'\n!true"), names)  # noqa: S102  that the code runs is what is tested
    assert names["files"] == ["a", "b"]


def test_indentation_leaves_strings_alone():
    """Moving code to the right changes no string of several lines."""
    source = 'x = """a\n b"""\ny = f"""{x}\n  c"""\nz = [\n  1,\n]'
    before: dict = {}
    after: dict = {}
    exec(source, before)  # noqa: S102  that the code runs is what is tested
    exec(f"if True:\n{indent(source)}", after)  # noqa: S102  that the code runs is what is tested
    assert all(before[name] == after[name] for name in "xyz")


def test_real_python_is_left_alone(repository: Path):
    """In thousands of lines of real Python no line is taken for IPython's, and indentation changes no meaning."""
    files = [*(repository / "prodkit" / "jobs").glob("*.py"), *(repository / "prodkit" / "manifest").glob("*.py")]
    assert len(files) > 20
    for file in files:
        source = file.read_text()
        assert read_shell_lines(source) == (), file
        wrapped = ast.parse(f"if True:\n{indent(source)}\n    pass").body[0]
        assert isinstance(wrapped, ast.If)
        assert [ast.dump(node) for node in wrapped.body[:-1]] == [ast.dump(node) for node in ast.parse(source).body], (
            file
        )
