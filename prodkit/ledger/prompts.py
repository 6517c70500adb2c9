"""What makes two prompts the same: their text and the model parameters that belong to it."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9._-]{1,250}")


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
