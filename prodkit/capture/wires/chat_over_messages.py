"""A chat completion (OpenAI) asked of a messages API (Anthropic)."""

from __future__ import annotations

import json
import time
from typing import Any

from prodkit.capture.wires.words import Unfaithful, arguments_of, given, messages_of, only, text_of

_MOST_TOKENS = (
    4096  # the API wants a limit; every model allows this one, and an answer that it cuts off isn't passed on
)
_ANSWER = "answer"  # the tool by which JSON is asked for
LEFT_OUT = frozenset({"temperature", "top_p"})  # since generation 5, and in API version 2026-10-21 for all, an error
_SAME = frozenset({"model", "messages", "stream"})
_TRANSLATED = frozenset(
    {"max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format"}
)
# they say who asks, how it is billed or kept, or ask for luck that no other model shares: the answer doesn't hang on it
_DROPPED = frozenset(
    {"stream_options", "user", "metadata", "store", "service_tier", "seed", "safety_identifier", "prompt_cache_key"}
)
_NEUTRAL = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "logit_bias": {}}
_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def request(body: dict[str, Any], model: str, provider: str) -> dict[str, Any]:  # noqa: ARG001
    """The body for `/v1/messages`.

    Raises:
        Unfaithful: something of it can't be said there.
    """
    body = {name: value for name, value in given(body).items() if value != _NEUTRAL.get(name, ...)}
    only(body, _SAME | _TRANSLATED | _DROPPED | LEFT_OUT)
    system, messages = _messages(messages_of(body))
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or _MOST_TOKENS
    made: dict[str, Any] = {"model": model, "max_tokens": limit, "messages": messages}
    if system:
        made["system"] = system
    if "stop" in body:
        made["stop_sequences"] = _stops(body["stop"])
    return made | _tools(body)


def answer(message: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion from a message.

    Args:
        message: the JSON that came.
        body: the request, as the caller had made it.

    Raises:
        Unfaithful: the message holds what a chat completion has no word for.
    """
    finish = _ENDS.get(str(message.get("stop_reason")))
    if finish is None:
        raise Unfaithful("it ended for a reason that the other format has no word for")
    texts, calls = [], []
    for block in message.get("content") or ():
        kind = block.get("type")
        if kind == "text":
            texts.append(block["text"])
        elif kind == "tool_use" and _asks_json(body) and block["name"] == _ANSWER:
            texts.append(json.dumps(block["input"], ensure_ascii=False))
            finish = "stop" if finish == "tool_calls" else finish
        elif kind == "tool_use":
            function = {"name": block["name"], "arguments": json.dumps(block["input"], ensure_ascii=False)}
            calls.append({"id": block["id"], "type": "function", "function": function})
        elif kind not in {"thinking", "redacted_thinking"}:
            raise Unfaithful(f"the answer holds a block of the type {kind}")
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    if calls:
        said["tool_calls"] = calls
    return {
        "id": message.get("id") or "",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.get("model") or "",
        "choices": [{"index": 0, "finish_reason": finish, "logprobs": None, "message": said}],
        "usage": _usage(message.get("usage") or {}),
    }


def chunks(message: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer as the chunks of a stream: the text in one piece, the end, and the usage for those who read it."""
    whole = answer(message, body)
    said = whole["choices"][0]["message"]
    calls = [{"index": index, **call} for index, call in enumerate(said.get("tool_calls", ()))]
    delta = {"role": "assistant", "content": said["content"], **({"tool_calls": calls} if calls else {})}
    common = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    finish = whole["choices"][0]["finish_reason"]
    return [
        {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {**common, "choices": [], "usage": whole["usage"]},
    ]


def _messages(messages: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The system's text, and the others' messages."""
    heads = 0
    while heads < len(messages) and messages[heads].get("role") in {"system", "developer"}:
        heads += 1
    system = "\n\n".join(text_of(one.get("content"), "system") for one in messages[:heads])
    made: list[dict[str, Any]] = []
    for one in messages[heads:]:
        turn = _turn(one)
        if made and made[-1]["role"] == turn["role"] == "user" and one["role"] == "tool":
            made[-1]["content"] += turn["content"]  # results of one turn's calls belong together
        else:
            made.append(turn)
    if not made or made[0]["role"] != "user":
        raise Unfaithful("its first message isn't the user's")
    return system, made


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    role = message.get("role")
    only(message, frozenset({"role", "content", "tool_calls", "tool_call_id"}))
    if role == "user":
        return {"role": "user", "content": [_text(text_of(message.get("content"), "user"))]}
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
        return {"role": "user", "content": [result | {"content": text_of(message.get("content"), "tool")}]}
    if role != "assistant":
        raise Unfaithful(f"a message of the role {role} stands between others")
    blocks: list[dict[str, Any]] = []
    if message.get("content"):
        blocks.append(_text(text_of(message["content"], "assistant")))
    for call in message.get("tool_calls") or ():
        if call.get("type") != "function":
            raise Unfaithful(f"it holds a tool call of the type {call.get('type')}")
        function = call["function"]
        inputs = arguments_of(function.get("arguments"))
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": inputs})
    return {"role": "assistant", "content": blocks}


def _text(text: str) -> dict[str, Any]:
    if not text.strip():
        raise Unfaithful("a message is empty")
    return {"type": "text", "text": text}


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(one, str) and one.strip() for one in stops):
        raise Unfaithful("it stops at blanks")
    return stops


def _tools(body: dict[str, Any]) -> dict[str, Any]:
    """Tools, or the one tool by which an answer in JSON is asked for."""
    if _asks_json(body):
        if body.get("tools"):
            raise Unfaithful("it asks for tools and for JSON at once")
        form = body["response_format"]
        schema = (form.get("json_schema") or {}).get("schema") or {"type": "object"}
        tool = {"name": _ANSWER, "description": "Give the answer.", "input_schema": schema}
        return {"tools": [tool], "tool_choice": {"type": "tool", "name": _ANSWER}}
    form = body.get("response_format") or {"type": "text"}
    if not isinstance(form, dict) or form.get("type") != "text":
        raise Unfaithful("its response_format is of an unknown kind")
    if not body.get("tools"):
        return {}
    made: dict[str, Any] = {"tools": [_tool(tool) for tool in body["tools"]], "tool_choice": _choice(body)}
    return made


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or {}
    if tool.get("type") != "function" or function.get("strict"):
        raise Unfaithful("a tool is strict" if function.get("strict") else f"a tool is of the type {tool.get('type')}")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    description = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **description, "input_schema": schema}


def _choice(body: dict[str, Any]) -> dict[str, Any]:
    asked = body.get("tool_choice", "auto")
    if isinstance(asked, dict):
        if asked.get("type") != "function":
            raise Unfaithful(f"its tool_choice is of the type {asked.get('type')}")
        choice: dict[str, Any] = {"type": "tool", "name": asked["function"]["name"]}
    else:
        choice = {"type": {"required": "any"}.get(asked, asked)}
    if body.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _asks_json(body: dict[str, Any]) -> bool:
    form = body.get("response_format")
    return isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}


def _usage(usage: dict[str, Any]) -> dict[str, Any] | None:
    """Anthropic counts cached tokens beside `input_tokens`, OpenAI among them."""
    if usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        return None
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    prompt, completion = usage["input_tokens"] + read + written, usage["output_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read},
    }
