"""Which machines a lock is for: one minor version of Python, the patch releases that it holds for, one platform."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.jobs.folder import Execution


def this_python() -> str:
    """The minor version of this interpreter, e.g. `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def this_platform() -> str:
    """This operating system and processor, e.g. `linux-x86_64`, `darwin-arm64`, `win32-AMD64`."""
    return f"{sys.platform}-{platform.machine()}"


def check_machine(how: Execution) -> None:
    """Refuse a machine that the job's lock isn't for: its packages would be others, or none.

    Folders that name no platform, which 0.1.0 wrote, run on any.

    Raises:
        ConfigError: `job.machine` names both.
    """
    here = platform.python_version()
    fits = this_python() == how.python and SpecifierSet(how.python_needs).contains(here, prereleases=True)
    if not how.platform or (fits and this_platform() == how.platform):
        return
    needs = f" ({how.python_needs})" if how.python_needs else ""
    raise ConfigError(
        "job.machine",
        f"The job is locked for Python {how.python}{needs} on {how.platform}; "
        f"this is Python {here} on {this_platform()}.",
        where="job.yaml",
        fix=f"run it with Python {how.python} on {how.platform} (the Dockerfile makes an image of it), or export it "
        "again with the Python and on the platform that it is to run with",
    )
