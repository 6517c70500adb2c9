"""Earlier answers to the very same request, for the moment when no model answers: `fallback: [{cached: ...}]`.

Complete and validated answers are kept while all is well. One is served only after every target has failed, marked as
degraded and never older than the manifest says.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from prodkit.capture import replay
from prodkit.capture.context import replay_allowed
from prodkit.errors import ProdkitError
from prodkit.ledger.cache import Cache
from prodkit.ledger.replay import KeptAnswer
from prodkit.resilience.checks import inside

if TYPE_CHECKING:
    from prodkit.capture.calls import Call


def wanted(call: Call) -> bool:
    """Whether the answer to this call is to be kept."""
    said = call.run.manifest.resilience
    return said.enabled and said.cached is not None and bool(call.address) and replay_allowed() and not replay.is_on()


def keep(call: Call, content: Any) -> None:
    """Keep a complete, validated answer; not one that was itself kept, and none of ours."""
    cached = call.run.manifest.resilience.cached
    if cached is None or content is None or call.unpaid or not wanted(call):
        return
    request = replay.request_of(call)
    if request is None:
        return
    answer = KeptAnswer(content, call.provider, call.model, call.degraded)
    try:
        _cache(call).keep(request, answer, call.stamp.user, max_age=cached.max_age)
    except (sqlite3.Error, OSError, ValueError, TypeError, ProdkitError) as error:  # the user's answer is not to suffer
        call.run.note("An answer couldn't be kept for the time when no model answers.", error=error)


def find(call: Call, max_age: float) -> KeptAnswer | None:
    """The latest answer to the same request, unless it is older than so many seconds or came from outside."""
    request = replay.request_of(call) if wanted(call) else None
    if request is None:
        return None
    try:
        kept = _cache(call).find(request, max_age)
    except (sqlite3.Error, OSError, ValueError, ProdkitError) as error:
        call.run.note("The kept answers can't be read.", error=error)
        return None
    if kept is None or not inside(call.run.region_of(kept.model), call.run.manifest.compliance.residency):
        return None
    return kept


def _cache(call: Call) -> Cache:
    return Cache(call.run.project, call.run.ledger.keyring)
