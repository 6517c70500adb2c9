"""Reading what goes to a model and what comes back, in the shapes of the OpenAI and Anthropic APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.ledger import media
from prodkit.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONTENT = frozenset({"messages", "input", "prompt", "system", "instructions", "file", "image", "mask", "model"})
_PROMPT = ("system", "instructions", "messages", "input", "prompt", "file", "image", "mask")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")
_BYTES_PER_TOKEN = 3  # fewer than any tokenizer needs for prose, so that the estimate is an upper one
_IMAGE_TOKENS, _MOST_IMAGE_TOKENS = 1_500, 50_000  # what a large picture is billed at, usually and at the worst
_BYTES_PER_SOUND_TOKEN = 200  # of base64; ten tokens a second, and less than this only below 16 kbit/s


def plain(value: Any) -> Any:
    """A JSON-able form of an SDK's object."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"


def wire(value: Any) -> Any:
    """The JSON that an SDK's object was made from; None for anything else, such as sound."""
    dump = getattr(value, "model_dump", None)
    return None if dump is None else dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a request that isn't content: temperature, tools, response format and so on."""
    return {key: plain(value) for key, value in body.items() if key not in _CONTENT}


def prompt(body: Mapping[str, Any]) -> Any:
    """The content of a request; the bare value when there is only one kind of it."""
    found = {key: plain(body[key]) for key in content(body)}
    return next(iter(found.values())) if len(found) == 1 else found or None


def content(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a request that `prompt` is made of."""
    return tuple(key for key in _PROMPT if body.get(key) is not None)


def texts(content: Any) -> Iterator[tuple[str, str]]:
    """The (role, text) pairs of a prompt as `prompt` gives it."""
    if isinstance(content, str):
        yield "user", content
    elif isinstance(content, dict) and ("role" in content or "text" in content):
        role = str(content.get("role", "user"))
        inner = content.get("content", content.get("text"))
        yield from ((role, text) for _, text in texts(inner))
    elif isinstance(content, dict):
        for key, inner in content.items():
            role = "system" if key in {"system", "instructions"} else ""
            yield from ((role or found, text) for found, text in texts(inner))
    elif isinstance(content, list):
        for inner in content:
            yield from texts(inner)


def upper_input_tokens(value: Any, *, most: bool = False) -> int:
    """At most so many tokens does this request hold, counted from its bytes.

    Args:
        value: the request, or a part of it.
        most: count what no tokenizer and no vendor exceeds, not only none for prose and usual pictures.
    """
    if isinstance(value, str):
        if value.startswith("data:"):
            return _MOST_IMAGE_TOKENS if most else _IMAGE_TOKENS
        return len(value.encode("utf-8", "surrogatepass")) // (1 if most else _BYTES_PER_TOKEN) + 1
    if isinstance(value, dict):
        if isinstance(value.get("data"), str) and ("format" in value or "media_type" in value):
            return _embedded(value, most=most)
        if isinstance(value.get("url"), str) and value["url"].startswith("http"):  # only a picture is fetched
            return _MOST_IMAGE_TOKENS if most else _IMAGE_TOKENS
        inner = value.items()
        return 4 + sum(upper_input_tokens(key, most=most) + upper_input_tokens(one, most=most) for key, one in inner)
    if isinstance(value, list | tuple):
        return sum(upper_input_tokens(inner, most=most) for inner in value)
    return 1


def _embedded(part: dict[str, Any], *, most: bool) -> int:
    """Tokens of a sound (`format`) or a picture (`media_type`) that stands in the request as base64."""
    if "format" in part:
        return len(part["data"]) // _BYTES_PER_SOUND_TOKEN + 1
    return _MOST_IMAGE_TOKENS if most else _IMAGE_TOKENS


def output_limit(body: Mapping[str, Any]) -> int | None:
    """How many output tokens the request allows, over all its answers."""
    limit = next((body[name] for name in _LIMITS if isinstance(body.get(name), int)), None)
    return limit * max(int(body.get("n") or 1), 1) if limit is not None else None


def usage(answer: Any) -> Usage:
    """The tokens that a provider reports; `Usage()` when it reports none."""
    raw = _get(answer, "usage")
    if raw is None:
        return Usage()
    cached = [_get(raw, "cache_read_input_tokens"), _get(raw, "cache_creation_input_tokens")]
    if _get(raw, "prompt_tokens") is None and any(count is not None for count in cached):
        return _anthropic_usage(raw)
    details_in = _details(raw)
    details_out = _get(raw, "completion_tokens_details") or _get(raw, "output_tokens_details")
    count_in = _count(raw, "prompt_tokens", "input_tokens")
    count_out = _count(raw, "completion_tokens", "output_tokens")
    if count_in is not None and count_out is None and _get(raw, "prompt_tokens") is not None:
        count_out = 0  # embeddings
    return Usage(
        input_tokens=count_in,
        output_tokens=count_out,
        cache_read_tokens=_count(details_in, "cached_tokens"),
        reasoning_tokens=_count(details_out, "reasoning_tokens"),
        input_audio_tokens=_count(details_in, "audio_tokens"),
        output_audio_tokens=_count(details_out, "audio_tokens"),
    )


def _details(raw: Any) -> Any:
    """The kinds of input tokens; transcriptions call them otherwise than images and texts do."""
    names = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
    return next((found for name in names if (found := _get(raw, name)) is not None), None)


def _anthropic_usage(raw: Any) -> Usage:
    """Anthropic counts cached tokens beside `input_tokens`; ours include them."""
    read, written = _count(raw, "cache_read_input_tokens") or 0, _count(raw, "cache_creation_input_tokens") or 0
    fresh = _count(raw, "input_tokens")
    return Usage(
        input_tokens=None if fresh is None else fresh + read + written,
        output_tokens=_count(raw, "output_tokens"),
        cache_read_tokens=read or None,
        cache_write_tokens=written or None,
    )


def strings(value: Any) -> Iterator[str]:
    """All texts anywhere in a JSON-able value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def answer_text(answer: Any) -> str:
    """The text of an answer in JSON-able form; empty for tool calls and embeddings."""
    if not isinstance(answer, dict):
        return ""
    choices = answer.get("choices") or [{}]
    message = choices[0].get("message") or {}
    blocks = answer.get("content") or []
    said = message.get("content") or (blocks[0].get("text") if blocks and isinstance(blocks[0], dict) else "")
    return said if isinstance(said, str) else ""


def is_simulated(answer: Any) -> bool:
    """Whether the answer says of itself that no model made it."""
    said = str(_get(answer, "system_fingerprint") or "")
    labels = _get(answer, "metadata")
    return said.startswith("simulated") or "-sim-" in str(_get(answer, "id") or "") or bool(_get(labels, "simulated"))


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _count(value: Any, *names: str) -> int | None:
    for name in names:
        found = _get(value, name) if value is not None else None
        if isinstance(found, int):
            return found
    return None


def sound(answer: Any) -> str:
    """What sound the openai SDK gives for `audio.speech`: its kind, size and digest; empty for anything else."""
    response = getattr(answer, "response", None)
    if response is None or not hasattr(answer, "write_to_file") or not response.is_stream_consumed:
        return ""
    return media.describe(response.content, response.headers.get("content-type", ""))


def is_raw(answer: Any) -> bool:
    """Whether this is an HTTP response that the caller reads himself, of which we see nothing."""
    return hasattr(answer, "http_response") or (hasattr(answer, "iter_bytes") and not hasattr(answer, "usage"))
