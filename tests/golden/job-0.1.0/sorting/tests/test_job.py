"""Checks of the job folder `sorting`: run `pytest` in it. They need what requirements.lock lists, and pytest."""

from __future__ import annotations

import ast
import json
from datetime import date
from pathlib import Path

import pytest

from prodkit.errors import ParameterError
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.parameters import check_defaults, check_parameters
from prodkit.manifest import load
from prodkit.ownership import check

JOB = JobFolder.load(Path(__file__).parents[1])


def test_files_are_what_export_wrote():
    """Nothing was edited by hand but what is marked."""
    assert JOB.changed() == ()


def test_defaults_fit_their_types():
    """Each default is of its parameter's type."""
    check_defaults(JOB.schema)


def test_unknown_parameters_are_refused():
    """A parameter that isn't there is refused before anything runs."""
    with pytest.raises(ParameterError):
        check_parameters(JOB.schema, {"no such parameter": "1"})


def test_notebook_and_script_are_one():
    """job.ipynb and job.py come from the same source, carry no outputs, and the script is Python."""
    notebook = json.loads(JOB.notebook.read_text(encoding="utf-8"))
    assert notebook["metadata"]["prodkit"]["source_digest"] == JOB.index.source.digest
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    script = JOB.script.read_text(encoding="utf-8")
    assert JOB.index.source.digest in script
    ast.parse(script)


@pytest.mark.parametrize("contract", JOB.contracts, ids=lambda path: path.name)
def test_contracts_can_be_read(contract: Path):
    """Each data contract is one."""
    from prodkit.contracts import Contract  # brings a dataframe library, so only where there is a contract

    Contract.load(contract)


def test_somebody_answers():
    """Somebody answers for the job today."""
    violations = check(load(JOB.manifest), today=date.today(), start=True)
    assert [violation for violation in violations if violation.blocks] == []
