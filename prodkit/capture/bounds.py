"""What a call will cost, and the most that it can cost, before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.capture import payload
from prodkit.ledger.mlflow_prices import output_limit
from prodkit.pricing import estimate

if TYPE_CHECKING:
    from decimal import Decimal

    from prodkit.capture.calls import Call

_FIRST_GUESS = 1_024  # output tokens, for a call that sets no limit
_LEAST_GUESS = 64
_MOST = 131_072  # output tokens: more than any model gives that the catalog doesn't know
# models that answer with something else than a text: the most tokens of one answer
_OTHERWISE = (("image", 8_192), ("dall-e", 8_192), ("embed", 0), ("tts", 8_192), ("transcribe", 16_384))
_NO_CONTENT = frozenset({"model", "stream", "stream_options"})


def of_call(call: Call) -> tuple[Decimal | None, Decimal | None]:
    """What the call will probably cost at most, and what it can't exceed; None where the price isn't known.

    The first is counted from the request's bytes and its limit, or from the answers so far where it sets none; the
    second from the model's own limit, at one token a byte, and over the models that the manifest falls back to.
    """
    limit = payload.output_limit(call.body)
    answers = max(int(call.body.get("n") or 1), 1)
    guess = limit if limit is not None else call.run.guess_output(call.model, _FIRST_GUESS, _LEAST_GUESS)
    content = [value for key, value in call.body.items() if key not in _NO_CONTENT]
    size, most_size = payload.upper_input_tokens(content), payload.upper_input_tokens(content, most=True)
    amount = _price(call, call.provider, call.model, size, guess, limited=limit is not None)
    if amount is None:
        return None, None
    bounds = []
    for provider, model in _targets(call):
        most = limit if limit is not None else answers * _most_output(provider, model)
        bounds.append(_price(call, provider, model, most_size, most, limited=limit is not None))
    return amount, max([amount, *(bound for bound in bounds if bound is not None)])


def _targets(call: Call) -> list[tuple[str, str]]:
    """The model that is asked, and those that may answer in its place."""
    manifest = call.run.manifest
    spec = manifest.model_named(call.model)
    names = (*(spec.fallbacks if spec is not None else ()), *(name for _, name in manifest.resilience.models))
    others = [found for name in names if (found := manifest.model_named(name)) is not None]
    return [(call.provider, call.model), *((one.provider, one.name) for one in others)]


def _most_output(provider: str, model: str) -> int:
    found = output_limit(provider, model)
    if found is not None:
        return found
    return next((most for word, most in _OTHERWISE if word in model.lower()), _MOST)


def _price(call: Call, provider: str, model: str, size: int, answer: int, *, limited: bool) -> Decimal | None:
    manifest = call.run.manifest
    cost = estimate(provider, model, prompt_tokens=size, max_output_tokens=answer, manifest=manifest)
    if cost is None and not limited:  # embeddings have no price for output
        return estimate(provider, model, prompt_tokens=size, max_output_tokens=0, manifest=manifest)
    return cost
