"""What MLflow's autologging works out anew on every call, although it never changes: worked out once."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_SPAN_TYPE = "_get_span_type"  # tries imports, one of which always fails


def remember(flavour: ModuleType, name: str) -> None:
    """Let a flavour's calls find what they look up; whatever isn't where it was is left as it is.

    Args:
        flavour: MLflow's module with `autolog()`, after that was called.
        name: the flavour's name in MLflow's registers.
    """
    with contextlib.suppress(Exception):  # it saves time, and nothing depends on it
        _remember_signatures(name)
    with contextlib.suppress(Exception):
        module = importlib.import_module(f"{flavour.__name__}.autolog")
        found = getattr(module, _SPAN_TYPE)
        if not hasattr(found, "cache_info"):
            setattr(module, _SPAN_TYPE, functools.lru_cache(maxsize=256)(found))


def _remember_signatures(name: str) -> None:
    """MLflow gives each call's wrapper the signature of what it wraps: finding that out takes half of its own time."""
    from mlflow.utils import gorilla
    from mlflow.utils.autologging_utils import safety

    for patch in safety._AUTOLOGGING_PATCHES[name]:  # noqa: SLF001
        with contextlib.suppress(Exception):
            original = gorilla.get_original_attribute(patch.destination, patch.name)
            if inspect.isfunction(original) and "__signature__" not in original.__dict__:
                original.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
