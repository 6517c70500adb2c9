"""All that is undocumented in MLflow and that the seam (`autolog`, `active_run`) leans on, in one list.

A test calls `broken`: it says what an upgrade of MLflow has moved.
"""

from __future__ import annotations

import importlib
from typing import Any


def broken() -> tuple[str, ...]:
    """What of MLflow's insides isn't where this file expects it; empty when all is well."""
    wanted = {
        "mlflow.tracing.provider": (
            "provider.set",
            "provider.once._done",
            "_initialize_tracer_provider",
            "get_current_context",
            "mlflow_runtime_context.get_current",
            "MLFLOW_USE_DEFAULT_TRACER_PROVIDER.get",
        ),
        "mlflow.tracing.config": ("get_config",),
        "mlflow.tracing.fluent": ("_set_last_active_trace_id",),
        "mlflow.entities": ("SpanEvent.from_exception",),
        "mlflow.tracing.processor.mlflow_v3": (
            "MlflowV3SpanProcessor.on_start",
            "MlflowV3SpanProcessor._start_trace",
            "MlflowV3SpanProcessor._get_basic_trace_tags",
            "MlflowV3SpanProcessor._get_basic_trace_metadata",
        ),
        "mlflow.tracing.export.mlflow_v3": ("MlflowV3SpanExporter.export",),
        "mlflow.tracing.trace_manager": (
            "InMemoryTraceManager.get_instance",
            "InMemoryTraceManager.get_span_from_id",
            "InMemoryTraceManager.get_mlflow_trace_id_from_otel_id",
        ),
        "mlflow.tracking.fluent": (
            "active_run",
            "_get_or_start_run",
            "start_run",
            "_active_run_stack.get",
            "ActiveRun",
        ),
        "mlflow.tracking._tracking_service.utils": ("_tracking_uri", "get_tracking_uri"),
        "mlflow.utils.autologging_utils": ("AUTOLOGGING_INTEGRATIONS", "safety._AUTOLOGGING_PATCHES"),
        "mlflow.utils.gorilla": ("get_original_attribute",),
    }
    return tuple(
        f"{module}.{path}" for module, paths in wanted.items() for path in paths if not _has(module, path.split("."))
    )


def _has(module: str, path: list[str]) -> bool:
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return False
    for name in path:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
