"""Other retry layers around and below ours: they multiply what a provider gets, so each is told once on the card."""

from __future__ import annotations

import json
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prodkit.capture.calls import Call

_RETRIED = frozenset({"unavailable", "rate-limited", "timeout"})  # classes of failures that the policy tries again
_seen: weakref.WeakSet[Any] = weakref.WeakSet()  # clients that were looked at


def look_below(client: Any, call: Call) -> None:
    """Tell of a client whose HTTP transport repeats requests by itself. Each client is looked at once."""
    if client in _seen:
        return
    _seen.add(client)
    http = getattr(client, "_client", None)
    transports = [getattr(http, "_transport", None), *(getattr(http, "_mounts", None) or {}).values()]
    for name in dict.fromkeys(filter(None, map(_repeats, transports))):
        call.run.note(
            f"The client's transport {name} repeats requests by itself, below prodkit's own retries; that can't be "
            "switched off from here: give the client one that doesn't."
        )


def _repeats(transport: Any) -> str:
    """The name of a transport that repeats requests; empty for any other."""
    pool = getattr(transport, "_pool", None)
    if isinstance(retries := getattr(pool, "_retries", 0), int) and retries > 0:
        return f"{type(transport).__name__}(retries={retries})"
    kinds = (kind for kind in type(transport).__mro__ if "retry" in kind.__name__.lower())
    return next((kind.__name__ for kind in kinds), "")


def remember(call: Call) -> None:
    """Note that a call has failed although it was tried as often as the policy allows."""
    if call.attempts and call.attempts[-1].failure_class in _RETRIED:
        call.run.failed_requests.add(_key(call))


def look_around(call: Call) -> None:
    """Tell when the request of a failed call is made again: somebody above us retries, too."""
    failed = call.run.failed_requests
    if failed and _key(call) in failed:
        call.run.note(
            "A request was made again after prodkit had given it up: a retry layer above (tenacity, a framework's "
            "max_retries, a loop) multiplies the attempts. Let only one of the two retry."
        )


def _key(call: Call) -> int:
    return hash(json.dumps(call.body, sort_keys=True, default=str))
