"""What makes two prompts the same: their text and the model parameters that belong to it."""

from __future__ import annotations

import json
import re
import string
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prodkit.manifest import Project

_NAME = re.compile(r"[A-Za-z0-9._-]{1,250}")


def shipped_prompts(project: Project) -> dict[str, int]:
    """Name -> newest version of the prompts that this project has registered, without asking MLflow."""
    from prodkit.ledger.places import Places
    from prodkit.ledger.shipments import Shipments

    places = Places(project.state, project.root)
    return Shipments(places).prompts() if places.ship_db.is_file() else {}


def prompt_digest(template: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 over text and parameters, in hex."""
    whole = json.dumps([template, dict(parameters)], sort_keys=True, ensure_ascii=True)
    return sha256(whole.encode("ascii")).hexdigest()


def check_name(name: str) -> None:
    """Refuse what MLflow's registry wouldn't take.

    Raises:
        ConfigError: the name holds something else than letters, digits, `.`, `_` and `-`.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "ledger.prompt-name",
            "A prompt's name is made of 1 to 250 letters, digits, `.`, `_` and `-`.",
            fix="rename the prompt",
        )


def is_made_with(template: str, text: str) -> bool:
    """Whether a text can have been made by filling in this template: its constant parts stand there in their order."""
    try:
        literals = [literal for literal, *_ in string.Formatter().parse(template) if literal]
    except ValueError:  # registered elsewhere, with braces of its own
        literals = [template]
    at = 0
    for literal in literals:
        found = text.find(literal, at)
        if found < 0:
            return False
        at = found + len(literal)
    return bool(literals)


def texts_in(value: Any) -> Iterator[str]:
    """All texts anywhere in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)
