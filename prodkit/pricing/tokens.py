"""The counts that a price applies to, and what can be wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.records import Usage

Tokens = dict[str, int | None]
"""Counts by genai-prices' names; `input_tokens` and `output_tokens` are always there, None when not known."""


def count(usage: Usage, details: Mapping[str, int] | None = None) -> Tokens:
    """The counts of a call; zero and missing details are left out."""
    tokens: Tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cache_read_tokens:
        tokens["cache_read_tokens"] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        tokens["cache_write_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        tokens["output_reasoning_tokens"] = usage.reasoning_tokens
    if usage.input_audio_tokens:
        tokens["input_audio_tokens"] = usage.input_audio_tokens
    if usage.output_audio_tokens:
        tokens["output_audio_tokens"] = usage.output_audio_tokens
    if details:
        tokens.update({name: number for name, number in details.items() if number})
        # a cache write of one hour is a cache write, whether the caller counted it twice or once
        if hour := tokens.get("cache_write_1h_tokens"):
            tokens["cache_write_tokens"] = max(hour, tokens.get("cache_write_tokens") or 0)
    return tokens


def first_problem(tokens: Tokens) -> str:
    """Why no price can be put on these counts; empty when one can."""
    size, answer = tokens["input_tokens"], tokens["output_tokens"]
    if size is None and answer is None:
        return "the provider reported no token counts"
    if min(number for number in tokens.values() if number is not None) < 0:
        return "a token count is negative"
    if len(tokens) == 2:  # noqa: PLR2004  nothing but input and output
        return ""
    if (tokens.get("cache_read_tokens") or 0) + (tokens.get("cache_write_tokens") or 0) > (size or 0):
        return "more cached tokens than input tokens were reported; input_tokens must include them"
    if (tokens.get("output_reasoning_tokens") or 0) > (answer or 0):
        return "more reasoning tokens than output tokens were reported; output_tokens must include them"
    return ""
