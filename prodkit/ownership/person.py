"""Who sits here, as records name a person. Addresses aren't recorded: they would be redacted like any other."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.manifest.model import Manifest


def name_person(manifest: Manifest, said: str = "") -> str:
    """`Ana Ruiz (ana)` for somebody whom the manifest knows by id, name or address; else the name as it was said.

    Args:
        manifest: whose `owners.people` are looked at.
        said: an id, a name or an address; git's user.name when empty.

    Raises:
        ConfigError: `review.unknown-person`: an address that belongs to nobody in the manifest.
    """
    said = said.strip() or _git_name()
    for key, person in manifest.owners.people.items():
        if said in {key, person.email, person.name}:
            return f"{person.name} ({key})"
    if "@" in said:
        raise ConfigError(
            "review.unknown-person",
            "This address belongs to nobody in the manifest.",
            fix="give the id of a person in prodkit.yaml, or a name",
        )
    return said


def _git_name() -> str:
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip()
