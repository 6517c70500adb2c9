"""What an answer tells of its price beside its counts, through the real SDKs: batch, tier, hour-long cache, images."""

from __future__ import annotations

import json
from decimal import Decimal

import httpx2
import pytest

from prodkit.capture import run, terms

OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "billing"}}],
}
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "billing"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
}


def transport(body):
    """Answers every request with this body."""
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=body)))


def ask_openai(usage, model="gpt-5", **told):
    from openai import OpenAI

    body = {**OPENAI, "model": model, "usage": usage, **told}
    with OpenAI(api_key="x", http_client=transport(body)) as client, run("classify") as opened:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    [call] = opened.calls
    return call.cost


def claude_usage(**told):
    plain = {"input_tokens": 0, "output_tokens": 10_000, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    return {**plain, **told}


def ask_claude(usage):
    from anthropic import Anthropic

    body = {**CLAUDE, "usage": usage}
    with Anthropic(api_key="x", http_client=transport(body)) as client, run("classify") as opened:
        client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    [call] = opened.calls
    return call.cost


def test_service_tiers_have_their_price(here):
    """A flex answer costs half of a standard one, a priority answer more; `default` is the standard price."""
    here()
    usage = {"prompt_tokens": 100_000, "completion_tokens": 10_000, "total_tokens": 110_000}
    plain = ask_openai(usage)
    assert plain.usd == Decimal("0.225")
    assert ask_openai(usage, service_tier="default") == plain
    assert ask_openai(usage, service_tier="flex").usd == plain.usd / 2
    assert ask_openai(usage, service_tier="priority").usd == plain.usd * 2


def test_a_batch_answer_has_the_batch_price(here):
    """An answer that says that it was made in a batch costs what batches cost."""
    here()
    usage = claude_usage(input_tokens=100_000)
    assert ask_claude(usage | {"service_tier": "standard"}).usd == Decimal("0.45")
    assert ask_claude(usage | {"service_tier": "batch"}).usd == Decimal("0.225")


def test_an_hour_long_cache_write_is_dearer(here):
    """Of the tokens that are written to the cache, those for an hour cost twice the input's price."""
    here()
    written = {"cache_creation_input_tokens": 100_000}
    short = ask_claude(claude_usage(**written, cache_creation={"ephemeral_5m_input_tokens": 100_000}))
    mixed = {"ephemeral_5m_input_tokens": 10_000, "ephemeral_1h_input_tokens": 90_000}
    assert short.usd == Decimal("0.375") + Decimal("0.15")
    assert ask_claude(claude_usage(**written, cache_creation=mixed)).usd == Decimal("0.5775") + Decimal("0.15")


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ({}, terms.STANDARD),
        ({"usage": {"prompt_tokens": 1, "prompt_tokens_details": None}}, terms.STANDARD),
        ({"usage": {"cache_creation": {"ephemeral_1h_input_tokens": "9"}}, "service_tier": 7}, terms.STANDARD),
        (
            {"usage": {"input_tokens_details": {"image_tokens": 5}, "output_tokens_details": {"image_tokens": 7}}},
            terms.Terms(details={"input_image_tokens": 5, "output_image_tokens": 7}),
        ),
        (
            {"usage": {"prompt_tokens_details": {"cache_creation_token_details": {"ephemeral_1h_input_tokens": 3}}}},
            terms.Terms(details={"cache_write_1h_tokens": 3}),
        ),
    ],
)
def test_terms_are_read_from_any_shape(answer, meant):
    """The vendors' shapes are told apart, and what isn't a count or a name says nothing."""
    assert terms.read(answer) == meant
    assert terms.read(json.loads(json.dumps(answer))) == meant


def test_a_streams_terms_add_up():
    """The start of a stream tells the cache, its end the tier; a chunk that tells nothing changes nothing."""
    first = terms.read({"usage": {"cache_creation": {"ephemeral_1h_input_tokens": 3}, "service_tier": "batch"}})
    assert first.then(terms.read({"usage": {"output_tokens": 5}})) is first
    assert first.then(terms.read({"service_tier": "flex"})) == terms.Terms(
        batch=True, service_tier="flex", details={"cache_write_1h_tokens": 3}
    )
