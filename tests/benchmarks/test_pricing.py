"""Pricing of one call, beside genai-prices alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from genai_prices import Usage as TheirUsage, calc_price

from prodkit.manifest.model import Manifest, ModelSpec, Price
from prodkit.pricing import price
from prodkit.records import Usage

WHEN = datetime(2026, 11, 1, tzinfo=UTC)
USAGE = Usage(1000, 500, cache_read_tokens=200, reasoning_tokens=100)


@pytest.mark.benchmark(group="price of a call")
def test_pricing(benchmark):
    """A call is priced from the public table."""
    benchmark(price, "openai", "gpt-4o-mini", USAGE, when=WHEN, manifest=None)


@pytest.mark.benchmark(group="price of a call")
def test_pricing_by_contract(benchmark):
    """A call is priced by the manifest."""
    manifest = Manifest(models=(ModelSpec(name="gpt-4o-mini", provider="openai", price=Price(input=1, output=2)),))
    benchmark(price, "openai", "gpt-4o-mini", USAGE, when=WHEN, manifest=manifest)


@pytest.mark.benchmark(group="price of a call")
def test_genai_prices(benchmark):
    """The peer: the library alone."""
    benchmark(
        lambda: calc_price(
            TheirUsage(input_tokens=1000, output_tokens=500, cache_read_tokens=200, output_reasoning_tokens=100),
            "gpt-4o-mini",
            provider_id="openai",
            genai_request_timestamp=WHEN,
        )
    )
