"""What of an answer decides its price beside its counts: batch, service tier, and kinds of tokens with other rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prodkit.pricing import price
from prodkit.records import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from prodkit.capture.calls import Call
    from prodkit.manifest import Manifest
    from prodkit.records import CallRecord

_HOUR = "cache_write_1h_tokens"


@dataclass(frozen=True, slots=True)
class Terms:
    """How an answer is billed, in the words of `prodkit.pricing.price`."""

    batch: bool = False
    service_tier: str = ""
    details: Mapping[str, int] = field(default_factory=dict)

    def then(self, later: Terms) -> Terms:
        """What two parts of a stream say together; the later one wins."""
        if later == STANDARD:
            return self
        tier = later.service_tier or self.service_tier
        return Terms(self.batch or later.batch, tier, {**self.details, **later.details})

    @property
    def of_input(self) -> Terms:
        """The same for the prompt alone."""
        kept = {name: number for name, number in self.details.items() if not name.startswith("output_")}
        return Terms(self.batch, self.service_tier, kept)

    def input_usd(self, call: Call | CallRecord, manifest: Manifest) -> Decimal | None:
        """What a call's prompt alone would have cost: the rest of its cost is its answer's."""
        if call.cost.usd is None:
            return None
        used, mine = call.usage, self.of_input
        prompt_only = Usage(used.input_tokens, 0, used.cache_read_tokens, used.cache_write_tokens)
        return price(
            call.provider,
            call.model,
            prompt_only,
            when=call.started,
            manifest=manifest,
            batch=mine.batch,
            service_tier=mine.service_tier,
            details=mine.details,
        ).usd


STANDARD = Terms()


def read(answer: Any) -> Terms:
    """The terms that an answer tells, or a chunk of a stream; `STANDARD` when it tells none.

    OpenAI names the tier beside the answer, Anthropic among its usage, where `batch` is a tier too.
    """
    usage = _get(answer, "usage")
    tier = _get(usage, "service_tier") or _get(answer, "service_tier")
    tier = tier if isinstance(tier, str) else ""
    details = _details(usage) if usage is not None else {}
    if not tier and not details:
        return STANDARD
    return Terms(tier == "batch", "" if tier == "batch" else tier, details)


def _details(usage: Any) -> dict[str, int]:
    of_input = _get(usage, "prompt_tokens_details") or _get(usage, "input_tokens_details")
    of_output = _get(usage, "completion_tokens_details") or _get(usage, "output_tokens_details")
    written = _get(usage, "cache_creation") or _get(of_input, "cache_creation_token_details")
    found = {
        _HOUR: _get(written, "ephemeral_1h_input_tokens"),
        "input_image_tokens": _get(of_input, "image_tokens"),
        "output_image_tokens": _get(of_output, "image_tokens"),
    }
    return {name: number for name, number in found.items() if isinstance(number, int) and number}


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
