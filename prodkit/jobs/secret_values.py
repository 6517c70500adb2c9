"""Parameters that are secrets: the notebook, MLflow and the history hold the reference, only the kernel the value.

A reference is `secret:env:NAME` or `secret:file:PATH`. It is resolved once before the run, so that a missing one costs
nothing, and once in the kernel; every output is searched for the value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prodkit.errors import ConfigError

PREFIX = "secret:"
_SHORTEST = 4  # masking a shorter value would make holes in ordinary words


def is_reference(value: object) -> bool:
    """Whether a parameter's value refers to a secret."""
    return isinstance(value, str) and value.startswith(PREFIX)


def resolve(reference: str) -> str:
    """The value that a reference stands for.

    Raises:
        ConfigError: `jobs.secret`: the reference isn't one, or there is nothing at its place.
    """
    kind, _, place = reference.removeprefix(PREFIX).partition(":")
    if kind == "env" and place in os.environ:
        return os.environ[place]
    if kind == "file" and Path(place).is_file():
        return Path(place).read_text(encoding="utf-8").strip()
    known = kind in {"env", "file"} and place
    raise ConfigError(
        "jobs.secret",
        f"There is no secret at `{reference}`." if known else "This isn't a reference to a secret.",
        fix=f"set it: {'export ' + place + '=...' if kind == 'env' else 'write the file'}"
        if known
        else "write secret:env:NAME or secret:file:PATH",
    )


def as_line(name: str, reference: str) -> str:
    """The line of the injected cell that resolves a secret in the kernel."""
    return f"{name} = __import__({__name__!r}, fromlist=['resolve']).resolve({reference!r})"


def to_mask(values: dict[str, Any]) -> tuple[str, ...]:
    """What must not be seen in outputs: the values of all secrets among the parameters.

    Raises:
        ConfigError: a secret isn't there.
    """
    found = {resolve(value) for value in values.values() if is_reference(value)}
    return tuple(sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True))
