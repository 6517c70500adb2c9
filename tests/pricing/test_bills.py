"""Bills worked out by hand from the providers' price pages, and the traps that make them wrong.

Prices in US dollars per million tokens, as the providers' pages had them: Claude Sonnet 4.5 3.00/15.00, cache read 0.30,
cache write 3.75 (5 minutes) or 6.00 (1 hour), above 200,000 input tokens 6.00/22.50, batch half. Gemini 2.5 Pro
1.25/10.00, above 200,000 input tokens 2.50/15.00 for all tokens, cached 0.125. Gemini 2.5 Flash 0.30/2.50, audio 1.00.
GPT-4o mini 0.15/0.60, cached 0.075, batch half. o3-mini 1.10/4.40, reasoning counts as output.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage, calc_price

from prodkit.pricing import price
from prodkit.records import Usage

WHEN = datetime(2026, 11, 1, tzinfo=UTC)
CLAUDE, PRO, FLASH = ("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-pro"), ("google", "gemini-2.5-flash")
MINI, REASONER = ("openai", "gpt-4o-mini"), ("openai", "o3-mini")

BILLS = {
    "plain": (CLAUDE, Usage(100_000, 10_000), {}, "0.45"),
    "cache read": (CLAUDE, Usage(100_000, 10_000, cache_read_tokens=90_000), {}, "0.207"),
    "cache write, 5 minutes": (CLAUDE, Usage(100_000, 10_000, cache_write_tokens=90_000), {}, "0.5175"),
    "cache write, 1 hour": (
        CLAUDE,
        Usage(100_000, 10_000, cache_write_tokens=90_000),
        {"details": {"cache_write_1h_tokens": 90_000}},
        "0.72",
    ),
    "batch": (CLAUDE, Usage(100_000, 10_000), {"batch": True}, "0.225"),
    "long context": (CLAUDE, Usage(300_000, 10_000), {}, "2.025"),
    "long context in a batch": (CLAUDE, Usage(300_000, 10_000), {"batch": True}, "1.0125"),
    "at the step": (PRO, Usage(200_000, 1_000), {}, "0.26"),
    "above the step": (PRO, Usage(200_001, 1_000), {}, "0.5150025"),
    "long and cached": (PRO, Usage(300_000, 1_000, cache_read_tokens=200_000), {}, "0.315"),
    "audio": (FLASH, Usage(10_000, 1_000, input_audio_tokens=10_000), {}, "0.0125"),
    "audio and text": (FLASH, Usage(10_000, 1_000, input_audio_tokens=4_000), {}, "0.0083"),
    "cached prompt": (MINI, Usage(2_006, 300, cache_read_tokens=1_920), {}, "0.0003369"),
    "cheap batch": (MINI, Usage(1_000_000, 100_000), {"batch": True}, "0.105"),
    "reasoning": (REASONER, Usage(75, 1_186, reasoning_tokens=1_024), {}, "0.0053009"),
    "embeddings": (("openai", "text-embedding-3-small"), Usage(1_000_000), {}, "0.02"),
}


@pytest.mark.parametrize("name", BILLS)
def test_bill(name):
    """Each documented bill is met to the last digit."""
    (provider, model), usage, options, expected = BILLS[name]
    cost = price(provider, model, usage, when=WHEN, manifest=None, **options)
    assert (cost.usd, cost.status) == (Decimal(expected), "priced")


def test_same_as_the_library():
    """The quick way gives what genai-prices gives, for every kind of model and many sizes of calls."""
    dice = random.Random(5)
    models = [
        CLAUDE,
        PRO,
        FLASH,
        MINI,
        REASONER,
        ("groq", "llama-3.3-70b-versatile"),
        ("mistral", "mistral-large-latest"),
    ]
    models += [("openai", "gpt-5"), ("x-ai", "grok-4"), ("deepseek", "deepseek-chat"), ("cohere", "command-r-plus")]
    for _ in range(400):
        provider, model = dice.choice(models)
        size = dice.choice([1, 999, 199_999, 200_000, 200_001, dice.randint(1, 2_000_000)])
        cached, answer = dice.randint(0, size), dice.randint(0, 100_000)
        cost = price(provider, model, Usage(size, answer, cache_read_tokens=cached), when=WHEN, manifest=None)
        usage = TheirUsage(input_tokens=size, output_tokens=answer, cache_read_tokens=cached)
        theirs = calc_price(usage, model, provider_id=provider, genai_request_timestamp=WHEN)
        assert cost.usd == theirs.total_price, (model, size, cached, answer)


def test_hours():
    """A price that depends on the time of day follows the call's time, not the first one asked for."""
    day, night = (datetime(2025, 3, 1, hour, 40, tzinfo=UTC) for hour in (3, 20))
    usage = Usage(1_000_000, 0)
    costs = [price("deepseek", "deepseek-chat", usage, when=when, manifest=None).usd for when in (day, night, day)]
    assert costs[0] == costs[2] > costs[1]


def test_history():
    """A call of the past has the price of its day."""
    usage = Usage(1_000_000, 0)
    early = price("openai", "o3", usage, when=datetime(2025, 5, 1, tzinfo=UTC), manifest=None)
    late = price("openai", "o3", usage, when=datetime(2025, 7, 1, tzinfo=UTC), manifest=None)
    assert (early.usd, late.usd) == (10, 2)


def test_audio_without_a_price():
    """Audio tokens of a model whose audio has no price in the table are an estimate, visibly."""
    cost = price(*MINI, Usage(1_000, 10, input_audio_tokens=900), when=WHEN, manifest=None)
    assert cost.status == "estimated"
    assert "audio" in cost.reason


def test_cached_audio():
    """Cached tokens and audio tokens that overlap have a price, as an estimate."""
    usage = Usage(10_000, 1_000, cache_read_tokens=8_000, input_audio_tokens=5_000)
    cost = price(*FLASH, usage, when=WHEN, manifest=None)
    assert cost.usd is not None
    assert cost.status == "estimated"
