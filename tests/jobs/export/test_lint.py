"""What stands between a notebook and production is said before export, each with its cell, line and fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prodkit.errors import ConfigError
from prodkit.jobs.lint import lint_notebook
from prodkit.jobs.reading import read_notebook
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.lint import Problem
    from prodkit.manifest import Project

USED = "print(batch)"


@pytest.fixture
def lint(make_notebook: Callable[..., Path], owned: Project) -> Callable[..., tuple[Problem, ...]]:
    """Lints a notebook written cell by cell."""

    def run(*cells: str | tuple[str, ...], **options: object) -> tuple[Problem, ...]:
        return lint_notebook(read_notebook(make_notebook(*cells, **options)), find_project(owned.root))

    return run


def codes(problems: tuple[Problem, ...]) -> list[tuple[str, str, int, int]]:
    return [(problem.code.removeprefix("lint."), problem.severity, problem.cell, problem.line) for problem in problems]


@pytest.mark.parametrize(
    ("source", "kind", "severity", "line"),
    [
        ("x = (", "syntax", "error", 1),
        ("y = 1\n!pip install openai", "install", "error", 2),
        ("%pip install openai", "install", "error", 1),
        ("%%bash\nls", "magic", "error", 1),
        ("%nosuchmagic", "magic", "error", 1),
        ("%run other.py", "magic", "error", 1),
        ("!ls", "shell", "warning", 1),
        ("!ls {batch}", "shell", "error", 1),
        ("!ls $HOME", "shell", "error", 1),
        ("%timeit f()", "measure", "warning", 1),
        ("get_ipython().system('ls')", "ipython", "error", 1),
        ("name = input('who? ')", "asks", "error", 1),
        ("import getpass\nkey = getpass.getpass()", "asks", "error", 2),
        ("path = '/home/ana/tickets.csv'", "absolute-path", "error", 1),
        (r"path = 'C:\\Users\\ana\\tickets.csv'", "absolute-path", "error", 1),
        ("path = '~/tickets.csv'", "absolute-path", "error", 1),
        ("x = 1\nkey = 'sk-proj-abcdEFGH1234567890abcdEFGH1234567890'", "secret", "error", 2),
        ("# password = 'Tr0ub4dor&3xyz!'", "secret", "error", 1),
        ("import pandas as pd\ndf = pd.read_csv('tickets.csv')", "unmapped-source", "warning", 2),
        ("text = open('notes.txt').read()", "unmapped-source", "warning", 1),
        ("import prodkit\ndf = prodkit.read('tickts')", "unknown-source", "error", 2),
        ("%%prodkit --budget 1\nx = 1", "option", "error", 0),
        ("#| prodkit: name=x budgt=1\nx = 1", "option", "error", 0),
        ("from math import *", "star-import", "warning", 1),
        ("from math import *\nawait f()", "star-import", "error", 1),
        ("x = nosuchname + 1", "unbound", "error", 1),
        ("def f():\n    return nosuchname", "unbound", "error", 1),
        ("x = later\nlater = 1", "late", "error", 1),
        ("y = [later for later in (1, 2)]\nz = later", "unbound", "error", 2),
        ("print(_)", "history", "error", 1),
        ("print(Out[3])", "history", "error", 1),
        ("batch = '2026-10'", "overridden", "warning", 1),
    ],
)  # fmt: skip
def test_each_finding_has_its_place(
    lint: Callable[..., tuple[Problem, ...]], source: str, kind: str, severity: str, line: int
):
    """Each thing that a job would stumble over is found in its cell and on its line, with a fix."""
    problems = [problem for problem in lint(source, USED) if problem.code == f"lint.{kind}"]
    assert [(problem.severity, problem.cell, problem.line) for problem in problems] == [(severity, 2, line)]
    assert problems[0].fix


@pytest.mark.parametrize(
    "source",
    [
        "import os\nx = os.environ['HOME']",
        "%matplotlib inline\n%load_ext prodkit",
        "%time x = sum(range(3))",
        "url = '/api/v1/tickets'",
        "open('result.txt', 'w').write('x')",
        "def f(x, *a, k=1, **b):\n    y = x\n    return [y + z for z in a if k], b",
        "class A:\n    u = 1\n    v = u + 1\n    def m(self):\n        return self.u",
        "try:\n    x = 1\nexcept ValueError as error:\n    print(error)",
        "import numpy as np, os.path\nprint(np, os)",
        "for i, (a, b) in enumerate([(1, 2)]):\n    print(i, a, b)",
        "match batch:\n    case [first, *rest]:\n        print(first, rest)\n    case {'a': one, **others}:\n        print(one, others)\n    case str() as text:\n        print(text)",
        "if (n := len(batch)) > 1:\n    print(n)\nprint([m for q in 'ab' if (m := q)], m)",
        "x = {k: v for k, v in {'a': 1}.items()}\nf = lambda q, r=x: q + r\nprint(f)",
        "def outer():\n    total = 0\n    def inner():\n        nonlocal total\n        total += 1\n    return inner",
        "async def fetch():\n    async with open_it() as f:\n        return [x async for x in f]\ndef open_it(): ...",
        "with open('x.txt', 'w') as a, open('y.txt', mode='a') as b:\n    print(a, b)",
        "display(batch)",
        "x: int = 1\nx += 1\nprint(f'{x:>{x}} {batch!r}')",
        "def g(n):\n    return g(n - 1) if n else helper()\ndef helper():\n    return 1",
        "@staticmethod\ndef deco(): ...\nprint(__name__, __doc__)",
    ],
)  # fmt: skip
def test_ordinary_code_has_no_findings(lint: Callable[..., tuple[Problem, ...]], source: str):
    """Code as people write it raises no false alarm."""
    assert codes(lint(source, USED)) == []


def test_the_example_notebook_has_no_errors(repository: Path):
    """The example notebook goes through without an error."""
    problems = lint_notebook(read_notebook(repository / "notebooks" / "triage.ipynb"), find_project(repository))
    assert [problem for problem in problems if problem.severity == "error"] == []


def test_names_of_demo_cells_stay_behind(lint: Callable[..., tuple[Problem, ...]]):
    """A name that only a demo cell binds is missing in the job, and the cell is named."""
    (problem,) = lint(("x = 1", "demo"), "print(x, batch)")
    assert problem.code == "lint.demo-name"
    assert "cell 2" in problem.what


def test_order_of_execution_is_read(lint: Callable[..., tuple[Problem, ...]]):
    """Cells out of order, cells that never ran and executions that left no trace are found."""
    found = codes(lint(USED, "y = 1", "z = 2", counts=[1, 9, 5, None]))
    assert found == [
        ("hidden-state", "warning", 0, 0),
        ("order", "warning", 3, 0),
        ("never-run", "warning", 4, 0),
    ]


def test_a_notebook_that_never_ran_is_no_finding(lint: Callable[..., tuple[Problem, ...]]):
    """A notebook with cleared outputs has no order to complain about."""
    assert lint(USED, "y = 1") == ()


def test_a_deleted_cell_is_suspected(lint: Callable[..., tuple[Problem, ...]]):
    """A name that no cell binds, in a cell that ran, points to a cell that is gone."""
    problems = lint("print(gone, batch)", counts=[1, 2])
    assert "a cell that is gone may have" in problems[0].what


def test_later_cells_are_named(lint: Callable[..., tuple[Problem, ...]]):
    """A name bound only further down says which cell binds it."""
    (problem,) = lint("print(helper, batch)", "helper = 1")
    assert problem.code == "lint.late"
    assert "cell 3" in problem.what


def test_functions_may_use_what_comes_later(lint: Callable[..., tuple[Problem, ...]]):
    """A function body may name what a later cell binds: it is called later."""
    assert lint("def f():\n    return helper", "helper = batch") == ()


def test_deleted_names_are_gone(lint: Callable[..., tuple[Problem, ...]]):
    """A name that an earlier cell deleted is missing, and that cell is named."""
    problems = lint("x = batch\ndel x", "print(x)", "x = 1", "print(x)")
    assert [(problem.cell, problem.what) for problem in problems] == [(3, "`x` was deleted by cell 2.")]


def test_unused_parameters_are_said(lint: Callable[..., tuple[Problem, ...]]):
    """A parameter that no cell uses is a warning."""
    assert [code for code, *_ in codes(lint("x = 1"))] == ["unused-parameter"]


def test_an_empty_job_is_refused(lint: Callable[..., tuple[Problem, ...]]):
    """A notebook whose every other cell is a demo still has its parameters; without code there is no job."""
    assert [code for code, *_ in codes(lint(("print(batch)", "demo")))] == ["unused-parameter"]


def test_cells_that_are_there_to_fail_are_said(lint: Callable[..., tuple[Problem, ...]]):
    """A cell tagged `raises-exception` in a job is a warning."""
    assert ("raises-exception", "warning", 2, 0) in codes(lint((USED, "raises-exception")))


def test_modules_beside_the_notebook_are_no_finding(lint: Callable[..., tuple[Problem, ...]], owned: Project):
    """A module that lies beside the notebook travels with the job, so it is no finding."""
    (owned.root / "notebooks").mkdir()
    (owned.root / "notebooks" / "helper.py").touch()
    assert not codes(lint("import helper\nprint(helper, batch)"))


def test_mapped_data_is_no_finding(lint: Callable[..., tuple[Problem, ...]], owned: Project):
    """Reading what the manifest maps is fine, by name or by path."""
    manifest = owned.root / "prodkit.yaml"
    sources = "data_sources:\n  tickets: {kind: csv, location: 'notebooks/data/*_{batch}.csv', owner: ana}\n"
    manifest.write_text(manifest.read_text() + sources)
    read = "import pandas as pd\nimport prodkit\na = prodkit.read('tickets')\nb = pd.read_csv('data/t_2026.csv')"
    assert lint(read, USED) == ()


def test_a_line_can_be_allowed(lint: Callable[..., tuple[Problem, ...]]):
    """`# prodkit: allow RULE` at the end of a line silences that rule there, and no other."""
    assert lint("p = '/home/ana/x'  # prodkit: allow absolute-path", USED) == ()
    assert lint("p = '/home/ana/x'  # prodkit: allow secret", USED) != ()


def test_no_message_holds_a_secret_or_a_path(lint: Callable[..., tuple[Problem, ...]]):
    """Findings name the place, never the secret or the path itself."""
    secret = "sk-proj-abcdEFGH1234567890abcdEFGH1234567890"
    said = repr(lint(f"key = '{secret}'\npath = '/home/ana/private.csv'", USED))
    assert secret not in said
    assert "private.csv" not in said


def test_mistakes_in_the_parameters_cell_are_raised(lint: Callable[..., tuple[Problem, ...]]):
    """The parameters cell's own mistakes stop lint as they stop export."""
    with pytest.raises(ConfigError, match=r"parameters\.default"):
        lint("x = 1", parameters="batch = compute()")
