"""MLflow's own price of a call, beside ours, where the two don't agree."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from prodkit.ledger.mlflow_prices import METRIC, TAG, _price
from prodkit.ledger.shipments import Shipments
from prodkit.records import Status

LONG = {"input_tokens": 300_000, "output_tokens": 1_000}


@pytest.fixture
def priced(make_trace):
    """Makes the trace of a call with so many tokens, priced by us at so many dollars (None: unpriced)."""

    def make(run_key, usd, usage=LONG, model="gemini-2.5-pro", provider="google"):
        trace = make_trace(run_key)
        attributes = trace.spans[1]["attributes"]
        said = {"mlflow.chat.tokenUsage": usage, "mlflow.llm.model": model, "mlflow.llm.provider": provider}
        attributes |= {name: json.dumps(value) for name, value in (said | {"prodkit.request_id": "req-1"}).items()}
        del attributes["mlflow.llm.cost"]
        if usd is not None:
            cost = {"input_cost": usd, "output_cost": 0.0, "total_cost": usd}
            attributes["mlflow.llm.cost"] = json.dumps(cost)
        return trace

    return make


def test_mlflows_catalog_answers_as_it_did():
    """MLflow's own function still prices a call by tokens and cached tokens, linearly, as the rates suppose."""
    from mlflow.tracing.utils import calculate_cost_by_model_and_token_usage
    from mlflow.utils.providers import cost_per_token

    usage = {"input_tokens": 12_345, "output_tokens": 678, "cache_read_input_tokens": 5_000}
    theirs = cost_per_token(
        "gpt-4o-mini",
        12_345,
        678,
        custom_llm_provider="openai",
        cache_read_input_tokens=usage["cache_read_input_tokens"],
    )
    assert float(_price("gpt-4o-mini", "openai", usage)) == pytest.approx(sum(theirs), rel=1e-12)
    usual = calculate_cost_by_model_and_token_usage("gpt-4o-mini", usage, "openai")
    assert usual["total_cost"] == pytest.approx(sum(theirs), rel=1e-2)  # litellm's, where that is installed
    assert _price("no-such-model", "openai", usage) is None


def test_a_long_prompt_has_two_prices(project, ledger, client, make_spec, priced, traces_of):
    """Where MLflow leaves out the long-context price, its figure stands at the call, the trace and the run's sum."""
    run = ledger.start_run(make_spec())
    ours = "0.765"  # above 200,000 tokens Gemini 2.5 Pro costs twice as much for input
    ledger.log_trace(priced(run.key, float(ours)))
    ledger.log_trace(priced(run.key, float(ours)))
    assert ledger.flush().pending == 0

    theirs = Decimal("0.385")  # 300,000 at $1.25 and 1,000 at $10 a million
    for trace in traces_of(client, run.run_id):
        assert Decimal(trace.info.tags[TAG]) == theirs
        (call,) = [span for span in trace.data.spans if span.get_attribute(TAG)]
        assert call.get_attribute(TAG) == float(theirs)
        assert call.llm_cost["total_cost"] == float(ours)
    assert client.get_run(run.run_id).data.metrics[METRIC] == pytest.approx(float(2 * theirs))
    opinion = ledger.second_opinion([run.run_id])
    assert (opinion.ours, opinion.theirs, opinion.differing) == (2 * Decimal(ours), 2 * theirs, 2)


def test_agreement_is_silent(ledger, client, make_spec, priced, traces_of):
    """A figure within one per cent of ours, and a model that MLflow doesn't know, leave no trace of an opinion."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(priced(run.key, 0.3855))
    ledger.log_trace(priced(run.key, 0.5, model="our-own-llama", provider="northwind"))
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0

    assert METRIC not in client.get_run(run.run_id).data.metrics
    assert not any(TAG in trace.info.tags for trace in traces_of(client, run.run_id))
    assert ledger.second_opinion([run.run_id]).differing == 0


def test_a_price_that_only_mlflow_knows(ledger, client, make_spec, priced):
    """A call without a price of ours stays unpriced, with MLflow's figure beside it; the others count as they are."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(priced(run.key, None))
    ledger.log_trace(priced(run.key, 0.385))
    ledger.flush()

    assert client.get_run(run.run_id).data.metrics[METRIC] == pytest.approx(0.77)
    assert ledger.second_opinion([run.run_id]).ours == Decimal("0.385")


def test_calls_shipped_twice_count_once(ledger, client, make_spec, priced, monkeypatch):
    """When shipping dies after MLflow has taken a batch, the next round sends it again and counts it once."""
    run = ledger.start_run(make_spec())
    for _ in range(3):
        ledger.log_trace(priced(run.key, 0.765))

    def die(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Shipments, "move", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.flush()
    assert client.get_run(run.run_id).data.metrics[METRIC] == pytest.approx(3 * 0.385)
    ledger.flush()
    assert client.get_run(run.run_id).data.metrics[METRIC] == pytest.approx(3 * 0.385)
    assert ledger.second_opinion([run.run_id]).differing == 3
