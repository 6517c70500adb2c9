"""Frameworks over the SDKs: each of their calls is recorded once, whichever way it takes."""

from __future__ import annotations

import asyncio
import os

import pytest

from prodkit.capture import run
from prodkit.errors import BudgetError
from prodkit.records import Status

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # these libraries warn by themselves
MESSAGES = [{"role": "user", "content": "My invoice is wrong."}]


@pytest.fixture
def litellm(monkeypatch):
    """The real litellm, without its look-up of prices on the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return pytest.importorskip("litellm", reason="litellm isn't installed: run `make test-frameworks`")


@pytest.fixture
def chain(provider):
    """A langchain chain over the simulated provider."""
    pytest.importorskip("langchain_openai", reason="langchain-openai isn't installed: run `make test-frameworks`")
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model="gpt-4o-mini", **provider.openai_options())
    return (
        ChatPromptTemplate.from_messages([("system", "You sort tickets."), ("user", "{q}")]) | llm | StrOutputParser()
    )


def test_litellm_through_the_openai_client(here, litellm, provider):
    """The calls of litellm through the openai client are one record each: sync, async and streamed."""
    here()
    to = {"api_base": provider.openai_options()["base_url"], "api_key": "x", "model": "openai/gpt-4o-mini"}
    with run("lite", user="u1") as opened:
        litellm.completion(messages=MESSAGES, **to)
        for chunk in litellm.completion(messages=MESSAGES, stream=True, **to):
            assert chunk.choices
        asyncio.run(litellm.acompletion(messages=MESSAGES, **to))
    assert [call.status for call in opened.calls] == [Status.OK] * 3
    assert {(call.provider, call.model, call.user) for call in opened.calls} == {("openai", "gpt-4o-mini", "u1")}
    assert all(call.cost.usd > 0 for call in opened.calls)


def test_litellm_past_the_sdks(here, litellm, provider):
    """The calls of litellm to Anthropic, which it makes without Anthropic's SDK, are recorded and priced, too."""
    here()
    with run("lite") as opened:
        litellm.completion(
            model="anthropic/claude-sonnet-4-6", max_tokens=20, messages=MESSAGES, api_base=provider.url, api_key="x"
        )
    [call] = opened.calls
    assert (call.provider, call.model) == ("anthropic", "claude-sonnet-4-6")
    assert call.cost.usd > 0


def test_litellm_keeps_the_budget(here, litellm, provider):
    """A budget refuses litellm's calls, too."""
    here()
    with pytest.raises(BudgetError), run("lite", budget="0.0000001"):
        litellm.completion(
            model="openai/gpt-4o-mini",
            messages=MESSAGES,
            api_base=provider.openai_options()["base_url"],
            api_key="x",
        )


def test_langchains_calls_are_counted_once(here, chain):
    """A chain's calls are counted once each, also in batches and async, where its spans and the SDK's lie apart."""
    here()
    with run("chain", user="u1") as opened:
        chain.invoke({"q": "My invoice is wrong."})
        chain.batch([{"q": f"Ticket {number}"} for number in range(4)])
        assert "".join(chain.stream({"q": "Where is my parcel?"}))
        asyncio.run(chain.ainvoke({"q": "I can't log in."}))
    assert len(opened.calls) == 7
    assert all(call.cost.usd > 0 and call.user == "u1" for call in opened.calls)


def test_langchains_spans_stay_nested(here, chain):
    """The chain's own trace keeps its prompt, its model and its parser below it."""
    import mlflow

    here()
    with run("chain") as opened:
        chain.invoke({"q": "My invoice is wrong."})
    opened.ledger.flush()
    trace = mlflow.get_trace(opened.calls[0].trace_id)
    spans = {span.name: span for span in trace.data.spans}
    assert spans["ChatOpenAI"].parent_id == spans["RunnableSequence"].span_id
    assert os.environ.get("MLFLOW_TRACKING_URI") is None
