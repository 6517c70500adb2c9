"""What of an answer decides its price beside its counts: batch, service tier, and kinds of tokens with other rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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
