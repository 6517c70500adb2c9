"""prodkit turns an AI demo in a notebook into a production job.

The front door: each name is imported when it is first used, so that `import prodkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from prodkit.capture import compare, prompt, request, run
    from prodkit.contracts import Contract, infer, validate
    from prodkit.errors import ProdkitError
    from prodkit.fingerprints import fingerprint
    from prodkit.jobs import export
    from prodkit.notebook.running import run_job
    from prodkit.redaction import redact
    from prodkit.resilience import resilient
    from prodkit.sources import read

__version__ = "0.1.0"

_ROOMS = {
    "run": "capture",
    "request": "capture",
    "prompt": "capture",
    "compare": "capture",
    "read": "sources",
    "infer": "contracts",
    "validate": "contracts",
    "Contract": "contracts",
    "fingerprint": "fingerprints",
    "redact": "redaction",
    "resilient": "resilience",
    "export": "jobs",
    "run_job": "notebook.running",
    "ProdkitError": "errors",
}

__all__ = [
    "Contract",
    "ProdkitError",
    "compare",
    "export",
    "fingerprint",
    "infer",
    "prompt",
    "read",
    "redact",
    "request",
    "resilient",
    "run",
    "run_job",
    "validate",
]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext prodkit`: register the magics."""
    from prodkit.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext prodkit`: take them away again."""
    from prodkit.notebook.magics import unload

    unload(shell)
