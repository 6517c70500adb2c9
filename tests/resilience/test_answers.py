"""Answers that may not be passed on, made with the SDKs' own types."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from prodkit.resilience import validate_response

SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}


def chat(content="fine", finish="stop", **message) -> ChatCompletion:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return ChatCompletion.construct(id="1", object="chat.completion", created=1, model="m", choices=[choice])


def message(content=None, stop="end_turn") -> Message:
    blocks = [{"type": "text", "text": "fine"}] if content is None else content
    return Message.construct(id="1", type="message", role="assistant", model="m", content=blocks, stop_reason=stop)


CALL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
TOOL = [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]
JSON = {"response_format": {"type": "json_object"}}
STRICT = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}

GOOD = {
    "text": (chat(), {}),
    "tool call": (chat(None, "tool_calls", **CALL), {}),
    "refusal": (chat(None, refusal="I'd rather not"), {}),
    "cut off as asked": (chat("fi", "length"), {"max_tokens": 1}),
    "json": (chat("{}"), JSON),
    "schema": (chat(json.dumps({"label": "a"})), STRICT),
    "a schema that is wrong itself": (
        chat("{}"),
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}},
    ),
    "message": (message(), {}),
    "message with a tool": (message(TOOL, "tool_use"), {}),
    "message cut off as asked": (message(stop="max_tokens"), {"max_tokens": 1}),
    "unknown shape": (SimpleNamespace(anything=1), {}),
}
BAD = {
    "html": ("<html>", {}, "not the provider's JSON"),
    "nothing": (None, {}, "not the provider's JSON"),
    "no choices": (ChatCompletion.construct(object="chat.completion", choices=[]), {}, "no choices"),
    "choices are null": (ChatCompletion.construct(object="chat.completion", choices=None), {}, "no choices"),
    "empty": (chat(""), {}, "an empty message"),
    "blank": (chat(" \n"), {}, "an empty message"),
    "no finish": (chat(finish=None), {}, "no finish_reason"),
    "cut off": (chat("fi", "length"), {}, "cut off"),
    "tool call cut off": (chat(None, "length", **CALL), {"max_tokens": 1}, "cut off"),
    "json cut off": (chat('{"la', "length"), {"max_tokens": 1, **JSON}, "cut off"),
    "no json": (chat("fine"), JSON, "not JSON"),
    "not the schema": (chat('{"label": "c"}'), STRICT, "not the schema"),
    "filtered": (chat("", "content_filter"), {}, "content filter"),
    "empty message": (message([]), {}, "an empty message"),
    "blank message": (message([{"type": "text", "text": ""}]), {}, "an empty message"),
    "message without end": (message(stop=None), {}, "no stop_reason"),
    "tool cut off": (message(TOOL, "max_tokens"), {}, "cut off"),
    "refused message": (message(stop="refusal"), {}, "refusal"),
    "no embeddings": (SimpleNamespace(object="list", data=[]), {}, "an empty list"),
}


@pytest.mark.parametrize(("response", "body"), GOOD.values(), ids=GOOD)
def test_good_answers_are_passed_on(response, body):
    """What the user asked for is passed on, also when he asked for little."""
    assert validate_response(response, body) is None


@pytest.mark.parametrize(("response", "body", "reason"), BAD.values(), ids=BAD)
def test_garbage_is_named(response, body, reason):
    """What nobody can use is named, and the name holds nothing of its content."""
    failure = validate_response(response, body)
    assert failure is not None
    assert failure.reason == reason


async def test_real_answers_are_passed_on(rig):
    """What a well provider sends through the real SDKs is passed on."""
    assert rig.ask(rig.policy(), stream=False) == "shipping"
    assert rig.ask(rig.policy(), stream=True, commit="first_token") == "shipping"
    assert [attempt.failure_class for attempt in rig.attempts] == ["", ""]
