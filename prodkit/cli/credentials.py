"""Secrets that the service manager hands over as files become variables, as the SDKs read their keys from those."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd's, for LoadCredential=NAME:FILE


def take_credentials(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set a variable for each file in systemd's folder of credentials that is called like one and isn't set yet.

    Raises:
        ConfigError: `cli.credential`: a file can't be read as text.
    """
    place = environ.get(_DIRECTORY)
    if not place or not Path(place).is_dir():
        return
    for file in sorted(Path(place).iterdir()):
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", file.name) and file.is_file() and not environ.get(file.name):
            try:
                environ[file.name] = file.read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise ConfigError(
                    "cli.credential",
                    f"The credential {file.name} can't be read: {type(error).__name__}.",
                    where=str(file),
                    fix="write it as one line of text",
                ) from None
