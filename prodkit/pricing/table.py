"""The public price table: genai-prices, offline, with the library's traps closed and its linear prices cached.

A look-up in the library takes about 70 us. Nearly all prices are linear within a tier of input size, so their
coefficients are probed once per model, day and tier, checked against the library on a mixed call, and kept.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from prodkit.records import Cost

if TYPE_CHECKING:
    from datetime import date, datetime

    from prodkit.pricing.tokens import Tokens

PRICED_TIERS = frozenset({"flex", "priority", "fast"})
"""Service tiers that cost something else than the standard one."""

# how SDKs and MLflow call a provider -> how the table does; the table itself knows more spellings
_ALIASES = {
    "azure_openai": "azure",
    "azure-openai": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "amazon": "aws",
    "vertex_ai": "google",
    "vertexai": "google",
    "vertex_ai_beta": "google",
    "google_vertexai": "google",
    "google_genai": "google",
    "gemini": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
}
_OUTPUT = ("output_reasoning_tokens", "output_audio_tokens", "output_image_tokens")
_INPUT = ("cache_read_tokens", "cache_write_tokens", "input_audio_tokens", "input_image_tokens")
_PROBED = frozenset({"input_tokens", "output_tokens", *_OUTPUT, *_INPUT})
_MODALITIES = {
    "input_audio_tokens": "input_audio_mtok",
    "output_audio_tokens": "output_audio_mtok",
    "input_image_tokens": "input_image_mtok",
    "output_image_tokens": "output_image_mtok",
}
_CACHE_LIMIT = 4096
_NOTHING = Decimal(0)

Context = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per token by kind, relative to the kind's parent: a cached token costs `input` + `cache_read`."""

    constant: Decimal
    each: dict[str, Decimal]

    def total(self, tokens: Tokens) -> tuple[Decimal, Decimal]:
        """The price of a call whose counts all have a rate, and of its prompt alone."""
        of_input, of_output = self.constant, _NOTHING
        for kind, number in tokens.items():
            if number and kind.startswith("output_"):
                of_output += self.each[kind] * number
            elif number:
                of_input += self.each[kind] * number
        return of_input + of_output, of_input


@dataclass(slots=True)
class Entry:
    """What the table says about a model on a day."""

    model: Any = None  # genai_prices' ModelInfo; None when unknown
    provider: Any = None
    reason: str = ""  # why it is unpriced
    note: str = ""  # why it is estimated only
    by_hour: bool = False
    has_input: bool = False
    has_output: bool = False
    modalities: frozenset[str] = frozenset()  # counts other than text that have a price of their own
    steps: tuple[int, ...] = ()  # input sizes above which another price applies to the whole call
    rates: dict[int, Rates | None] = field(default_factory=dict)  # by number of steps passed


_entries: dict[tuple[str, str, date, Context], Entry] = {}
_lock = threading.Lock()


def quote(provider: str, model: str, tokens: Tokens, moment: datetime, *, batch: bool, service_tier: str) -> Cost:
    """The cost of a call by the public table; `moment` is in UTC."""
    context: Context = ()
    if batch:
        context = (("processing", "batch"),)
    elif service_tier in PRICED_TIERS:
        context = (("service_tier", service_tier),)
    key = (provider, model, moment.date(), context)
    entry = _entries.get(key)
    if entry is None:
        entry = _remember(key, moment)
    reason = entry.reason or _gap(entry, tokens)
    if reason:
        return Cost(reason=reason)
    try:
        usd, of_input = _total(entry, tokens, moment, context)
    except ValueError as error:
        return Cost(reason=f"the token counts contradict each other: {error}")
    note = entry.note or (_doubt(entry, tokens) if tokens.keys() & _MODALITIES.keys() else "")
    return Cost(usd, "estimated" if note else "priced", source(), moment.date(), note, of_input)


@cache
def source() -> str:
    """The table and its version, e.g. `genai-prices 0.2.3`."""
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


def _gap(entry: Entry, tokens: Tokens) -> str:
    """A count that this price doesn't cover. The library would add 0 for it."""
    if (tokens["input_tokens"] or 0) > 0 and not entry.has_input:
        return "the price table prices this model by something else than input tokens"
    if (tokens["output_tokens"] or 0) > 0 and not entry.has_output:
        return "the price table prices this model by something else than output tokens"
    if tokens["input_tokens"] is None or (tokens["output_tokens"] is None and entry.has_output):
        return "the provider reported only a part of the token counts"
    return ""


def _doubt(entry: Entry, tokens: Tokens) -> str:
    """Why the price of audio or images is a guess: the library takes the text's price when it has no other."""
    for kind in _MODALITIES.keys() & tokens.keys():
        if kind not in entry.modalities:
            return f"the table has no price for this model's {kind.replace('_', ' ')}; the price of text is used"
    if _overlap(tokens):
        return "it isn't known which of the cached tokens are audio or image"
    return ""


def _overlap(tokens: Tokens) -> int:
    """How many tokens must be both cached and audio or image."""
    special = sum(tokens.get(kind) or 0 for kind in ("input_audio_tokens", "input_image_tokens"))
    cached = tokens.get("cache_read_tokens") or 0
    return max(0, special + cached - (tokens["input_tokens"] or 0)) if special else 0


def _total(entry: Entry, tokens: Tokens, moment: datetime, context: Context) -> tuple[Decimal, Decimal]:
    """The price of a call, and of its prompt alone."""
    if entry.by_hour or not tokens.keys() <= _PROBED or _overlaps(tokens):
        return _ask_both(entry, tokens, moment, context)
    size = tokens["input_tokens"] or 0
    step = sum(size > start for start in entry.steps)
    if step not in entry.rates:
        entry.rates[step] = _probe(entry, step, moment, context)
    rates = entry.rates[step]
    return _ask_both(entry, tokens, moment, context) if rates is None else rates.total(tokens)


def _overlaps(tokens: Tokens) -> bool:
    """Cached audio may be priced as neither cached nor audio: that is the library's to say."""
    cached = "cache_read_tokens" in tokens or "cache_write_tokens" in tokens
    return cached and ("input_audio_tokens" in tokens or "input_image_tokens" in tokens)


def _remember(key: tuple[str, str, date, Context], moment: datetime) -> Entry:
    entry = _look_up(key[0], key[1], moment, key[3])
    with _lock:
        if len(_entries) >= _CACHE_LIMIT:
            _entries.clear()
        _entries[key] = entry
    return entry


def _look_up(provider: str, model: str, moment: datetime, context: Context) -> Entry:
    from genai_prices.types import TieredPrices, TimeOfDateConstraint

    found = _find(provider, model)
    if found is None:
        return Entry(reason=f"no price is known for `{model}` of `{provider or 'an unknown provider'}`")
    owner, info = found
    entry = Entry(info, owner)
    if context and not _has_variant(owner, info, context, moment):
        kind = "batch" if context[0][0] == "processing" else context[0][1]
        entry.note = f"the table has no {kind} price for this model; the standard price is used"
    prices = info.get_prices(moment, dict(context) or None)
    named = {name: value for name, value in vars(prices).items() if value is not None and not name.startswith("_")}
    entry.has_input, entry.has_output = "input_mtok" in named, "output_mtok" in named
    entry.modalities = frozenset(kind for kind, price_key in _MODALITIES.items() if price_key in named)
    if not entry.has_input and not entry.has_output:
        entry.reason = f"the price table has no token price for `{model}`"
    tiered = [value for value in named.values() if isinstance(value, TieredPrices)]
    entry.steps = tuple(sorted({tier.start for value in tiered for tier in value.tiers}))
    conditions = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
    entry.by_hour = any(isinstance(condition.constraint, TimeOfDateConstraint) for condition in conditions)
    return entry


def _find(provider: str, model: str) -> tuple[Any, Any] | None:
    """The table's provider and model; tries the name as it is, then without its provider prefix."""
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    name = _ALIASES.get(provider.lower(), provider.lower())
    tries = [(name or None, model)]
    if "/" in model:
        prefix, _, rest = model.partition("/")
        inner = _ALIASES.get(prefix.lower(), prefix.lower())
        tries += [(inner, rest), (name or None, rest.rsplit("/", 1)[-1])]
    for owner, ref in tries:
        try:
            return snapshot.find_provider_model(ref, None, owner, None)
        except LookupError:
            continue
    return None


def _has_variant(owner: Any, info: Any, context: Context, moment: datetime) -> bool:
    """The library gives the standard price without a word when it has no price for the context."""
    if not any(info is known for known in owner.models):
        return False
    wanted = dict(context)
    return any(
        variant.when.items() <= wanted.items() and (variant.constraint is None or variant.constraint.active(moment))
        for variant in info.price_variants or ()
    )


def _ask_both(entry: Entry, tokens: Tokens, moment: datetime, context: Context) -> tuple[Decimal, Decimal]:
    prompt = {kind: 0 if kind == "output_tokens" else number for kind, number in tokens.items() if kind not in _OUTPUT}
    return _ask(entry, tokens, moment, context), _ask(entry, prompt, moment, context)


def _ask(entry: Entry, tokens: Tokens, moment: datetime, context: Context) -> Decimal:
    from genai_prices import Usage

    counts = {kind: number for kind, number in tokens.items() if number is not None}
    if _overlaps(tokens):
        audio, overlap = counts.get("input_audio_tokens", 0), _overlap(tokens)
        counts.setdefault("cache_audio_read_tokens", min(audio, overlap))
        counts.setdefault("cache_image_read_tokens", overlap - min(audio, overlap))
    result = entry.model.calc_price(
        Usage(**counts), entry.provider, genai_request_timestamp=moment, price_context=dict(context) or None
    )
    total: Decimal = result.total_price
    return total


def _probe(entry: Entry, step: int, moment: datetime, context: Context) -> Rates | None:
    """The coefficients of one tier, None when the library's price isn't linear there."""
    size = 1 + (entry.steps[step - 1] if step else 0)

    def ask(**tokens: int) -> Decimal:
        return _ask(entry, dict(tokens), moment, context)

    try:
        nothing = ask(input_tokens=size, output_tokens=0)
        # the price of one token, from the difference that a million make: exact, as prices are per million
        each = {"output_tokens": (ask(input_tokens=size, output_tokens=1_000_000) - nothing) / 1_000_000}
        each["input_tokens"], constant = _input_rate(entry, step, ask)
        for kind in _INPUT:
            each[kind] = (ask(input_tokens=size, output_tokens=0, **{kind: size}) - nothing) / size
        for kind in _OUTPUT:
            full = ask(input_tokens=size, output_tokens=1_000_000, **{kind: 1_000_000})
            each[kind] = (full - nothing) / 1_000_000 - each["output_tokens"]
        rates = Rates(constant, each)
        mixed = {"input_tokens": size, "output_tokens": 977, "output_reasoning_tokens": 13}
        mixed["cache_read_tokens"] = size // 3
        return rates if rates.total(dict(mixed))[0] == ask(**mixed) else None
    except (ValueError, ArithmeticError):
        return None


def _input_rate(entry: Entry, step: int, ask: Any) -> tuple[Decimal, Decimal]:
    """Price of one input token in this tier, and what a call costs beside its tokens."""
    low = 1 + (entry.steps[step - 1] if step else 0)
    high = entry.steps[step] if step < len(entry.steps) else low + 1_000_000
    first, last = ask(input_tokens=low, output_tokens=0), ask(input_tokens=high, output_tokens=0)
    rate = (last - first) / (high - low)
    return rate, first - rate * low
