"""What both directions share: refusing what can't be said, and the vocabulary of tools and ends."""

from __future__ import annotations

import json
from typing import Any


class Unfaithful(Exception):  # noqa: N818  it says why a way isn't taken; nobody sees it as an error
    """The request or answer holds something that means nothing, or another thing, in the other format."""


def only(body: dict[str, Any], known: frozenset[str]) -> None:
    """Refuse a body with keys that aren't known to mean the same.

    Raises:
        Unfaithful: names the keys, never their values.
    """
    strange = sorted(name for name, value in body.items() if name not in known and said(value))
    if strange:
        raise Unfaithful(f"it asks for {', '.join(strange)}, which has no equivalent there")


def said(value: Any) -> bool:
    """Whether an argument was given at all: the SDKs mark those that were left out by objects of their own."""
    return value is not None and type(value).__name__ not in {"Omit", "NotGiven"}


def given(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what was left out."""
    return {name: value for name, value in body.items() if said(value)}


def text_of(content: Any, whose: str) -> str:
    """A text, or the texts of a list of text parts.

    Raises:
        Unfaithful: there is something else among them, such as an image.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unfaithful(f"the content of a {whose} message isn't text")
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise Unfaithful(f"a {whose} message holds a part of the type {kind}")
    return "".join(part["text"] for part in content)


def arguments_of(text: Any) -> dict[str, Any]:
    """A tool call's arguments as an object.

    Raises:
        Unfaithful: they aren't the JSON of an object.
    """
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise Unfaithful("a tool call's arguments aren't a JSON object")
    return value


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages, each a mapping.

    Raises:
        Unfaithful: they are something else, or the last one is the assistant's: one side goes on with it, the other
            answers it.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise Unfaithful("its messages aren't a list of mappings")
    if messages[-1].get("role") == "assistant":
        raise Unfaithful("its last message is the assistant's")
    return messages
