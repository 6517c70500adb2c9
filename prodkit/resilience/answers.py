"""What may not be passed on as an answer, read from its shape: OpenAI's and Anthropic's objects, whole and streamed.

No SDK is imported. An object of a shape that isn't known is let through: the policy doesn't guess.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prodkit.resilience.call import Chunk
from prodkit.resilience.failures import Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FILTERED = {"content_filter", "refusal"}
_SAID = ("content", "tool_calls", "function_call", "refusal", "audio")


def validate_response(response: Any, body: Mapping[str, Any] | None = None) -> Failure | None:
    """What is wrong with a provider's response, or None.

    Args:
        response: an SDK's object for chat completions, responses, messages or embeddings.
        body: the request that was sent. With it a text that `max_tokens` cuts off is what the user has asked for, and
            JSON is checked against the schema that was asked for.
    """
    body = body or {}
    if isinstance(response, (str, bytes)) or response is None:
        return _bad("not the provider's JSON")  # the SDKs return an HTML page as a bare string
    kind = getattr(response, "object", None) or getattr(response, "type", None)
    if kind == "chat.completion" or hasattr(response, "choices"):
        return _chat(response, body)
    if kind == "message" or (hasattr(response, "stop_reason") and hasattr(response, "content")):
        return _message(response, body)
    if kind == "response" or (hasattr(response, "output") and hasattr(response, "status")):
        return _response(response)
    if kind == "list" and hasattr(response, "data") and not response.data:
        return _bad("an empty list")
    return None


def inspect_chunk(chunk: Any) -> Chunk | Failure:
    """What a piece of a provider's stream is: content, the end, something beside it, or a failure."""
    choices = getattr(chunk, "choices", None)
    if choices is not None:
        return _chat_chunk(choices)
    kind = getattr(chunk, "type", "")
    if kind in {"error", "response.failed"}:
        return Failure(FailureClass.UNAVAILABLE, "error event")
    if kind in {"message_stop", "response.completed", "response.incomplete"}:
        return Chunk.END
    if kind == "message_delta" and getattr(getattr(chunk, "delta", None), "stop_reason", None) in _FILTERED:
        return Failure(FailureClass.FILTERED, "refusal", billed=True)
    if kind == "content_block_delta" or str(kind).endswith(".delta"):
        return Chunk.CONTENT
    return Chunk.OTHER


def _chat_chunk(choices: Any) -> Chunk | Failure:
    content = False
    for choice in choices:
        finish = getattr(choice, "finish_reason", None)
        if finish in _FILTERED:
            return Failure(FailureClass.FILTERED, "content filter", billed=True)
        if finish:
            return Chunk.END
        delta = getattr(choice, "delta", None)
        if any(getattr(delta, name, None) for name in _SAID):
            content = True
    return Chunk.CONTENT if content else Chunk.OTHER


def _chat(response: Any, body: Mapping[str, Any]) -> Failure | None:
    choices = getattr(response, "choices", None)
    if not choices:
        return _bad("no choices")
    for choice in choices:
        message, finish = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
        if finish in _FILTERED:
            return Failure(FailureClass.FILTERED, "content filter", billed=True)
        if message is None or finish is None:
            return _bad("no message" if message is None else "no finish_reason")
        calls = getattr(message, "tool_calls", None) or getattr(message, "function_call", None)
        text = getattr(message, "content", None)
        otherwise = getattr(message, "refusal", None) or getattr(message, "audio", None)
        if not calls and not otherwise and not (isinstance(text, str) and text.strip()):
            return _bad("an empty message")
        if finish == "length" and (calls or not _limited(body) or _format(body) is not None):
            return _bad("cut off")
        if (wrong := _wrong_json(text, body)) is not None and not calls:
            return wrong
    return None


def _message(response: Any, body: Mapping[str, Any]) -> Failure | None:
    stop, content = getattr(response, "stop_reason", None), getattr(response, "content", None)
    if stop in _FILTERED:
        return Failure(FailureClass.FILTERED, "refusal", billed=True)
    if not content or stop is None:
        return _bad("an empty message" if not content else "no stop_reason")
    tools = [block for block in content if getattr(block, "type", "") == "tool_use"]
    if stop == "max_tokens" and (tools or (body.get("tool_choice") or {}).get("type") in {"any", "tool"}):
        return _bad("cut off")
    texts = [getattr(block, "text", "") for block in content if getattr(block, "type", "") == "text"]
    if not tools and texts and not "".join(texts).strip():
        return _bad("an empty message")
    return None


def _response(response: Any) -> Failure | None:
    status = getattr(response, "status", None)
    if status == "failed":
        return Failure(FailureClass.UNAVAILABLE, "status failed")
    if not getattr(response, "output", None) and status != "queued":
        return _bad("no output")
    reason = getattr(getattr(response, "incomplete_details", None), "reason", None)
    if reason in _FILTERED:
        return Failure(FailureClass.FILTERED, "content filter", billed=True)
    return None


def _wrong_json(text: Any, body: Mapping[str, Any]) -> Failure | None:
    """Whether the text isn't the JSON that was asked for."""
    form = _format(body)
    if form is None or not isinstance(text, str):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return _bad("not JSON")
    schema = (form.get("json_schema") or {}).get("schema")
    return _bad("not the schema") if schema and not _matches(value, schema) else None


def _matches(value: Any, schema: Any) -> bool:
    import jsonschema

    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError:
        return False
    except jsonschema.SchemaError:
        return True  # the user's schema is for the provider to refuse
    return True


def _format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = body.get("response_format")
    return form if isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"} else None


def _limited(body: Mapping[str, Any]) -> bool:
    return any(body.get(name) for name in ("max_tokens", "max_completion_tokens"))


def _bad(reason: str) -> Failure:
    return Failure(FailureClass.BAD_ANSWER, reason, billed=None)


def validator(body: Mapping[str, Any] | None) -> Callable[[Any], Failure | None]:
    """`validate_response` for one request, as `Call.validate` takes it."""
    return lambda response: validate_response(response, body)
