"""Model calls of the real SDKs become records: who, what, which model, how many tokens, what it cost."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prodkit.capture import request, run
from prodkit.records import Status


def test_a_call_becomes_a_record(here, client, ask):
    """A plain call is recorded with its prompt, answer, model, tokens and price, by the user's own line alone."""
    here()
    with run("classify", user="u1", source="crm") as opened:
        text = ask(client, "My invoice is wrong.", temperature=0)
    [call] = opened.calls
    assert call.status is Status.OK
    assert (call.model, call.provider, call.user, call.data_source) == ("gpt-4o-mini", "openai", "u1", "crm")
    assert call.prompt == [{"role": "user", "content": "My invoice is wrong."}]
    assert call.response["choices"][0]["message"]["content"] == text
    assert call.parameters == {"temperature": 0}
    assert call.usage.input_tokens > 0
    assert call.usage.output_tokens > 0
    assert call.cost.usd > 0
    assert call.cost.status == "priced"
    assert call.cost.price_date is not None
    assert call.simulated
    assert call.trace_id.startswith("tr-")


def test_requests_stamp_the_calls_inside(here, client, ask):
    """`request(...)` says who asks and where from, for the calls inside and no others."""
    here()
    with run("classify", user="team", source="docs") as opened:
        with request(user="u2", source="user_input", session="s1"):
            ask(client)
        ask(client)
    first, second = opened.calls
    assert (first.user, first.data_source, first.session) == ("u2", "user_input", "s1")
    assert (second.user, second.data_source, second.session) == ("team", "docs", "")


def test_async_calls_are_recorded(here, provider, ask):
    """Calls of an `asyncio.gather` inside `async with` all belong to the run, each with its own user."""
    from openai import AsyncOpenAI

    here()

    async def one(client, number):
        with request(user=f"u{number}"):
            await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": f"Ticket {number}"}]
            )

    async def main():
        async with AsyncOpenAI(**provider.openai_options()) as client, run("gather") as opened:
            await asyncio.gather(*(one(client, number) for number in range(40)))
        return opened

    opened = asyncio.run(main())
    assert len(opened.calls) == 40
    assert {call.user for call in opened.calls} == {f"u{number}" for number in range(40)}
    for call in opened.calls:
        assert call.prompt[0]["content"] == f"Ticket {call.user[1:]}"


def test_threads_belong_to_the_run(here, client, ask):
    """Calls from sixteen worker threads all belong to the run that started them."""
    here()
    with run("threads") as opened, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: ask(client, f"Ticket {number}"), range(160)))
    assert len(opened.calls) == 160
    assert {call.prompt[0]["content"] for call in opened.calls} == {f"Ticket {number}" for number in range(160)}


def test_two_runs_at_once_keep_their_calls(here, provider, ask):
    """Two runs open at the same time in two threads, each with workers of its own, get their own calls only."""
    from openai import OpenAI

    here()

    def work(name):
        with OpenAI(**provider.openai_options()) as client, run(name) as opened, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: ask(client, f"{name} {number}"), range(20)))
        return opened

    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(work, ["left", "right"])
    assert {call.prompt[0]["content"].split()[0] for call in left.calls} == {"left"}
    assert {call.prompt[0]["content"].split()[0] for call in right.calls} == {"right"}
    assert len(left.calls) == len(right.calls) == 20


def test_streams_are_read_along(here, client):
    """A stream is recorded whole, with its usage and first token's time, and the user sees no chunk of ours."""
    here()
    with run("stream") as opened:
        stream = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Say hello."}]
        )
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)  # a bare usage chunk has no choices
    [call] = opened.calls
    assert call.status is Status.OK
    assert call.streamed
    assert call.first_token_seconds is not None
    assert call.response["choices"][0]["message"]["content"] == said
    assert call.usage.output_tokens > 0
    assert not call.usage.estimated
    assert call.cost.status == "priced"


def test_a_stream_left_early_is_estimated(here, client):
    """A stream that the reader leaves is recorded as aborted, with a cost that is labelled as estimated."""
    here()
    with run("stream") as opened:
        stream = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Tell me a long story."}]
        )
        next(stream)
        next(stream)
        del stream
        gc.collect()
    [call] = opened.calls
    assert call.status is Status.ABORTED
    assert call.usage.estimated
    assert call.cost.status == "estimated"
    assert opened.summary().estimated == 1


def test_an_open_stream_ends_with_its_run(here, client):
    """A stream that is still held when the run closes is recorded by what was read of it, and the card says so."""
    here()
    with run("stream") as opened:
        stream = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Tell me a long story."}]
        )
        next(stream)
    [call] = opened.calls
    assert call.status is Status.ABORTED
    assert "stream" in opened.notices[0]
    stream.close()


async def test_async_streams_are_read_along(here, provider):
    """An asynchronous stream is recorded whole."""
    from openai import AsyncOpenAI

    here()
    async with AsyncOpenAI(**provider.openai_options()) as client, run("stream") as opened:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Say hello."}]
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    [call] = opened.calls
    assert call.response["choices"][0]["message"]["content"] == said
    assert call.usage.output_tokens > 0


def test_embeddings_are_recorded(here, client):
    """An embedding is a call with input tokens, no output, and a price."""
    here()
    with run("embed") as opened:
        client.embeddings.create(model="text-embedding-3-small", input=["first text", "second text"])
    [call] = opened.calls
    assert call.usage.input_tokens > 0
    assert call.usage.output_tokens == 0
    assert call.cost.usd > 0


def test_tool_calls_are_recorded(here, client):
    """The tools that were offered and the call that the model made of one are in the record."""
    here()
    tool = {
        "type": "function",
        "function": {
            "name": "route",
            "parameters": {"type": "object", "properties": {"queue": {"type": "string"}}, "required": ["queue"]},
        },
    }
    with run("tools") as opened:
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "My invoice is wrong."}],
            tools=[tool],
            tool_choice="required",
        )
    [call] = opened.calls
    assert call.parameters["tools"][0]["function"]["name"] == "route"
    assert call.response["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "route"


def test_errors_are_recorded(here, client):
    """A refused request is an error on the record, costs nothing, and reaches the user as the SDK raises it."""
    import openai

    here()
    with run("errors") as opened, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o-mini", messages=[])
    [call] = opened.calls
    assert call.status is Status.ERROR
    assert call.error.startswith("BadRequestError")
    assert call.cost.usd is None
    assert opened.cost == Decimal(0)
    assert opened.summary().unpriced == 0


def test_anthropic_calls_are_recorded(here, claude):
    """The anthropic SDK's calls, whole and streamed, are recorded with their tokens."""
    here()
    body = {"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello there"}]}
    with run("claude") as opened:
        claude.messages.create(**body)
        for _ in claude.messages.create(**body, stream=True):
            pass
        with claude.messages.stream(**body) as stream:
            text = stream.get_final_text()
    assert [call.status for call in opened.calls] == [Status.OK] * 3
    assert all(call.usage.input_tokens and call.usage.output_tokens for call in opened.calls)
    assert all(call.cost.usd > 0 for call in opened.calls)
    assert opened.calls[2].response["choices"][0]["message"]["content"] == text


def test_unknown_models_are_visible(here, client):
    """A model without a price is counted as unpriced; it never costs nothing."""
    here()
    with run("own") as opened:
        client.chat.completions.create(model="our-own-model", messages=[{"role": "user", "content": "Hello"}])
    [call] = opened.calls
    assert call.cost.usd is None
    assert call.cost.status == "unpriced"
    assert opened.summary().unpriced == 1


def test_calls_outside_of_a_run_are_left_alone(here, client, ask):
    """Without an open run the SDK works as if we weren't there."""
    here()
    with run("first") as opened:
        ask(client)
    ask(client)
    assert len(opened.calls) == 1


async def test_cancelled_calls_are_recorded(here, provider):
    """A call that is cancelled half-way is recorded as aborted, and its trace isn't lost."""
    from openai import AsyncOpenAI

    here()
    async with AsyncOpenAI(**provider.openai_options()) as client, run("cancel") as opened:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0005):
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]
                )
    [call] = opened.calls
    assert call.status is Status.ABORTED
    assert call.trace_id


def test_a_call_over_which_autologging_stumbles_is_recorded(here, client):
    """A tool that MLflow can't read leaves its span open for ever; the call is recorded when its run ends."""
    here()
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    with run("tools") as opened:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Look it up"}], tools=[tool]
        )
    assert [call.status.value for call in opened.calls] == ["ok"]
    assert opened.calls[0].cost.usd
    assert not opened.notices
