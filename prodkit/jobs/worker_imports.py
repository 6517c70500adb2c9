"""Imported for its effect: what each worker process of a fan-out needs, so that the workers are forked with it.

It is the preload of multiprocessing's fork server, which imports and forks and does nothing else.
"""

from __future__ import annotations

import importlib
from contextlib import suppress

from prodkit.light_imports import skip_slow_imports

_NEEDED = ("distributed", "mlflow.tracking.client", "mlflow.store.tracking.sqlalchemy_store", "nbclient", "papermill")

skip_slow_imports()
for _name in (*_NEEDED, "prodkit.ledger.ledger", "prodkit.jobs.fanout"):
    with suppress(ImportError):  # the worker that needs it will say what is missing
        importlib.import_module(_name)
