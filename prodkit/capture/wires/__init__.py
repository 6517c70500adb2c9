"""One call in another provider's wire format: how a request goes to the other vendor, and its answer comes back.

Only what means the same on both sides is translated; whatever doesn't is `Unfaithful`, and the target is passed over.
Pure functions over JSON: no SDK, no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.capture.wires import chat_over_messages, messages_over_chat
from prodkit.capture.wires.words import Unfaithful, given

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["CHAT", "MESSAGES", "Unfaithful", "Wire", "given", "wire_of"]

CHAT, MESSAGES = "/chat/completions", "/messages"


@dataclass(frozen=True, slots=True)
class Wire:
    """A way from one format to the other and back.

    Attributes:
        path: where the translated request goes.
        request: the body of a request in the other format, for a model of a provider; raises `Unfaithful`.
        answer: the other side's answer in the caller's format; raises `Unfaithful` for what has no word there.
        chunks: that answer as the chunks of a stream.
        left_out: settings that aren't sent although they were asked for; to be told.
    """

    path: str
    request: Callable[[dict[str, Any], str, str], dict[str, Any]]
    answer: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    chunks: Callable[[dict[str, Any], dict[str, Any]], list[dict[str, Any]]]
    left_out: frozenset[str]


def _wire(path: str, way: ModuleType) -> Wire:
    return Wire(path, way.request, way.answer, way.chunks, way.LEFT_OUT)


_WIRES = {CHAT: _wire("/v1/messages", chat_over_messages), MESSAGES: _wire("/chat/completions", messages_over_chat)}


def wire_of(path: str) -> Wire | None:
    """The way to the other format for requests to this path; None where there is none."""
    return next((wire for end, wire in _WIRES.items() if path.rstrip("/").endswith(end)), None)
