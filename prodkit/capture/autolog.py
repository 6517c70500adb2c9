"""The seam to MLflow's tracing: its autologging makes the spans, and finished traces come to us instead of its store.

MLflow's own export drops traces when a process ends early or calls come in a burst. So its tracer provider gets a span
exporter of ours, which hands each finished trace to a sink at once. `insides` lists what of
MLflow that leans on.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import sys
import threading
import warnings
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import wrapt

from prodkit.capture import active_run, insides, leaf
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.capture.calls import Call
    from prodkit.capture.exporter import Host, TraceExporter
    from prodkit.records import RunHandle

# library -> MLflow's module with `autolog()` for it
FLAVOURS = {
    "openai": "mlflow.openai",
    "anthropic": "mlflow.anthropic",
    "google.genai": "mlflow.gemini",
    "langchain_core": "mlflow.langchain",
    "llama_index.core": "mlflow.llama_index",
    "dspy": "mlflow.dspy",
    "crewai": "mlflow.crewai",
    "groq": "mlflow.groq",
    "mistralai": "mlflow.mistral",
    "pydantic_ai": "mlflow.pydantic_ai",
    "smolagents": "mlflow.smolagents",
    "autogen": "mlflow.ag2",
    "autogen_agentchat": "mlflow.autogen",
    "agno": "mlflow.agno",
    "haystack": "mlflow.haystack",
    "strands": "mlflow.strands",
    "boto3": "mlflow.bedrock",
}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_TRACE_EXTRACT_ATTACHMENTS": "false",  # an image stays in the request: what was sent is what is recorded
}
CALL_TYPES = {"LLM", "CHAT_MODEL", "EMBEDDING", "TOOL"}  # MLflow calls openai's images a TOOL
OPEN_TRACES = 1_000_000  # MLflow forgets open traces beyond 1,000, which one `asyncio.gather` reaches

_lock = threading.RLock()
_passed: ContextVar[bool] = ContextVar(
    "prodkit_passed", default=False
)  # this line's request was let past MLflow's patch
_latest: ContextVar[weakref.ref[Any] | None] = ContextVar("prodkit_latest_span", default=None)


class _Seam:
    """What is installed in this process."""

    host: Host | None = None
    provider: Any = None
    processor: Any = None
    exporter: TraceExporter | None = None
    foreign: tuple[str, Any] | None = None
    off_by_user = False
    tracking_uri = ""
    flavours: ClassVar[set[str]] = set()
    failed: ClassVar[set[str]] = set()
    hooked = False


def switch_on(host: Host, tracking_uri: str) -> None:
    """Capture from now on: the SDKs that are imported, and those that will be, and MLflow's own spans."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with _lock:
        _Seam.host, _Seam.tracking_uri = host, tracking_uri
        if not _Seam.hooked:
            _Seam.hooked = True
            wrapt.register_post_import_hook(lambda _: _install(), "mlflow")
            for library in FLAVOURS:
                wrapt.register_post_import_hook(_enable, library)
        elif "mlflow" in sys.modules:
            _install()
        for library in [name for name in _Seam.failed if name in sys.modules]:
            _enable(sys.modules[library])
    _set_flavours(disabled=False)


def switch_off() -> None:
    """Leave the SDKs and MLflow as they were; traces that are still open come to us when they end."""
    _set_flavours(disabled=True)


def _set_flavours(*, disabled: bool) -> None:
    if not _Seam.flavours:
        return
    from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

    for name in _Seam.flavours:
        AUTOLOGGING_INTEGRATIONS[name]["disable"] = disabled


def _enable(library: Any) -> None:
    """Switch MLflow's autologging on for a library, unless the user has set it up."""
    from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

    with _lock:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow warns of its own type hints
                flavour = importlib.import_module(FLAVOURS[library.__name__])
                name = flavour.FLAVOR_NAME
                if AUTOLOGGING_INTEGRATIONS.get(name):
                    return
                flavour.autolog(silent=True)
        except Exception as error:  # it must not break the user's import
            if library.__name__ in _Seam.failed and _Seam.host is not None:
                _Seam.host.problem(f"MLflow can't trace {library.__name__}: {type(error).__name__}.")
            _Seam.failed.add(library.__name__)  # a library that is half imported is tried again with the next run
            return
        _Seam.failed.discard(library.__name__)
        _Seam.flavours.add(name)
        _keep_signatures(name)
        _step_aside(name)


def _keep_signatures(flavour: str) -> None:
    """MLflow works out the signature of the SDK's function anew in each call, at 60 us; here it is left on it once."""
    from mlflow.utils import gorilla
    from mlflow.utils.autologging_utils import safety

    for patch in safety._AUTOLOGGING_PATCHES.get(flavour, ()):  # noqa: SLF001
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # properties, and what has no signature
            original = gorilla.get_original_attribute(patch.destination, patch.name)
            original.__signature__ = inspect.signature(original)


def _step_aside(flavour: str) -> None:
    """Let calls that stand alone past MLflow's patch: their trace is made of their record (see `leaf`)."""
    from mlflow.utils import gorilla
    from mlflow.utils.autologging_utils import safety

    for patch in safety._AUTOLOGGING_PATCHES.get(flavour, ()):  # noqa: SLF001
        resource = patch.destination
        if patch.name == "create" and f"{resource.__module__}.{resource.__name__}" in leaf.RESOURCES:
            original = gorilla.get_original_attribute(resource, patch.name)
            setattr(resource, patch.name, _passing(original)(getattr(resource, patch.name)))


def _passing(original: Callable[..., Any]) -> Any:
    @wrapt.decorator
    def choose(wrapped: Callable[..., Any], resource: Any, args: Any, kwargs: Any) -> Any:
        if not leaf.is_plain(kwargs) or not stands_alone():
            return wrapped(*args, **kwargs)
        token = _passed.set(True)
        try:
            return original(resource, *args, **kwargs)
        finally:
            _passed.reset(token)

    return choose


def has_passed() -> bool:
    """Whether the request that begins here and now is the one that was let past MLflow's patch. True once for each."""
    if not _passed.get():
        return False
    _passed.set(False)
    return True


@functools.cache
def _tracing() -> tuple[Any, Any, Any]:
    from mlflow.tracing import config, provider
    from opentelemetry import trace

    return config, provider, trace


def stands_alone() -> bool:
    """Whether a trace that begins here and now is ours, and nobody else has a say in it."""
    if _Seam.provider is None or _Seam.off_by_user or _Seam.host is None or _Seam.host.owner() is None:
        return False
    config, provider, trace = _tracing()
    if not provider.MLFLOW_USE_DEFAULT_TRACER_PROVIDER.get() or config.get_config().span_processors:
        return False
    return not trace.get_current_span(provider.mlflow_runtime_context.get_current()).get_span_context().is_valid


def begin_leaf(name: str, kind: str) -> leaf.Leaf:
    """A trace of one span begins; what MLflow says of every trace (user, run, model, context) is said of it too."""
    labels = _Seam.processor
    return leaf.new(name, kind, labels._get_basic_trace_tags(_Named(name)), labels._get_basic_trace_metadata())  # noqa: SLF001


def end_leaf(call: Call, mine: leaf.Leaf, error: BaseException | None) -> None:
    """Hand over the call whose trace it is."""
    from mlflow.tracing import fluent

    fluent._set_last_active_trace_id(mine.trace_id)  # noqa: SLF001  what `mlflow.get_last_active_trace_id` gives
    if _Seam.host is not None:
        _Seam.host.ended(call, mine, None if error is None else _event_of(error))


def _event_of(error: BaseException) -> dict[str, Any]:
    """The event by which MLflow shows an exception."""
    from mlflow.entities import SpanEvent

    event = SpanEvent.from_exception(error)
    return {"name": event.name, "time_unix_nano": event.timestamp, "attributes": dict(event.attributes)}


class _Named(NamedTuple):
    """All of a span that its trace's tags are made from."""

    name: str


def _install() -> None:
    """Put our tracer provider in MLflow's place for it, and keep it there."""
    problems = insides.broken()
    if problems:
        raise ConfigError(
            "capture.mlflow-changed",
            "This version of MLflow can't be captured: " + "; ".join(problems) + ".",
            fix="pip install 'mlflow>=3.17,<4'",
        )
    from mlflow.tracing import disable_notebook_display, provider
    from mlflow.tracking._tracking_service import utils

    with _lock:
        if _Seam.provider is None:
            _Seam.exporter, _Seam.processor, _Seam.provider = _build()
            wrapt.wrap_function_wrapper(provider, "_initialize_tracer_provider", _keep)
            active_run.install(_handle)
        if provider.provider.get() is not _Seam.provider:
            provider._initialize_tracer_provider()  # noqa: SLF001
            provider.provider.once._done = True  # noqa: SLF001
        if utils._tracking_uri is None or getattr(utils, "_prodkit", None) == utils._tracking_uri:  # noqa: SLF001
            # not set_tracking_uri(): that writes the environment, and the next project in this process would inherit it
            utils._tracking_uri = utils._prodkit = _Seam.tracking_uri  # noqa: SLF001
        disable_notebook_display()
        _widen()


def _keep(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> None:
    """Stands before MLflow's builder of providers: enable, disable, reset and a new destination keep ours."""
    from mlflow.tracing import provider
    from opentelemetry.sdk.trace import TracerProvider

    _Seam.off_by_user = bool(args[0] if args else kwargs.get("disabled", False))
    if isinstance(provider.provider.get(), TracerProvider) and not provider.MLFLOW_USE_DEFAULT_TRACER_PROVIDER.get():
        wrapped(*args, **kwargs)  # the user shares one global provider with other OTel code: join it
        existing = provider.provider.get()
        if isinstance(existing, TracerProvider) and not getattr(existing, "_prodkit", False):
            existing._prodkit = True  # type: ignore[attr-defined]  # noqa: SLF001
            existing.add_span_processor(_Seam.provider._active_span_processor._span_processors[0])  # noqa: SLF001
        return
    provider.provider.set(_Seam.provider)


def _handle() -> RunHandle | None:
    """Our current run, when MLflow knows it and the user's MLflow points at the same place."""
    import mlflow

    handle = _Seam.host.active() if _Seam.host else None
    known = handle is not None and handle.run_id and mlflow.get_tracking_uri() == _Seam.tracking_uri
    return handle if known else None


def _widen() -> None:
    """Let MLflow hold as many open traces as there are calls in flight."""
    from mlflow.tracing.trace_manager import InMemoryTraceManager

    os.environ.setdefault("MLFLOW_TRACE_BUFFER_MAX_SIZE", str(OPEN_TRACES))
    manager = InMemoryTraceManager.get_instance()
    with manager._lock:  # noqa: SLF001
        if manager._traces.maxsize < OPEN_TRACES:  # noqa: SLF001
            from mlflow.tracing.utils.timeout import get_trace_cache_with_timeout

            held = dict(manager._traces)  # noqa: SLF001
            manager._traces = get_trace_cache_with_timeout()  # noqa: SLF001
            manager._traces.update(held)  # noqa: SLF001


def _build() -> tuple[TraceExporter, Any, Any]:
    """Our exporter, the processor that feeds it, and the tracer provider around them."""
    from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor
    from mlflow.tracing.trace_manager import InMemoryTraceManager
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from prodkit.capture.exporter import TraceExporter

    class Processor(MlflowV3SpanProcessor):
        """MLflow's own, told which run a trace belongs to when it begins."""

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            host = _Seam.host
            owner = host.owner() if host is not None and span.parent is None else None
            if host is not None and owner is not None:
                exporter.begin(span.context.trace_id, owner)
                # said here, because MLflow would ask its store for the experiment
                span.set_attribute("mlflow.experimentId", json.dumps(host.experiment_id(owner) or "0"))
            for name, value in (host.marks() if host is not None else {}).items():
                span.set_attribute(name, value)
            super().on_start(span, parent_context)
            name = manager().get_mlflow_trace_id_from_otel_id(span.context.trace_id)
            live = manager().get_span_from_id(name, f"{span.context.span_id:016x}") if name else None
            _latest.set(weakref.ref(live) if live is not None else None)

    manager = InMemoryTraceManager.get_instance
    exporter = TraceExporter(lambda: _Seam.host, manager, _foreign)
    provider = TracerProvider(resource=Resource({}))
    processor = Processor(span_exporter=exporter, export_metrics=False)
    provider.add_span_processor(processor)
    return exporter, processor, provider


def _foreign() -> Any:
    """MLflow's own exporter, for what the user traces outside of our runs; None while tracing is disabled."""
    if _Seam.off_by_user:
        return None
    import mlflow
    from mlflow.tracing.export.mlflow_v3 import MlflowV3SpanExporter

    uri = mlflow.get_tracking_uri()
    if _Seam.foreign is None or _Seam.foreign[0] != uri:
        _Seam.foreign = uri, MlflowV3SpanExporter(tracking_uri=uri)
    return _Seam.foreign[1]


def latest_span() -> Any:
    """The open span of a model call that autologging has begun here and now, or None."""
    reference = _latest.get()
    span = reference() if reference is not None else None
    if span is None or span.end_time_ns is not None or span.span_type not in CALL_TYPES:
        return None
    return None if span.span_type == "TOOL" and not span.name.endswith("Images") else span


def open_span(name: str, kind: str, inputs: Any, *, start: int | None = None) -> Any:
    """Begin a span for what autologging hasn't seen, below the current one; None while MLflow isn't imported.

    `start` is when it began, in nanoseconds since 1970; now by default.
    """
    if _Seam.provider is None:
        return None
    from mlflow.tracing import provider
    from mlflow.tracing.trace_manager import InMemoryTraceManager

    context = provider.get_current_context()
    raw = _Seam.provider.get_tracer(__name__).start_span(name, context=context, start_time=start)
    manager = InMemoryTraceManager.get_instance()
    trace_id = manager.get_mlflow_trace_id_from_otel_id(raw.context.trace_id)
    span = manager.get_span_from_id(trace_id, f"{raw.context.span_id:016x}") if trace_id else None
    if span is not None:
        span.set_span_type(kind)
        span.set_inputs(inputs)
    return span


@contextlib.contextmanager
def active(span: Any) -> Iterator[None]:
    """Spans that begin inside lie below this one."""
    from mlflow.tracing import provider

    with provider.safe_set_span_in_context(span):
        yield


def end_span(span: Any, outputs: Any = None, error: BaseException | None = None) -> None:
    """End a span that nobody else will end."""
    from mlflow.entities import SpanEvent

    if error is not None:
        span.add_event(SpanEvent.from_exception(error))
    span.end(outputs=outputs, status="OK" if error is None else "ERROR")


def release(span: Any) -> None:
    """A call of this span has come to its end: give its trace out if it was held for it."""
    if _Seam.exporter is not None:
        _Seam.exporter.release(span._span.context.trace_id)  # noqa: SLF001


def release_all(owner: Any) -> int:
    """Give out what is held of the owner's traces; returns how many go on."""
    return _Seam.exporter.release_all(owner) if _Seam.exporter is not None else 0
