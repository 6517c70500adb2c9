"""A job folder on a machine that has Debian's Python and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prodkit.jobs import export

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_folder_is_enough_on_a_clean_machine(clean: ModuleType, debian: Path, sample_project: Path, tmp_path: Path):
    """Three lines of its runbook install, test and run a copied job folder, without git, HOME, or a writable folder."""
    job = export(sample_project / "work shop" / "sorting.ipynb", sample_project / "jobs" / "sorting").job
    machine = clean.Machine.new(debian, tmp_path)
    try:
        clean.visit(machine, job, sample_project)
    finally:
        print("\n".join(machine.log))
        machine.remove()
