"""A message (Anthropic) asked of a chat completions API (OpenAI and those that speak like it)."""

from __future__ import annotations

import json
from typing import Any

from prodkit.capture.wires.words import Unfaithful, arguments_of, given, messages_of, only, text_of

_MOST_STOPS = 4
LEFT_OUT: frozenset[str] = frozenset()
_SAME = frozenset({"model", "messages", "temperature", "top_p", "stream"})
_TRANSLATED = frozenset({"max_tokens", "system", "stop_sequences", "tools", "tool_choice"})
_DROPPED = frozenset({"metadata", "service_tier"})  # who asks and how it is billed: the answer doesn't hang on it
_ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def request(body: dict[str, Any], model: str, provider: str) -> dict[str, Any]:
    """The body for `/chat/completions`.

    Raises:
        Unfaithful: something of it can't be said there.
    """
    body = {name: value for name, value in given(body).items() if value != {"type": "disabled"}}  # thinking
    only(body, _SAME | _TRANSLATED | _DROPPED)
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": text_of(_uncached(body["system"]), "system")})
    for one in messages_of(body):
        messages += _turns(one)
    limit = "max_completion_tokens" if provider == "openai" else "max_tokens"  # those that are alike kept the old name
    made: dict[str, Any] = {"model": model, "messages": messages, limit: body.get("max_tokens")}
    made |= {name: body[name] for name in ("temperature", "top_p") if name in body}
    if body.get("stop_sequences"):
        if len(body["stop_sequences"]) > _MOST_STOPS:
            raise Unfaithful(f"it has more than {_MOST_STOPS} stop_sequences")
        made["stop"] = body["stop_sequences"]
    if body.get("tools"):
        made |= {"tools": [_tool(tool) for tool in body["tools"]], **_choice(body.get("tool_choice") or {})}
    return made


def answer(completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  both ways are alike
    """A message from a chat completion.

    Args:
        completion: the JSON that came.
        body: the request, as the caller had made it.

    Raises:
        Unfaithful: it holds what a message has no word for, or nothing.
    """
    choice = next(iter(completion.get("choices") or ()), None)
    stop = _ENDS.get(str(choice.get("finish_reason"))) if choice else None
    if choice is None or stop is None:
        raise Unfaithful("there is no answer, or its end has no word in the other format")
    said = choice.get("message") or {}
    if said.get("refusal"):
        stop = "refusal"
    content = [{"type": "text", "text": said["content"]}] if said.get("content") else []
    for call in said.get("tool_calls") or ():
        if call.get("type") != "function":
            raise Unfaithful(f"the answer holds a tool call of the type {call.get('type')}")
        inputs = arguments_of(call["function"].get("arguments"))
        content.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": inputs})
    return {
        "id": completion.get("id") or "",
        "type": "message",
        "role": "assistant",
        "model": completion.get("model") or "",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": _usage(completion.get("usage") or {}),
    }


def chunks(completion: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer as the events of a stream: each block in one piece."""
    whole = answer(completion, body)
    began = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 0}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": began}]
    for index, block in enumerate(whole["content"]):
        empty: dict[str, Any] = {"type": "text", "text": ""}
        if block["type"] == "text":
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            empty = block | {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"], ensure_ascii=False)}
        events += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    return [*events, {"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]


def _uncached(content: Any) -> Any:
    """Parts without the mark that asks for caching, which changes the price alone."""
    if not isinstance(content, list):
        return content
    return [
        {name: value for name, value in part.items() if name != "cache_control"} if isinstance(part, dict) else part
        for part in content
    ]


def _turns(message: dict[str, Any]) -> list[dict[str, Any]]:
    """One message of theirs is one or several here: each tool's result is a message of its own."""
    role, content = message.get("role"), _uncached(message.get("content"))
    only(message, frozenset({"role", "content"}))
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if role == "user":
        results = [part for part in content or () if _type(part) == "tool_result"]
        rest = [part for part in content or () if _type(part) != "tool_result"]
        said = [{"role": "user", "content": text_of(rest, "user")}] if rest else []
        return [*(_result(part) for part in results), *said]
    calls = [_call(part) for part in content or () if _type(part) == "tool_use"]
    texts = [part for part in content or () if _type(part) != "tool_use"]
    turn: dict[str, Any] = {"role": "assistant", "content": text_of(texts, "assistant") or None}
    return [turn | ({"tool_calls": calls} if calls else {})]


def _type(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else ""


def _result(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("is_error"):
        raise Unfaithful("a tool has reported an error")
    text = text_of(_uncached(part.get("content") or ""), "tool")
    return {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": text}


def _call(part: dict[str, Any]) -> dict[str, Any]:
    function = {"name": part["name"], "arguments": json.dumps(part["input"], ensure_ascii=False)}
    return {"id": part["id"], "type": "function", "function": function}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise Unfaithful(f"a tool is of the type {tool.get('type')}")
    only(tool, frozenset({"type", "name", "description", "input_schema", "cache_control"}))
    description = {"description": tool["description"]} if tool.get("description") else {}
    return {
        "type": "function",
        "function": {"name": tool["name"], **description, "parameters": tool["input_schema"]},
    }


def _choice(asked: dict[str, Any]) -> dict[str, Any]:
    kind = asked.get("type", "auto")
    choice: Any = {"any": "required"}.get(kind, kind)
    if kind == "tool":
        choice = {"type": "function", "function": {"name": asked["name"]}}
    parallel = {"parallel_tool_calls": False} if asked.get("disable_parallel_tool_use") else {}
    return {"tool_choice": choice, **parallel}


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """OpenAI counts cached tokens among `prompt_tokens`, Anthropic beside them."""
    read = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    prompt = usage.get("prompt_tokens")
    return {
        "input_tokens": None if prompt is None else prompt - read,
        "output_tokens": usage.get("completion_tokens"),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": 0,
    }
