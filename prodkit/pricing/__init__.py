"""What a call costs, as Decimal US dollars, and what the figure rests on. An unknown price is said, it is never 0.

Prices come from the manifest (contract and self-hosted prices) or from the offline table of genai-prices.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from prodkit.pricing import override, table
from prodkit.pricing.tokens import Tokens, count, first_problem
from prodkit.records import Cost, Usage, now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from prodkit.manifest import Manifest

__all__ = ["estimate", "price"]

ASSUMED_OUTPUT_TOKENS = 4096
"""What `estimate` reserves for an answer when the call sets no limit."""

COUNTED_BY_US = "the provider sent no token counts; they were counted from the text"


def price(
    provider: str,
    model: str,
    usage: Usage,
    *,
    when: datetime,
    manifest: Manifest | None,
    batch: bool = False,
    service_tier: str = "",
    details: Mapping[str, int] | None = None,
) -> Cost:
    """The price of one call.

    Args:
        provider: as the SDK or MLflow calls it (`openai`, `azure`, `vertex_ai`, ...); may be empty.
        model: as requested or answered; dated (`gpt-4o-2024-08-06`) and prefixed (`openai/gpt-4o`) names too.
        usage: tokens of the call; `input_tokens` includes cached ones, `output_tokens` includes reasoning.
        when: time of the call; a naive time is taken as UTC. The price of that UTC day applies.
        manifest: whose `models[].price` win over the public table.
        batch: the call went through the provider's batch interface.
        service_tier: `flex`, `priority` and so on, as the provider reports it.
        details: further counts in genai-prices' words, e.g. `cache_write_1h_tokens`, `input_image_tokens`.

    Returns:
        `priced`, or `estimated` with the reason, or `unpriced` with the reason and `usd=None`. Never raises for an
        unknown model or contradictory counts.
    """
    moment = when if when.tzinfo is UTC else when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    tokens = count(usage, details)
    if problem := first_problem(tokens):
        return Cost(reason=problem)
    cost = _quote(provider, model, tokens, moment, manifest, batch=batch, service_tier=service_tier)
    if usage.estimated and cost.status == "priced":
        return Cost(cost.usd, "estimated", cost.source, cost.price_date, COUNTED_BY_US, cost.input_usd)
    return cost


def estimate(
    provider: str,
    model: str,
    *,
    prompt_chars: int | None = None,
    prompt_tokens: int | None = None,
    max_output_tokens: int | None = None,
    when: datetime | None = None,
    manifest: Manifest | None = None,
) -> Decimal | None:
    """An upper bound of a call's price, to reserve before it is made. None when the price isn't known.

    A character counts as one token (English has about four characters a token), and the prompt is priced as a cache
    write where that is dearer. Without `max_output_tokens` 4,096 tokens are assumed; the settlement corrects it.
    """
    size = prompt_tokens if prompt_tokens is not None else (prompt_chars or 0)
    answer = ASSUMED_OUTPUT_TOKENS if max_output_tokens is None else max_output_tokens
    usages = (
        Usage(input_tokens=size, output_tokens=answer),
        Usage(input_tokens=size, output_tokens=answer, cache_write_tokens=size),
        Usage(input_tokens=size),  # embeddings have no price for output
    )
    moment = when or now()
    prices = [price(provider, model, usage, when=moment, manifest=manifest).usd for usage in usages]
    return max((usd for usd in prices if usd is not None), default=None)


def _quote(
    provider: str,
    model: str,
    tokens: Tokens,
    moment: datetime,
    manifest: Manifest | None,
    *,
    batch: bool,
    service_tier: str,
) -> Cost:
    day: date = moment.date()
    if manifest is not None and manifest.models:
        own = override.find(manifest, provider, model, day)
        if own is not None:
            return override.apply(own, tokens, day, special=batch or service_tier in table.PRICED_TIERS)
    return table.quote(provider, model, tokens, moment, batch=batch, service_tier=service_tier)
