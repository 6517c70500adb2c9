"""The counts that a price applies to, and what can be wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.records import Usage

Tokens = dict[str, int | None]
"""Counts by genai-prices' names; `input_tokens` and `output_tokens` are always there, None when not known."""

_FIELDS = {
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}


def count(usage: Usage, details: Mapping[str, int] | None = None) -> Tokens:
    """The counts of a call; zero and missing details are left out."""
    tokens: Tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    for ours, theirs in _FIELDS.items():
        if number := getattr(usage, ours):
            tokens[theirs] = number
    tokens.update({name: number for name, number in (details or {}).items() if number})
    # a cache write of one hour is a cache write, whether the caller counted it twice or once
    hour = tokens.get("cache_write_1h_tokens") or 0
    if hour:
        tokens["cache_write_tokens"] = max(hour, tokens.get("cache_write_tokens") or 0)
    return tokens


def first_problem(tokens: Tokens) -> str:
    """Why no price can be put on these counts; empty when one can."""
    if tokens["input_tokens"] is None and tokens["output_tokens"] is None:
        return "the provider reported no token counts"
    if any(number is not None and number < 0 for number in tokens.values()):
        return "a token count is negative"
    cached = sum(tokens.get(name) or 0 for name in ("cache_read_tokens", "cache_write_tokens"))
    if cached > (tokens["input_tokens"] or 0):
        return "more cached tokens than input tokens were reported; input_tokens must include them"
    if (tokens.get("output_reasoning_tokens") or 0) > (tokens["output_tokens"] or 0):
        return "more reasoning tokens than output tokens were reported; output_tokens must include them"
    return ""
