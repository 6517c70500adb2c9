"""What a policy must not say. Everything is refused when the policy is built, never in the middle of a call."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, nearest
from prodkit.resilience.failures import known_classes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.manifest import Manifest
    from prodkit.manifest.model import FallbackStep, ModelSpec
    from prodkit.resilience.policy import Policy

Location = tuple[str | int, ...]
_Trouble = tuple[str, str, str, Location]  # code, what, fix, where in the manifest


def check_numbers(policy: Policy) -> None:
    """Refuse durations and counts that contradict each other.

    Raises:
        ConfigError: `resilience.contradiction` or `resilience.unknown-class`.
    """
    positive = {
        "deadline": policy.deadline,
        "attempt_timeout": policy.attempt_timeout,
        "attempts": policy.attempts,
        "max_concurrent": policy.max_concurrent,
        "stale_for": policy.stale_for,
        "stream_idle_timeout": policy.stream_idle_timeout,
        "breaker.open_for": policy.breaker.open_for,
        "breaker.minimum": policy.breaker.minimum,
    }
    for name, value in positive.items():
        if value is not None and value <= 0:
            raise _contradiction(f"{name} is {value}, and must be above 0.")
    if policy.deadline is not None and (policy.attempt_timeout or 0) > policy.deadline:
        raise _contradiction(
            f"attempt_timeout ({policy.attempt_timeout:g} s) is above deadline ({policy.deadline:g} s)."
        )
    if not 0 <= policy.wait_initial <= policy.wait_max:
        raise _contradiction(f"wait_initial ({policy.wait_initial:g} s) is above wait_max ({policy.wait_max:g} s).")
    if policy.breaker.minimum > policy.breaker.window:
        raise _contradiction("breaker.minimum is above breaker.window, so it would never open.")
    if not 0 < policy.breaker.failure_share <= 1:
        raise _contradiction("breaker.failure_share must be above 0 and at most 1.")
    known_classes(policy.onward_also)


def check_manifest(manifest: Manifest, source: Path | None) -> None:
    """Refuse a manifest whose resilience contradicts itself, its models or its residency; says the line.

    Raises:
        ConfigError: the first trouble found; the others are in its fix.
    """
    found = [
        *_numbers(manifest),
        *_classes(manifest),
        *_order(manifest),
        *_models(manifest),
        *_loops(manifest),
        *_borders(manifest),
    ]
    if not found:
        return
    code, what, fix, location = found[0]
    also = "; ".join(f"{_where(at, source)} {text}" for _, text, _, at in found[1:5])
    raise ConfigError(code, what, where=_where(location, source), fix=f"{fix}. Also: {also}" if also else fix)


def _numbers(manifest: Manifest) -> Iterator[_Trouble]:
    said, code = manifest.resilience, "resilience.contradiction"
    if said.attempt_timeout is not None and said.attempt_timeout > said.deadline:
        what = f"One attempt may take {said.attempt_timeout:g} s, but the whole call only {said.deadline:g} s."
        yield code, what, "make attempt_timeout smaller than deadline", ("resilience", "attempt_timeout")
    if said.retry.wait_initial > said.retry.wait_max and "wait_max" in said.retry.model_fields_set:
        what = f"The first wait ({said.retry.wait_initial:g} s) is above the longest one ({said.retry.wait_max:g} s)."
        yield code, what, "make wait_initial smaller than wait_max", ("resilience", "retry", "wait_initial")
    if said.retry.attempts > 1 and said.retry.wait_initial >= said.deadline:
        wait = f"The first wait ({said.retry.wait_initial:g} s)"
        what = f"{wait} fills the deadline ({said.deadline:g} s): nothing is retried."
        yield code, what, "make wait_initial smaller than deadline", ("resilience", "retry", "wait_initial")
    if said.breaker.minimum > said.breaker.window:
        what = f"The breaker needs {said.breaker.minimum} outcomes but remembers {said.breaker.window}: it never opens."
        yield code, what, "make minimum at most window", ("resilience", "breaker", "minimum")
    if "stream_idle_timeout" in said.model_fields_set and said.stream_idle_timeout > said.deadline:
        what = f"A stream may be silent for {said.stream_idle_timeout:g} s, but a call only lasts {said.deadline:g} s."
        yield code, what, "make stream_idle_timeout smaller than deadline", ("resilience", "stream_idle_timeout")


def _classes(manifest: Manifest) -> Iterator[_Trouble]:
    for position, name in enumerate(manifest.resilience.fallback_also_on):
        try:
            known_classes([name])
        except ConfigError as error:
            yield error.code, error.what, error.fix, ("resilience", "fallback_also_on", position)


def _order(manifest: Manifest) -> Iterator[_Trouble]:
    """Models come first, then earlier answers, then the static reply: what stands behind a text is never reached."""
    said, code = manifest.resilience, "resilience.contradiction"
    ranks = [_rank(step) for step in said.fallback]
    for position, (before, rank) in enumerate(itertools.pairwise(ranks), start=1):
        at: Location = ("resilience", "fallback", position)
        if rank < before:
            what = f"The fallback has {_STEPS[rank]} after {_STEPS[before]}."
            yield code, what, "let models come first, then `cached`, then `static`", at
        elif rank == before and rank:
            yield code, f"The fallback has {_STEPS[rank]} twice.", "keep one of the two", at
    kept = said.cached.max_age if said.cached is not None else 0.0
    if kept > manifest.compliance.retention_days * _DAY:
        what = f"Answers would be kept for {kept / _DAY:g} days, but compliance.retention_days is smaller."
        yield code, what, "make max_age shorter", ("resilience", "fallback", ranks.index(1))
    if _RANK_OF_STATIC in ranks and said.static_reply is not None:
        yield (
            code,
            "There are two static replies.",
            "keep the step `static` or `static_reply`",
            (
                "resilience",
                "static_reply",
            ),
        )


_STEPS = ("a model", "earlier answers", "a static reply")
_RANK_OF_STATIC = 2
_DAY = 86_400.0


def _rank(step: str | FallbackStep) -> int:
    if isinstance(step, str) or step.model is not None:
        return 0
    return 1 if step.cached is not None else _RANK_OF_STATIC


def _edges(manifest: Manifest) -> Iterator[tuple[str, str, Location]]:
    """Each fallback that the manifest names: from which model (empty: any), to which, and where it says so."""
    for position, name in manifest.resilience.models:
        yield "", name, ("resilience", "fallback", position)
    for at, model in enumerate(manifest.models):
        for position, name in enumerate(model.fallbacks):
            yield model.name, name, ("models", at, "fallbacks", position)


def _models(manifest: Manifest) -> Iterator[_Trouble]:
    names = [model.name for model in manifest.models]
    for _, name, location in _edges(manifest):
        if name not in names:
            fix = nearest(name, names) or "add it to `models:`"
            yield "resilience.unknown-model", f"The fallback `{name}` is not among the models.", fix, location


def _loops(manifest: Manifest) -> Iterator[_Trouble]:
    code, fix = "resilience.loop", "let each model appear once, and never lead back"
    graph: dict[str, list[str]] = {}
    for start, name, location in _edges(manifest):
        if name in graph.setdefault(start, []):
            yield code, f"The fallback `{name}` is named twice.", fix, location
        graph[start].append(name)
        if start and (start == name or _reaches(graph, name, start)):
            yield code, f"The fallbacks of `{start}` lead back to it through `{name}`.", fix, location


def _reaches(graph: dict[str, list[str]], start: str, goal: str) -> bool:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(graph.get(name, ()))
    return False


def _borders(manifest: Manifest) -> Iterator[_Trouble]:
    """Fallbacks that the data must not go to: a region outside of the residency, or data it may not see."""
    for start, name, location in _edges(manifest):
        target = manifest.model_named(name)
        if target is None:
            continue
        if not inside(target.region, manifest.compliance.residency):
            allowed = ", ".join(manifest.compliance.residency)
            place = f"`{target.region}`" if target.region else "an unknown region"
            what = f"The fallback `{name}` computes in {place}; residency allows {allowed}."
            yield "resilience.residency", what, "name a fallback inside, or its region under `models:`", location
        for missing in _forbidden(manifest, manifest.model_named(start) if start else None, target):
            what = f"The fallback `{name}` may not see `{missing}` data, which the model before it may."
            yield "resilience.classification", what, "allow it under `models:`, or name another fallback", location


def inside(region: str, residency: tuple[str, ...]) -> bool:
    """Whether a region lies in one of the allowed ones: `eu-central-1` lies in `eu`. An unknown region lies nowhere."""
    return not residency or any(region == allowed or region.startswith(allowed + "-") for allowed in residency)


def _forbidden(manifest: Manifest, before: ModelSpec | None, target: ModelSpec) -> list[str]:
    """Classes of the manifest's data that the model before may see and the fallback may not."""
    kinds = {spec.classification for spec in manifest.data_sources.values()}
    sees = set(before.allowed_classifications) if before else kinds
    if before is None and manifest.models:
        others = (set(model.allowed_classifications) for model in manifest.models if model.name != target.name)
        sees = set().union(*others)
    return sorted((kinds & sees) - set(target.allowed_classifications))


def _where(location: Location, source: Path | None) -> str:
    if source is not None:
        from prodkit.manifest.loading import read_document

        return read_document(source.read_text(encoding="utf-8"), source.name).where(location)
    return "prodkit.yaml (" + ".".join(str(part) for part in location) + ")"


def _contradiction(what: str) -> ConfigError:
    return ConfigError(
        "resilience.contradiction", "The policy contradicts itself: " + what, fix="change one of the two"
    )
