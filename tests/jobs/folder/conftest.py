"""A job folder that needs everything, and the bare Debian that it is taken to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def _beside(name: str) -> ModuleType:
    spec: Any = importlib.util.spec_from_file_location(f"folder_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clean() -> ModuleType:
    """The module `clean_machine`."""
    return _beside("clean_machine")


@pytest.fixture
def sample_project(tmp_path: Path) -> Path:
    """The project of `sample`; its notebook is `work shop/sorting.ipynb`."""
    root = tmp_path / "project"
    _beside("sample").make_project(root)
    return root


@pytest.fixture(scope="session")
def container() -> ModuleType:
    """The module `container`."""
    return _beside("container")


@pytest.fixture(scope="session")
def debian(clean: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with Debian's own Python alone."""
    reason = clean.why_not()
    if reason:
        pytest.skip(reason)
    return clean.make_base(tmp_path_factory.getbasetemp())
