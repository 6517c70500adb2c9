"""The third part of the MLflow adapter: its model catalog, for the limits of models and as a second opinion on prices.

The figure that counts is the record's. MLflow's catalog knows no long-context tiers, no batches, no audio and no
contract prices; where it comes to another sum, a reviewer should see both. Only the catalog that MLflow ships is
read, never the one on the network. It is asked where traces are shipped, so no caller waits for it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.ledger.mlflow_adapter import OutgoingTrace

TAG = "prodkit.cost.mlflow"
METRIC = "cost_usd_mlflow"
AGREED = Decimal("0.01")
"""Two figures that differ by no more than this share of ours agree."""

_USAGE, _COST = "mlflow.chat.tokenUsage", "mlflow.llm.cost"
_PROBE = 1_000_000
_DATE = re.compile(r"-20\d\d-?\d\d-?\d\d$")
_PROVIDERS = {"google": "gemini", "aws": "bedrock"}  # the catalog's names where the price table has others
_KINDS = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(frozen=True, slots=True)
class Opinion:
    """US dollars of some calls: as recorded, and as MLflow would have them; in how many the two don't agree.

    A call that MLflow's catalog doesn't know counts with our figure in both sums, a call that we can't price with
    nothing in `ours`.
    """

    ours: Decimal = Decimal(0)
    theirs: Decimal = Decimal(0)
    differing: int = 0

    def __add__(self, other: Opinion) -> Opinion:
        return Opinion(self.ours + other.ours, self.theirs + other.theirs, self.differing + other.differing)


def with_opinion(trace: OutgoingTrace) -> tuple[OutgoingTrace, Opinion]:
    """The trace with MLflow's figure at each call that it prices otherwise, and the sums over its calls."""
    total = Opinion()
    spans = []
    for span in trace.spans:
        one = _of_call(span["attributes"])
        if one is not None:
            total += one
        if one is not None and one.differing:
            spans.append({**span, "attributes": {**span["attributes"], TAG: json.dumps(float(one.theirs))}})
        else:
            spans.append(span)
    if not total.differing:
        return trace, total
    tags = {**trace.tags, TAG: f"{total.theirs.normalize():f}"}
    return dataclasses.replace(trace, spans=tuple(spans), tags=tags), total


def totals(opinions: Iterable[Opinion]) -> Opinion:
    """The sum of several opinions."""
    return sum(opinions, Opinion())


def _of_call(attributes: Mapping[str, Any]) -> Opinion | None:
    """The opinion on one span; None when it isn't a call that we have recorded, or reports no tokens."""
    if "prodkit.request_id" not in attributes:
        return None
    usage, cost = _opened(attributes.get(_USAGE)), _opened(attributes.get(_COST))
    ours = None if "total_cost" not in cost else Decimal(repr(cost["total_cost"]))
    model, provider = (_opened(attributes.get(f"mlflow.llm.{name}"), str) or "" for name in ("model", "provider"))
    theirs = _price(model, provider, usage) if model and usage else None
    if theirs is None:
        return None if ours is None else Opinion(ours, ours)
    if ours is not None and abs(theirs - ours) <= AGREED * ours:
        return Opinion(ours, ours)
    return Opinion(ours or Decimal(0), theirs, 1)


def _price(model: str, provider: str, usage: Mapping[str, Any]) -> Decimal | None:
    rates = _rates(model, provider.lower())
    if rates is None:
        return None
    fresh, answer, read, written = rates
    cached, made = (int(usage.get(name) or 0) for name in _KINDS[2:])
    plain = max(int(usage.get("input_tokens") or 0) - cached - made, 0)
    return fresh * plain + answer * int(usage.get("output_tokens") or 0) + read * cached + written * made


@lru_cache(maxsize=1024)
def _rates(model: str, provider: str) -> tuple[Decimal, ...] | None:
    """Dollars per token by MLflow's catalog: input, output, cache read, cache write. None when it knows no price.

    Its prices are linear, so four questions a model are enough; a look-up reads a file of the whole catalog.
    """
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    try:
        from mlflow.utils.providers import cost_per_token
    except ImportError:
        return None
    rates = []
    for kind in _KINDS:
        counts = {"prompt_tokens": _PROBE, kind: _PROBE} if kind != "completion_tokens" else {kind: _PROBE}
        # as MLflow does it: by the provider first, then by the model's name alone
        found = cost_per_token(model, custom_llm_provider=provider, **counts) if provider else None
        found = cost_per_token(model, **counts) if found is None else found
        if found is None:
            return None
        rates.append(Decimal(repr(sum(found))) / _PROBE)
    return tuple(rates) if any(rates) else None


@lru_cache(maxsize=1024)
def output_limit(provider: str, model: str) -> int | None:
    """The most tokens that a model answers with, by MLflow's catalog; None where it doesn't know the model."""
    limits, name = _limits(provider), model.rsplit("/", 1)[-1].lower()
    return limits.get(name) or limits.get(_DATE.sub("", name))


@lru_cache(maxsize=64)
def _limits(provider: str) -> dict[str, int]:
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    try:
        from mlflow.utils.providers import get_models
    except ImportError:
        return {}
    found = get_models(_PROVIDERS.get(provider, provider))
    return {one["model"].lower(): int(one["max_output_tokens"]) for one in found if one["max_output_tokens"]}


def _opened(text: Any, kind: type = dict) -> Any:
    """The value of an attribute, which is JSON text; an empty one when it is of another kind."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return kind()
    return value if isinstance(value, kind) else kind()
