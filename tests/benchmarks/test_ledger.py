"""What the ledger costs beside MLflow's own logging, in the same run on the same kind of SQLite.

Run with `pytest tests/benchmarks/test_ledger.py --benchmark-enable -s`; each test prints its figures.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.ledger import Ledger
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
from prodkit.ledger.verify import verify_journal
from prodkit.records import CallRecord, CallSpan, Cost, RunSpec, Status, TraceRecord, Usage, new_id, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.manifest import Project

TRACES = 1000
PEER_TRACES = 100
PROMPT = "Classify this ticket: the invoice of March shows the wrong amount, please correct it. " * 6
ANSWER = "billing"


@pytest.fixture(autouse=True)
def only_when_measuring(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("timed claims are checked with --benchmark-enable")


def span_of(raw: bytes, name: str, parent: str | None, **attributes: Any) -> dict[str, Any]:
    begin = time.time_ns()
    values = {"mlflow.traceRequestId": "tr-" + raw.hex(), "mlflow.spanType": "CHAT_MODEL", **attributes}
    return {
        "trace_id": base64.b64encode(raw).decode(),
        "span_id": base64.b64encode(secrets.token_bytes(8)).decode(),
        "parent_span_id": parent,
        "name": name,
        "start_time_unix_nano": begin,
        "end_time_unix_nano": begin + 1_000_000,
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {key: json.dumps(value) for key, value in values.items()},
        "links": [],
    }


def trace_of(run_key: str, *, alone: bool = False) -> TraceRecord:
    """One captured call as capture hands it over: with the span that MLflow made of it, or alone with its record."""
    raw = secrets.token_bytes(16)
    inputs = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    usage = {"input_tokens": 90, "output_tokens": 2, "total_tokens": 92}
    root = span_of(
        raw,
        "chat",
        None,
        **{"mlflow.spanInputs": inputs, "mlflow.spanOutputs": ANSWER, "mlflow.chat.tokenUsage": usage},
    )
    call = CallRecord(
        request_id=new_id("req"),
        name="bench",
        started=now(),
        ended=now(),
        status=Status.OK,
        provider="openai",
        model="m",
        prompt=inputs["messages"],
        response=ANSWER,
        usage=Usage(90, 2),
        cost=Cost(),
        user="u1",
        trace_id="tr-" + raw.hex(),
        span_id=secrets.token_hex(8),
        run_key=run_key,
        span=CallSpan("Completions", "CHAT_MODEL", ("messages",), "openai") if alone else None,
    )
    if alone:
        return TraceRecord(call.trace_id, (), (call,), run_key)
    return TraceRecord("tr-" + raw.hex(), (root,), (call,), run_key, {}, {"mlflow.trace.user": "u1"})


@pytest.fixture
def ledger(project: Project) -> Iterator[Ledger]:
    opened = Ledger.open(project, shipper="inline")
    yield opened
    opened.close()


@pytest.fixture
def mlflow_logs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[list[float], float]]]:
    """MLflow's own way: (CPU seconds of the caller for each trace, seconds until all are stored)."""
    import mlflow

    before = mlflow.get_tracking_uri()

    def log(count: int, *, background: bool) -> tuple[list[float], float]:
        monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", str(background).lower())
        mlflow.set_tracking_uri(project.tracking_uri)
        mlflow.set_experiment(f"peer-{background}")
        mlflow.tracing.reset()

        def one() -> None:
            with mlflow.start_span("chat", span_type="CHAT_MODEL") as span:
                span.set_inputs({"model": "m", "messages": [{"role": "user", "content": PROMPT}]})
                span.set_outputs(ANSWER)

        one()
        mlflow.flush_trace_async_logging()
        each, begun = [], time.perf_counter()
        for _ in range(count):
            start = time.thread_time()
            one()
            each.append(time.thread_time() - start)
        if background:
            mlflow.flush_trace_async_logging()
        return each, time.perf_counter() - begun

    yield log
    mlflow.set_tracking_uri(before)
    mlflow.tracing.reset()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # MLflow's setters leave them in the environment
        os.environ.pop(name, None)


@pytest.mark.benchmark(group="ledger")
@pytest.mark.parametrize("alone", [False, True], ids=["with a span", "alone"])
def test_a_call_costs_its_caller_no_more_than_mlflows_async_logging(ledger, mlflow_logs, benchmark, alone):
    """Cleaning, sealing and journaling a call takes the caller's thread no more CPU than MLflow's async logging does."""
    traces = [trace_of("", alone=alone) for _ in range(TRACES)]
    for trace in traces[:50]:
        ledger.log_trace(trace)
    each = []

    def measure() -> None:
        for trace in traces[50:]:
            begun = time.thread_time()
            ledger.log_trace(trace)
            each.append(time.thread_time() - begun)

    benchmark.pedantic(measure, rounds=1)
    peer, _ = mlflow_logs(PEER_TRACES, background=True)
    ours, theirs = statistics.median(each) * 1e6, statistics.median(peer) * 1e6
    benchmark.extra_info.update(ours_us=ours, mlflow_async_us=theirs)
    print(f"\ncaller, p50: ledger {ours:.0f} us, MLflow async {theirs:.0f} us (with making the span)")
    assert ours <= theirs


@pytest.mark.benchmark(group="ledger")
@pytest.mark.parametrize("alone", [False, True], ids=["with a span", "alone"])
def test_calls_are_stored_twenty_times_faster_than_by_mlflow(ledger, mlflow_logs, benchmark, alone):
    """From the first call to the last trace in MLflow: at least 20 times MLflow's own throughput, sync and async."""
    run = ledger.start_run(RunSpec("bench", "cell", new_id("cell")))
    ledger.log_trace(trace_of(run.key, alone=alone))
    ledger.flush()
    traces = [trace_of(run.key, alone=alone) for _ in range(TRACES)]

    def measure() -> float:
        begun = time.perf_counter()
        for trace in traces:
            ledger.log_trace(trace)
        assert ledger.flush().pending == 0
        return (time.perf_counter() - begun) / TRACES

    ours = benchmark.pedantic(measure, rounds=1)
    background = mlflow_logs(PEER_TRACES, background=True)[1] / PEER_TRACES
    foreground = mlflow_logs(PEER_TRACES, background=False)[1] / PEER_TRACES
    ratio = min(background, foreground) / ours
    benchmark.extra_info.update(ours_ms=ours * 1e3, mlflow_async_ms=background * 1e3, mlflow_sync_ms=foreground * 1e3)
    print(
        f"\nend to end, per trace: ledger {ours * 1e3:.2f} ms, MLflow async {background * 1e3:.1f} ms, "
        f"sync {foreground * 1e3:.1f} ms: {ratio:.0f} times"
    )
    assert ratio >= 20


@pytest.mark.benchmark(group="journal")
def test_five_thousand_durable_records_a_second(tmp_path, benchmark):
    """32 writers that each wait for the disk: at least 5,000 records/s, p50 at most 5 ms; beside one fsync a record."""
    places = Places(tmp_path / ".prodkit")
    places.make()
    journal = Journal(places, Keyring(places.keys))
    journal.append("warm", {})
    content = {"prompt": PROMPT, "response": ANSWER}
    each: list[float] = []
    count = 200

    def work() -> None:
        mine = []
        for number in range(count):
            begun = time.perf_counter()
            journal.append("call", {"number": number}, content, "ada").durable()
            mine.append(time.perf_counter() - begun)
        each.extend(mine)

    def measure() -> float:
        threads = [threading.Thread(target=work) for _ in range(32)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 32 * count / (time.perf_counter() - begun)

    rate = benchmark.pedantic(measure, rounds=1)
    journal.close()
    alone = one_fsync_each(tmp_path / "peer", len(PROMPT))
    p50 = statistics.median(each) * 1e3
    benchmark.extra_info.update(records_per_second=rate, p50_ms=p50, one_fsync_each=alone)
    print(f"\ndurable, 32 writers: {rate:,.0f} records/s, p50 {p50:.2f} ms; one fsync a record: {alone:,.0f} records/s")
    assert rate >= 5000
    assert p50 <= 5


def one_fsync_each(path: Any, size: int) -> float:
    with path.open("wb", buffering=0) as file:
        begun = time.perf_counter()
        for _ in range(200):
            file.write(b"x" * size + b"\n")
            os.fsync(file.fileno())
        return 200 / (time.perf_counter() - begun)


@pytest.mark.benchmark(group="journal")
def test_sixty_thousand_records_are_verified_a_second(tmp_path, benchmark):
    """Verifying reads at least 60,000 records of 1 kB a second."""
    places = Places(tmp_path / ".prodkit")
    places.make()
    journal = Journal(places, Keyring(places.keys))
    for number in range(30_000):
        journal.append("call", {"number": number}, PROMPT, "ada")
    journal.close()

    outcome = benchmark.pedantic(lambda: verify_journal(places.journal), rounds=3)
    rate = outcome.records / outcome.seconds
    benchmark.extra_info["records_per_second"] = rate
    print(f"\nverify: {rate:,.0f} records/s")
    assert outcome.ok
    assert rate >= 60_000


@pytest.mark.benchmark(group="journal")
def test_a_checkpoint_is_signed_in_no_time(tmp_path, benchmark):
    """Signing the heads of all streams costs a run little when it ends."""
    from prodkit.ledger.checkpoints import take_checkpoint

    places = Places(tmp_path / ".prodkit")
    places.make()
    keyring = Keyring(places.keys)
    journal = Journal(places, keyring)
    journal.append("call", {}, PROMPT, "ada")
    benchmark(lambda: take_checkpoint(places.journal, keyring))
    journal.close()
    assert benchmark.stats["median"] < 0.02
