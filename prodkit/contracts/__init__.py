"""Data contracts: what a table's columns promise, checked before anything is spent on the data.

A contract is Open Data Contract Standard YAML. Nothing here changes a value, and no message holds one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.contracts.checking import examine, validate
    from prodkit.contracts.contract import Contract
    from prodkit.contracts.inference import infer
    from prodkit.contracts.validation import Validation

__all__ = ["Contract", "Validation", "examine", "infer", "validate"]

_HOMES = {
    "Contract": "contract",
    "Validation": "validation",
    "examine": "checking",
    "infer": "inference",
    "validate": "checking",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
