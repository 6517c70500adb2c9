"""Contract and self-hosted prices of the manifest."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.records import Cost

if TYPE_CHECKING:
    from prodkit.manifest import Manifest
    from prodkit.manifest.model import ModelSpec, Price
    from prodkit.pricing.tokens import Tokens

SOURCE = "prodkit.yaml"

_DATE = re.compile(r"[-@:]?(?:20\d{2}-?\d{2}-?\d{2})(?:-v\d+(?::\d+)?)?$")
_MILLION = Decimal(1_000_000)


def base_name(model: str) -> str:
    """A model's name without provider prefix and date: `openai/gpt-4o-2024-08-06` is `gpt-4o`."""
    return _DATE.sub("", model.lower().rsplit("/", 1)[-1])


def find(manifest: Manifest, provider: str, model: str, day: date) -> Price | None:
    """The price that the manifest sets for this model on this day: the exact name first, then the undated one.

    Of several entries the one with the latest `since` applies. An entry for another provider doesn't.
    """
    priced = [entry for entry in manifest.models if entry.price is not None and _is_provider(entry, provider, model)]
    if not priced:
        return None
    exact = [entry for entry in priced if entry.name.lower() == model.lower()]
    alike = [entry for entry in priced if base_name(entry.name) == base_name(model)]
    for entries in (exact, alike):
        prices = [entry.price for entry in entries if entry.price and (entry.price.since or date.min) <= day]
        if prices:
            return max(prices, key=lambda price: price.since or date.min)
    return None


def apply(price: Price, tokens: Tokens, day: date, *, special: bool) -> Cost:
    """The cost at a manifest's price. Cached tokens without a price of their own cost what input costs."""
    if tokens["input_tokens"] is None or (tokens["output_tokens"] is None and price.output > 0):
        return Cost(reason="the provider reported only a part of the token counts")
    read, write = tokens.get("cache_read_tokens") or 0, tokens.get("cache_write_tokens") or 0
    plain = tokens["input_tokens"] - read - write
    of_input = (
        price.input * plain
        + _either(price.cache_read, price.input) * read
        + _either(price.cache_write, price.input) * write
    ) / _MILLION
    total = of_input + price.output * (tokens["output_tokens"] or 0) / _MILLION
    if special:
        why = "prodkit.yaml has one price; batch or tier is priced alike"
        return Cost(total, "estimated", SOURCE, day, why, of_input)
    return Cost(total, "priced", SOURCE, day, "", of_input)


def _either(price: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if price is None else price


def _is_provider(entry: ModelSpec, provider: str, model: str) -> bool:
    names = {provider.lower(), model.lower().split("/", 1)[0] if "/" in model else provider.lower()}
    return not provider or entry.provider.lower() in names
