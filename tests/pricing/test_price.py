"""Prices of single calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from prodkit.manifest.model import Manifest, ModelSpec, Price
from prodkit.pricing import estimate, price
from prodkit.records import Usage

WHEN = datetime(2026, 11, 1, tzinfo=UTC)


def cost(provider, model, usage, **options):
    return price(provider, model, usage, **{"when": WHEN, "manifest": None, **options})


def test_price_source_and_date():
    """A price names its source with version and the day that it is of."""
    found = cost("openai", "gpt-4o-mini", Usage(1000, 500))
    assert found.usd == Decimal("0.00045")
    assert found.status == "priced"
    assert found.source.startswith("genai-prices ")
    assert found.price_date == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18"),
        ("", "gpt-4o-mini"),
        ("litellm", "openai/gpt-4o-mini"),
        ("OpenAI", "GPT-4o-mini"),
    ],
)
def test_names(provider, model):
    """Dated, prefixed and bare names are the same model."""
    assert cost(provider, model, Usage(1000, 500)).usd == Decimal("0.00045")


def test_unknown_model():
    """An unknown model is unpriced with a reason, never 0."""
    found = cost("ollama", "llama3", Usage(10, 10))
    assert (found.usd, found.status) == (None, "unpriced")
    assert "llama3" in found.reason


def test_other_units():
    """A model that is priced by characters or seconds isn't priced at 0 by its tokens."""
    assert cost("openai", "tts-1", Usage(10, 10)).usd is None


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(10, None), Usage(-1, 3), Usage(10, 5, cache_read_tokens=11), Usage(10, 5, reasoning_tokens=6)],
)
def test_unusable_counts(usage):
    """Missing or contradictory counts are unpriced with a reason."""
    found = cost("openai", "gpt-4o-mini", usage)
    assert found.usd is None
    assert found.reason


def test_estimated_counts():
    """Counts of our own make the price an estimate, visibly."""
    found = cost("openai", "gpt-4o-mini", Usage(1000, 500, estimated=True))
    assert (found.usd, found.status) == (Decimal("0.00045"), "estimated")
    assert found.reason


def test_missing_batch_price():
    """A batch without a known batch price costs the standard price, as an estimate."""
    assert cost("openai", "gpt-4o-mini", Usage(1000, 500), batch=True).usd == Decimal("0.000225")
    azure = cost("azure", "gpt-4o-mini", Usage(1000, 500), batch=True)
    assert (azure.usd, azure.status) == (Decimal("0.00045"), "estimated")


def manifest(*prices, name="gpt-4o-mini", provider="openai"):
    return Manifest(models=tuple(ModelSpec(name=name, provider=provider, price=one) for one in prices))


def test_contract_prices():
    """The manifest's price wins from its day on; before, the public price holds."""
    own = manifest(
        Price(input=1, output=2, since=date(2026, 10, 20)), Price(input=3, output=4, since=date(2026, 12, 1))
    )
    found = cost("openai", "gpt-4o-mini-2024-07-18", Usage(1000, 500), manifest=own)
    assert (found.usd, found.source) == (Decimal("0.002"), "prodkit.yaml")
    early = cost("openai", "gpt-4o-mini", Usage(1000, 500), manifest=own, when=datetime(2026, 10, 15, tzinfo=UTC))
    assert early.usd == Decimal("0.00045")
    late = cost("openai", "gpt-4o-mini", Usage(1000, 500), manifest=own, when=datetime(2027, 1, 1, tzinfo=UTC))
    assert late.usd == Decimal("0.005")


def test_contract_cache_prices():
    """Cached tokens have the contract's cache price, or what input costs when it sets none."""
    usage = Usage(1_000_000, 0, cache_read_tokens=500_000)
    assert cost("openai", "m", usage, manifest=manifest(Price(input=2, output=0), name="m")).usd == 2
    own = manifest(Price(input=2, output=0, cache_read=Decimal("0.5")), name="m")
    assert cost("openai", "m", usage, manifest=own).usd == Decimal("1.25")


def test_self_hosted():
    """A self-hosted model has the manifest's price; another provider's model of that name hasn't."""
    own = manifest(Price(input=1, output=1), name="llama3", provider="vllm")
    assert cost("vllm", "llama3", Usage(1_000_000, 0), manifest=own).usd == 1
    assert cost("ollama", "llama3", Usage(1_000_000, 0), manifest=own).usd is None


def test_estimate():
    """An estimate is an upper bound of the call's price, and None when that can't be known."""
    bound = estimate("openai", "gpt-4o-mini", prompt_chars=4000, max_output_tokens=500, when=WHEN)
    assert bound >= cost("openai", "gpt-4o-mini", Usage(1000, 500)).usd
    assert estimate("ollama", "llama3", prompt_chars=10) is None


def test_estimate_of_a_cached_prompt():
    """An estimate covers a prompt that is written to a cache."""
    bound = estimate("anthropic", "claude-sonnet-4-5", prompt_tokens=1000, max_output_tokens=10, when=WHEN)
    assert bound >= cost("anthropic", "claude-sonnet-4-5", Usage(1000, 10, cache_write_tokens=1000)).usd


SPEC = ModelSpec(
    name="ours", provider="northwind", price=Price(input=Decimal(2), output=Decimal(8), cache_read=Decimal(1))
)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "options"),
    [
        ("openai", "gpt-4o-mini", Usage(1000, 500, cache_read_tokens=300), {}),
        ("openai", "text-embedding-3-small", Usage(1000, 0), {}),
        ("openai", "gpt-4o-audio-preview", Usage(1000, 500, input_audio_tokens=400, output_audio_tokens=200), {}),
        ("anthropic", "claude-sonnet-4-5", Usage(300_000, 500), {}),
        (
            "anthropic",
            "claude-sonnet-4-5",
            Usage(9000, 50, cache_write_tokens=700),
            {"details": {"cache_write_1h_tokens": 700}},
        ),
        ("deepseek", "deepseek-chat", Usage(1000, 500), {}),
        ("northwind", "ours", Usage(1000, 500, cache_read_tokens=300), {"manifest": Manifest(models=(SPEC,))}),
        ("northwind", "ours", Usage(1000, 500, estimated=True), {"manifest": Manifest(models=(SPEC,))}),
    ],
)
def test_the_prompts_part(provider, model, usage, options):
    """Beside the price stands what the prompt alone would have cost: the price of the same call without an answer."""
    found = cost(provider, model, usage, **options)
    silent = replace(usage, output_tokens=0, reasoning_tokens=None, output_audio_tokens=None)
    assert found.input_usd == cost(provider, model, silent, **options).usd
    assert found.input_usd > 0
    assert found.usd > found.input_usd or not usage.output_tokens
    assert cost("openai", "no-such-model", usage).input_usd is None
