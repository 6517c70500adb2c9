"""A ledger that ships when told to, with a redactor whose findings are plain to see, and traces to put into it."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.ledger import Ledger
from prodkit.records import CallRecord, Cost, RunSpec, Status, TraceRecord, Usage, new_id, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.manifest import Project

SECRET = "sk-CANARY-4711"


@dataclass(frozen=True)
class Found:
    value: Any
    counts: dict[str, int] = field(default_factory=dict)


class PlainRedactor:
    """Takes out one known secret, wherever text is; refuses what holds `EXPLODE`."""

    def clean(self, obj: Any) -> Found:
        text = json.dumps(obj)
        if "EXPLODE" in text:
            raise RuntimeError(f"can't clean {obj!r}")
        return Found(json.loads(text.replace(SECRET, "[secret]")), {"secret": text.count(SECRET)})


def build_span(trace_id: bytes, *, name: str = "call", parent: str | None = None, **attributes: Any) -> dict[str, Any]:
    """A span as `Span.to_dict()` gives it."""
    begin = time.time_ns()
    values = {"mlflow.traceRequestId": "tr-" + trace_id.hex(), "mlflow.spanType": "CHAT_MODEL", **attributes}
    return {
        "trace_id": base64.b64encode(trace_id).decode(),
        "span_id": base64.b64encode(secrets.token_bytes(8)).decode(),
        "parent_span_id": parent,
        "name": name,
        "start_time_unix_nano": begin,
        "end_time_unix_nano": begin + 5_000_000,
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {key: json.dumps(value) for key, value in values.items()},
        "links": [],
    }


def build_trace(
    run_key: str = "", *, prompt: Any = "hello", response: Any = "world", user: str = "u1", **changes: Any
) -> TraceRecord:
    """A trace of two spans with one call in it."""
    raw = secrets.token_bytes(16)
    trace_id = "tr-" + raw.hex()
    root = build_span(raw, name="triage", **{"mlflow.spanInputs": {"text": prompt}, "mlflow.spanOutputs": response})
    tokens = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    inner = build_span(
        raw,
        name="chat",
        parent=root["span_id"],
        **{
            "mlflow.spanInputs": {"messages": [{"role": "user", "content": prompt}]},
            "mlflow.spanOutputs": response,
            "mlflow.chat.tokenUsage": tokens,
            "mlflow.llm.model": "gpt-4o-mini",
            "mlflow.llm.cost": {"input_cost": 0.01, "output_cost": 0.02, "total_cost": 0.03},
        },
    )
    call = CallRecord(
        request_id=new_id("req"),
        name="triage",
        started=now(),
        ended=now(),
        status=Status.OK,
        provider="openai",
        model="gpt-4o-mini",
        parameters={"temperature": 0.2, "stop": ["end"]},
        prompt=[{"role": "user", "content": prompt}],
        response=response,
        usage=Usage(3, 4),
        cost=Cost(Decimal("0.03"), "priced", "prices", now().date()),
        user=user,
        session="s1",
        data_source="crm",
        trace_id=trace_id,
        run_key=run_key,
    )
    call = dataclasses.replace(call, **changes)
    metadata = {"mlflow.trace.session": "s1"} | ({"mlflow.trace.user": user} if user else {})
    return TraceRecord(trace_id, (root, inner), (call,), run_key, {"prodkit.source": "crm"}, metadata)


def build_spec(name: str = "classify", kind: Any = "cell", **more: Any) -> RunSpec:
    """A run to open."""
    return RunSpec(name, kind, new_id(kind), **more)


@pytest.fixture
def open_ledger() -> Iterator[Callable[..., Ledger]]:
    """Opens ledgers that ship only when flushed, and closes them."""
    opened: list[Ledger] = []

    def make(project: Project, **options: Any) -> Ledger:
        ledger = Ledger.open(project, redactor=PlainRedactor(), **{"shipper": "inline", **options})
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()
        Ledger._opened.pop(ledger.project.state, None)


@pytest.fixture
def ledger(project: Project, open_ledger: Callable[..., Ledger]) -> Ledger:
    """The ledger of the small project."""
    return open_ledger(project)


@pytest.fixture
def client(project: Project) -> Any:
    """MLflow, as a reviewer's own code would read it."""
    from mlflow import MlflowClient

    return MlflowClient(project.tracking_uri)


def list_traces(client: Any, run_id: str | None = None) -> list[Any]:
    """All traces of the project, or those of a run."""
    wanted = f"metadata.`mlflow.sourceRun` = '{run_id}'" if run_id else None
    found: list[Any] = []
    token = None
    while True:
        page = client.search_traces(locations=["1"], filter_string=wanted, page_token=token, max_results=500)
        found += page
        token = page.token
        if not token:
            return found


@pytest.fixture
def make_trace() -> Callable[..., TraceRecord]:
    """Builds traces: `make_trace(run_key, prompt=..., user=...)`."""
    return build_trace


@pytest.fixture
def make_spec() -> Callable[..., RunSpec]:
    """Builds specs of runs: `make_spec("name", "cell", tags=...)`."""
    return build_spec


@pytest.fixture
def traces_of() -> Callable[..., list[Any]]:
    """Reads traces back: `traces_of(client, run_id)`."""
    return list_traces


@pytest.fixture
def secret() -> str:
    """What the tests' redactor takes out."""
    return SECRET
