"""Cells that fail by prodkit fail under the pytest plugins that run notebooks, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest

if TYPE_CHECKING:
    from prodkit.manifest import Project

SETUP = """%load_ext prodkit
from openai import OpenAI
from prodkit.testing import openai_options
client = OpenAI(**openai_options())"""
ASK = """%%prodkit --name ask --budget {budget}
client.chat.completions.create(
    model="gpt-4o-mini", max_tokens=5, messages=[{{"role": "user", "content": "I was charged twice"}}]
).usage.total_tokens"""
WITHIN = ASK.format(budget="0.05")
REFUSED = ASK.format(budget="0.0000001")
UNKNOWN_JOB = "%prodkit run jobs/nowhere"


def run_by(plugin: str, project: Project, cells: list[str]) -> str:
    """Write a notebook of these cells, let a plugin of pytest run it, and return what it reports; it must fail."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, project.root / "a.ipynb")
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", plugin, "-c", os.devnull, "-p", "no:cacheprovider", "-rA", "--color=no",
            "a.ipynb",
        ],
        cwd=project.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def verdicts(report: str) -> list[str]:
    """The lines of pytest's short summary without their reasons, sorted."""
    return sorted(
        " ".join(found) for found in re.findall(r"^(PASSED|FAILED) (\S+::(?:Cell \d|\S+))", report, re.MULTILINE)
    )


def test_nbval_fails_the_cells_that_prodkit_fails(in_kernel: Project) -> None:
    """Even lax, nbval fails a refused call and a line command that failed, each with our code, and no other cell."""
    report = run_by("--nbval-lax", in_kernel, [SETUP, WITHIN, REFUSED, UNKNOWN_JOB, "1"])
    assert verdicts(report) == [
        "FAILED a.ipynb::Cell 2", "FAILED a.ipynb::Cell 3",
        "PASSED a.ipynb::Cell 0", "PASSED a.ipynb::Cell 1", "PASSED a.ipynb::Cell 4",
    ]  # fmt: skip
    assert "BudgetError: [budget.exceeded]" in report
    assert "ProdkitError: [notebook.command] `prodkit run` ended with exit code 78" in report


def test_nbmake_fails_the_notebook_that_prodkit_fails(in_kernel: Project) -> None:
    """Nbmake fails a notebook at its refused call, not at the call within budget before it, with our code."""
    report = run_by("--nbmake", in_kernel, [SETUP, WITHIN, REFUSED])
    assert verdicts(report) == ["FAILED a.ipynb::a.ipynb"]
    assert "BudgetError: [budget.exceeded]" in report
    assert "--budget 0.0000001" in report
    assert "--budget 0.05" not in report
