"""The wire formats of OpenAI and Anthropic: requests in, responses and stream events out. No sockets here."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.testing import classifier, tokens
from prodkit.testing.answers import Question, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "text-embedding-3-small")
CREATED = 1_767_225_600  # the start of 2026: the simulated models' fixed birthday


class BadRequestError(Exception):
    """A request that the real provider would refuse with 400, too. The text names the field, never its value."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A simulated completion before it takes a provider's shape."""

    id: str
    model: str
    text: str
    tool: str  # name of the tool that is called with `text` as arguments; empty for a plain answer
    truncated: bool
    input_tokens: int
    output_tokens: int

    @property
    def pieces(self) -> list[str]:
        """The text in the tokens in which it is streamed."""
        return tokens.split(self.text)


def chat_reply(body: dict[str, Any], seed: int, number: int) -> Reply:
    """Answer an OpenAI chat request.

    Raises:
        BadRequestError: `model` or `messages` is missing or has the wrong type.
    """
    messages = _messages(body)
    tool, schema = _openai_schema(body)
    system = "\n".join(_plain(m.get("content")) for m in messages if m.get("role") in {"system", "developer"})
    wants_json = (body.get("response_format") or {}).get("type") in {"json_object", "json_schema"}
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return _reply("chatcmpl-sim", body, messages, system, tool, schema, limit, seed, number, wants_json=wants_json)


def messages_reply(body: dict[str, Any], seed: int, number: int) -> Reply:
    """Answer an Anthropic messages request.

    Raises:
        BadRequestError: `model`, `messages` or `max_tokens` is missing or has the wrong type.
    """
    messages = _messages(body)
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequestError("max_tokens: Field required")
    forced = (body.get("tool_choice") or {}).get("type") in {"any", "tool"}
    tools = body.get("tools") or []
    wanted = (body.get("tool_choice") or {}).get("name")
    chosen = next((tool for tool in tools if wanted in {None, tool.get("name")}), None) if forced else None
    schema = chosen.get("input_schema") if chosen else None
    system = _plain(body.get("system"))
    tool = chosen.get("name", "") if chosen else ""
    return _reply("msg-sim", body, messages, system, tool, schema, body["max_tokens"], seed, number)


def _reply(
    prefix: str,
    body: dict[str, Any],
    messages: list[dict[str, Any]],
    system: str,
    tool: str,
    schema: dict[str, Any] | None,
    limit: int | None,
    seed: int,
    number: int,
    *,
    wants_json: bool = False,
) -> Reply:
    user = next((_plain(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    question = Question(
        body["model"], system, user, schema, wants_json, float(body.get("temperature") or 0), body.get("seed") or seed
    )
    pieces = tokens.split(answer(question))
    kept = pieces[:limit] if limit else pieces
    prompt = sum(tokens.count(_plain(m.get("content"))) + tokens.PER_MESSAGE for m in messages)
    if not any(m.get("role") in {"system", "developer"} for m in messages):
        prompt += tokens.count(system)
    return Reply(
        id=f"{prefix}-{seed:x}-{number:06d}",
        model=body["model"],
        text="".join(kept),
        tool=tool,
        truncated=len(kept) < len(pieces),
        input_tokens=prompt + (tokens.count(json.dumps(schema)) if schema else 0),
        output_tokens=len(kept),
    )


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequestError("you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequestError("messages: a list of at least one message is required")
    return messages


def _openai_schema(body: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The tool that is called (empty: none) and the schema of what is answered."""
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    named = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    if tools and choice != "none":
        functions = [tool.get("function") or {} for tool in tools]
        function = next((item for item in functions if named in {None, item.get("name")}), functions[0])
        return function.get("name", ""), function.get("parameters") or {}
    form = body.get("response_format") or {}
    return "", (form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None


def _plain(content: Any) -> str:
    """The text of a message's content, whether a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


# ------------------------------------------------------------------------------------------------ OpenAI


def openai_usage(reply: Reply) -> dict[str, Any]:
    """The `usage` of a chat completion."""
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_completion(reply: Reply, created: int) -> dict[str, Any]:
    """A `chat.completion` object."""
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.tool else reply.text, "refusal": None}
    if reply.tool:
        call = {"name": reply.tool, "arguments": reply.text}
        message["tool_calls"] = [{"id": f"call-{reply.id}", "type": "function", "function": call}]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_head(reply, "chat.completion", created), "choices": [choice], "usage": openai_usage(reply)}


def chat_chunks(reply: Reply, created: int, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The `chat.completion.chunk` objects of a stream, the usage in a last one without choices when asked for."""
    head = _head(reply, "chat.completion.chunk", created) | ({"usage": None} if include_usage else {})

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": None if reply.tool else ""})
    for position, piece in enumerate(reply.pieces):
        if not reply.tool:
            yield chunk({"content": piece})
            continue
        call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
        if position == 0:
            call |= {"id": f"call-{reply.id}", "type": "function"}
            call["function"]["name"] = reply.tool
        yield chunk({"tool_calls": [call]})
    yield chunk({}, _finish(reply))
    if include_usage:
        yield {**head, "choices": [], "usage": openai_usage(reply)}


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector: the text's terms hashed into `dimensions` places, so that similar texts lie close."""
    vector = [0.0] * dimensions
    for term in classifier.terms(text) or [text]:
        code = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest())
        vector[code % dimensions] += 1.0 if code >> 63 else -1.0
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / norm for value in vector]


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to an embeddings request.

    Raises:
        BadRequestError: `input` is missing or isn't text.
    """
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(body.get("model"), str) or not isinstance(texts, list) or not texts:
        raise BadRequestError("model and input are required")
    if not all(isinstance(text, str) for text in texts):
        raise BadRequestError("input: the simulated provider takes texts, no token ids")
    size = int(body.get("dimensions") or 1536)
    packed = body.get("encoding_format") == "base64"
    rows = [embedding(text, size) for text in texts]
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(row) if packed else row} for i, row in enumerate(rows)
    ]
    used = sum(tokens.count(text) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def responses_object(body: dict[str, Any], seed: int, number: int, created: int) -> dict[str, Any]:
    """A finished `response` object of OpenAI's Responses API (not streamed)."""
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if body.get("instructions"):
        messages = [{"role": "system", "content": body["instructions"]}, *(messages or [])]
    form = (body.get("text") or {}).get("format") or {}
    chat = {**body, "messages": messages, "tools": None, "max_tokens": body.get("max_output_tokens")}
    if form.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": form.get("schema")}}
    elif form.get("type") == "json_object":
        chat["response_format"] = form
    reply = chat_reply(chat, seed, number)
    part = {"type": "output_text", "text": reply.text, "annotations": []}
    status = "incomplete" if reply.truncated else "completed"
    item = {"type": "message", "id": f"msg-{reply.id}", "role": "assistant", "status": status, "content": [part]}
    return {
        "id": reply.id.replace("chatcmpl", "resp"),
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if reply.truncated else None,
        "instructions": body.get("instructions"),
        "model": reply.model,
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {"simulated": "true"},
        "usage": {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


def model_list() -> dict[str, Any]:
    """The answer to a request for the list of models. Others are accepted, too."""
    rows = [{"id": name, "object": "model", "created": CREATED, "owned_by": "simulated"} for name in MODELS]
    return {"object": "list", "data": rows}


def openai_error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """The body of an OpenAI error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(reply: Reply, kind: str, created: int) -> dict[str, Any]:
    return {
        "id": reply.id,
        "object": kind,
        "created": created,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": f"simulated-{classifier.digest()}",
    }


def _finish(reply: Reply) -> str:
    if reply.truncated:
        return "length"
    return "tool_calls" if reply.tool else "stop"


def _packed(row: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


# --------------------------------------------------------------------------------------------- Anthropic


def message(reply: Reply) -> dict[str, Any]:
    """An Anthropic `message` object."""
    block: dict[str, Any] = {"type": "text", "text": reply.text}
    if reply.tool:
        block = {"type": "tool_use", "id": f"toolu-{reply.id}", "name": reply.tool, "input": _arguments(reply)}
    usage = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    return {**_envelope(reply), "content": [block], "stop_reason": _stop(reply), "usage": usage}


def message_events(reply: Reply) -> Iterator[dict[str, Any]]:
    """The events of an Anthropic stream."""
    start = {**_envelope(reply), "content": [], "stop_reason": None}
    yield {
        "type": "message_start",
        "message": {**start, "usage": {"input_tokens": reply.input_tokens, "output_tokens": 1}},
    }
    block: dict[str, Any] = {"type": "text", "text": ""}
    if reply.tool:
        block = {"type": "tool_use", "id": f"toolu-{reply.id}", "name": reply.tool, "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in reply.pieces:
        delta = {"type": "text_delta", "text": piece}
        if reply.tool:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": _stop(reply), "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": reply.output_tokens}}
    yield {"type": "message_stop"}


def anthropic_error(message: str, kind: str) -> dict[str, Any]:
    """The body of an Anthropic error."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


def _envelope(reply: Reply) -> dict[str, Any]:
    return {"id": reply.id, "type": "message", "role": "assistant", "model": reply.model, "stop_sequence": None}


def _stop(reply: Reply) -> str:
    if reply.truncated:
        return "max_tokens"
    return "tool_use" if reply.tool else "end_turn"


def _arguments(reply: Reply) -> Any:
    try:
        return json.loads(reply.text)
    except ValueError:  # truncated by max_tokens
        return {}
