"""A model call that stands alone, as the trace of one span that MLflow's autologging would make of it.

Most calls of a job are like that. They get no live span of MLflow's: the call's record says all that is needed, and its
trace is made from that where it is shipped. Calls inside of the user's own spans, streams and calls with tools go
MLflow's way. `tests/capture/test_leaf.py` holds both ways beside each other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prodkit.capture import payload
from prodkit.ledger.telling import mlflows_own
from prodkit.records import CallSpan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.capture.calls import Call

# the SDKs' own resources whose `create` makes such a call; MLflow's patch lets it past itself
RESOURCES = frozenset(
    f"{module}.{prefix}{name}"
    for prefix in ("", "Async")
    for module, name in (
        ("openai.resources.chat.completions.completions", "Completions"),
        ("openai.resources.embeddings", "Embeddings"),
        ("anthropic.resources.messages.messages", "Messages"),
    )
)
# the end of a request's path -> what MLflow calls the span of it
_NAMES = {"/chat/completions": "Completions", "/embeddings": "Embeddings", "/v1/messages": "Messages.create"}
_FORMATS = {"Completions": "openai", "Messages.create": "anthropic"}  # of the messages, by the span's name
_SAMPLED = "03"  # as MLflow marks its traces: to be recorded, of a random id


class Leaf(NamedTuple):
    """The only span of a trace that has begun.

    Attributes:
        trace_id: as MLflow writes it.
        span_id: in hex.
        name: of the span and of the trace.
        kind: the span's type.
        tags, metadata: what MLflow says of every trace that begins here and now.
    """

    trace_id: str
    span_id: str
    name: str
    kind: str
    tags: dict[str, str]
    metadata: dict[str, str]

    @property
    def traceparent(self) -> str:
        """The header by which a server goes on with this trace (W3C Trace Context)."""
        return f"00-{self.trace_id.removeprefix('tr-')}-{self.span_id}-{_SAMPLED}"


def name_of(path: str, *, asynchronous: bool) -> str:
    """What MLflow's autologging calls the span of a request; empty where it is left to MLflow."""
    named = next((name for end, name in _NAMES.items() if path.endswith(end)), "")
    return f"Async{named}" if named and asynchronous else named


def is_plain(body: Mapping[str, Any]) -> bool:
    """Whether all that MLflow's span would say of a request is its body."""
    return not body.get("stream") and not body.get("tools")


def new(name: str, kind: str, tags: dict[str, str], metadata: dict[str, str]) -> Leaf:
    """A trace begins."""
    return Leaf(f"tr-{os.urandom(16).hex()}", os.urandom(8).hex(), name, kind, tags, metadata)


def span_of(call: Call, leaf: Leaf, failure: dict[str, Any] | None) -> CallSpan:
    """What the record of a call that has ended must say, so that its trace can be made from it.

    Args:
        call: the call.
        leaf: its span.
        failure: the event of the exception that has ended it.
    """
    return CallSpan(
        leaf.name,
        leaf.kind,
        payload.content(call.body),
        message_format=_FORMATS.get(leaf.name.removeprefix("Async"), ""),
        tags=leaf.tags,
        metadata=mlflows_own(leaf.metadata),
        failure=failure,
    )
