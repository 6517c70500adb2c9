"""The header's grammar: two spellings, one meaning, and one clear error for each mistake."""

from __future__ import annotations

import pytest

from prodkit.errors import ConfigError, ParameterError
from prodkit.notebook.header import OPENER, find_header, parse, rewrite


@pytest.mark.parametrize(
    "header",
    [
        "%%prodkit --name classify --budget 0.50 --input tickets,people --strict",
        "%%prodkit --name=classify --budget=0.50 --input tickets --input people --strict",
        '%%prodkit --name "classify" --budget 0.50 --input "tickets, people" --strict',
        "#| prodkit: name=classify budget=0.50 input=tickets,people strict",
        "#|prodkit:name=classify budget='0.50' input=tickets input=people strict=true",
    ],
)
def test_all_spellings_mean_the_same(header: str) -> None:
    """Magic and comment, `=` and space, commas and repetition are equal."""
    expected = {"name": "classify", "budget": "0.50", "inputs": ("tickets", "people"), "strict": True}
    assert parse(header) == expected


@pytest.mark.parametrize(
    ("header", "code", "fix"),
    [
        ("%%prodkit --nmae x", "notebook.unknown-option", "did you mean `name`?"),
        ("#| prodkit: bugdet=1", "notebook.unknown-option", "did you mean `budget`?"),
        ("%%prodkit --name x --mode refus", "notebook.bad-value", "did you mean `refuse`?"),
        ("%%prodkit --name x --source crmm", "notebook.bad-value", "did you mean `crm`?"),
        ("%%prodkit --name", "notebook.no-value", "write `--name NAME`"),
        ("%%prodkit --input --name x", "notebook.no-value", "write `--input FRAME`"),
        ("%%prodkit --name a --name b", "notebook.twice", "keep one of the two"),
        (
            "#| prodkit: name=a strict=perhaps",
            "notebook.bad-value",
            "write `--strict`, or `strict=true` in the comment form",
        ),
    ],
)
def test_each_mistake_is_one_clear_error(header: str, code: str, fix: str) -> None:
    """What is wrong, where, and the nearest right spelling."""
    with pytest.raises(ParameterError) as caught:
        parse(header)
    assert (caught.value.code, caught.value.fix) == (code, fix)
    assert caught.value.where == header


def test_an_open_quote_is_one_clear_error() -> None:
    """A line that can't be split says so."""
    with pytest.raises(ConfigError, match=r"notebook\.directive"):
        parse('%%prodkit --name "classify')


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("%%prodkit --name a\nx = 1", 0),
        ("# first\n\n#| label: fig\n#| prodkit: name=a\nx = 1", 3),
        ("# | prodkit: name=a\nx = 1", 0),  # as black writes it
        ("x = 1\n#| prodkit: name=a", None),
        ("%%time\n%%prodkit --name a\nx = 1", None),
        ("%%prodkit_other\nx", None),
        ("%%prodkit?", None),
        ("# prodkit: name=a\nx", None),
        ("", None),
    ],
)
def test_only_the_header_line_is_one(cell: str, at: int | None) -> None:
    """A header stands above all code; a comment or another magic that looks similar isn't one."""
    assert find_header(cell.splitlines()) == at


@pytest.mark.parametrize(
    "cell",
    [
        "%%prodkit --name a\nx = 1\ny = 2\n",
        "# why\n#| prodkit: name=a\n\nx = '''\n%%prodkit --name b\n'''\n",
        "%%prodkit --name a\nfrom __future__ import annotations\nx = 1\n",
        "%%prodkit --name a\n",
    ],
)
def test_rewriting_keeps_every_line_in_its_place(cell: str) -> None:
    """The call takes the header's line, or ends a `__future__` line, so that tracebacks point at the right one."""
    before = cell.splitlines(keepends=True)
    after = rewrite(before)
    assert len(after) == len(before)
    assert sum(OPENER in line for line in after) == 1
    compile("".join(after), "cell", "exec")
    assert rewrite(after) == after


def test_a_magic_below_is_left_to_the_real_cell_magic() -> None:
    """`%%prodkit` above `%%time` stays as it is: IPython runs the two one inside the other."""
    lines = ["%%prodkit --name a\n", "%%time\n", "x = 1\n"]
    assert rewrite(lines) == lines
