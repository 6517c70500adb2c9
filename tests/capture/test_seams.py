"""The seams hold: in MLflow, in the SDKs, and beside what users do with MLflow themselves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from prodkit.capture import insides, run, sdks


def test_mlflow_is_as_the_seam_expects():
    """Every undocumented part of MLflow that the seam leans on is where it is expected."""
    assert insides.broken() == ()


def test_signatures_are_worked_out_once(here, client, ask):
    """MLflow finds the signature of the SDK's function on it, instead of working it out anew in each call."""
    here()
    with run("calls"):
        ask(client)
    original = type(client.chat.completions).create.__wrapped__  # below MLflow's own wrapper
    assert "messages" in vars(original)["__signature__"].parameters


@pytest.mark.parametrize("sdk", sdks.SDKS)
def test_sdks_are_as_the_guard_expects(sdk):
    """Every private part of the SDKs that the guard leans on is where it is expected."""
    assert sdks.broken(sdk) == ()


def test_spans_stay_nested(here, client, ask):
    """A call below the user's own spans stays there: one trace, with the chain, the retriever and the call."""
    import mlflow

    project = here()
    with run("nested") as opened, mlflow.start_span("chain", span_type="CHAIN"):
        with mlflow.start_span("look up", span_type="RETRIEVER") as span:
            span.set_outputs(["a document"])
        ask(client)
    [call] = opened.calls
    opened.ledger.flush()
    trace = mlflow.get_trace(call.trace_id)
    names = {span.name: span for span in trace.data.spans}
    assert set(names) == {"chain", "look up", "Completions"}
    assert names["Completions"].parent_id == names["chain"].span_id
    assert project.tracking_uri == mlflow.get_tracking_uri()


@pytest.mark.parametrize("disturb", ["disable", "enable", "reset"])
def test_capture_survives_mlflows_switches(here, client, ask, disturb):
    """`mlflow.tracing.disable`, `enable` and `reset` inside of a run lose no call."""
    import mlflow

    here()
    with run("switches") as opened:
        ask(client, "first")
        getattr(mlflow.tracing, disturb)()
        ask(client, "second")
    assert len(opened.calls) == 2
    assert all(call.trace_id for call in opened.calls)
    mlflow.tracing.enable()


def test_calls_without_a_span_get_one(here, client, ask):
    """A call that MLflow was told not to trace is recorded all the same."""
    import mlflow

    here()
    with run("untraced") as opened, mlflow.tracing.context(enabled=False):
        ask(client)
    [call] = opened.calls
    assert call.trace_id


def test_thousands_of_open_calls_are_kept(here, provider):
    """Twelve hundred traces in flight at once are all recorded; MLflow by itself forgets those beyond a thousand."""
    from openai import AsyncOpenAI

    here()

    async def main():
        async with AsyncOpenAI(**provider.openai_options(), timeout=60) as client, run("many") as opened:

            async def one(number):
                with __import__("mlflow").start_span(f"outer {number}"):
                    await held.wait()

            held = asyncio.Event()
            tasks = [asyncio.create_task(one(number)) for number in range(1200)]
            await asyncio.sleep(0)
            await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
            held.set()
            await asyncio.gather(*tasks)
        return opened

    opened = asyncio.run(main())
    report = opened.ledger.flush(120)
    import mlflow

    assert report.pending == 0
    traces = mlflow.search_traces(
        return_type="list", max_results=5000, locations=[opened.handle.experiment_id], include_spans=False
    )
    assert len(traces) == 1201


def test_mlflows_active_run_is_ours(here):
    """The user's own `mlflow.log_metric` lands in the cell's run, from its threads and tasks, too."""
    import mlflow

    here()

    async def log(number):
        mlflow.log_metric(f"task_{number}", number)

    async def main():
        await asyncio.gather(*(log(number) for number in range(3)))

    with run("metrics") as opened:
        mlflow.log_metric("plain", 1.0)
        mlflow.log_param("colour", "blue")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda number: mlflow.log_metric(f"thread_{number}", number), range(3)))
        asyncio.run(main())
        assert mlflow.active_run().info.run_id == opened.handle.run_id
    assert mlflow.active_run() is None
    logged = mlflow.get_run(opened.handle.run_id).data
    assert set(logged.metrics) >= {"plain", *(f"{kind}_{number}" for kind in ("thread", "task") for number in range(3))}
    assert logged.params["colour"] == "blue"


def test_users_runs_become_children(here):
    """A run that the user starts inside of ours works as ever and lies below ours."""
    import mlflow

    here()
    with run("outer") as opened, mlflow.start_run(run_name="theirs") as theirs:
        mlflow.log_metric("inner", 1.0)
    found = mlflow.get_run(theirs.info.run_id)
    assert found.data.metrics == {"inner": 1.0}
    assert found.data.tags["mlflow.parentRunId"] == opened.handle.run_id
    assert found.info.experiment_id == opened.handle.experiment_id


def test_traces_outside_of_runs_are_mlflows(here, client, ask):
    """What the user traces outside of our runs goes to MLflow as ever."""
    import mlflow

    here()
    with run("inside") as opened:
        ask(client)
    mlflow.set_experiment(experiment_id=opened.handle.experiment_id)
    try:
        with mlflow.start_span("outside"):
            pass
        mlflow.flush_trace_async_logging()  # ships ours, too
        names = [
            trace.info.tags["mlflow.traceName"]
            for trace in mlflow.search_traces(return_type="list", locations=[opened.handle.experiment_id])
        ]
        assert sorted(names) == ["Completions", "outside"]
    finally:
        mlflow.tracking.fluent._active_experiment_id = None


def test_a_failing_journal_doesnt_break_the_call(here, client, ask, monkeypatch, caplog):
    """When a trace can't be written, the user's call still returns, and the log and the card say what is lost."""
    here()
    with run("full disk") as opened:
        monkeypatch.setattr(opened.ledger, "log_trace", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert ask(client)
        monkeypatch.undo()
    assert "couldn't be logged" in caplog.text
    assert any("couldn't be logged" in notice for notice in opened.notices)
