"""A clean machine: Debian with its own Python and nothing of this one; run as a script it prints a log to be shown.

`debootstrap` makes it, once a session; each machine is a copy of it, entered by chroot in namespaces of its own.
How pip reaches its package index is taken over from this machine, as an operator would set it up.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the release of Debian with this minor version of Python
PACKAGES = "python3,python3-venv,ca-certificates"
USER, UID = "operator", 4711
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
MINUTES = 15 * 60


def why_not() -> str:
    """Why no clean machine can be made here; empty when it can."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" not in SUITES:
        return "no release of Debian has this version of Python"
    if os.geteuid() != 0:
        return "debootstrap needs root"
    missing = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
    return f"{', '.join(missing)} isn't installed" if missing else ""


def make_base(place: Path) -> Path:
    """A root file system with Debian's Python alone, made once below `place`."""
    suite = SUITES[f"{sys.version_info.major}.{sys.version_info.minor}"]
    base = place / suite
    if not base.is_dir():
        making = base.with_suffix(".making")
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(making)]
        subprocess.run(command, check=True, capture_output=True, timeout=MINUTES)
        making.rename(base)
    return base


def pip_settings() -> dict[str, str]:
    """How pip reaches its index here: options as variables, except what only has a meaning on this machine."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    pairs = [line.partition("=") for line in listed.splitlines() if "=" in line]
    found = {key.partition(".")[2]: value.strip("'") for key, _, value in pairs}
    wanted = {"index-url", "proxy", "timeout", "trusted-host"} & set(found)
    return {f"PIP_{name.upper().replace('-', '_')}": found[name] for name in sorted(wanted)}


@dataclass
class Machine:
    """A fresh copy of the base, and an ordinary user of it.

    `log` collects what was said there, in the words of a shell.
    """

    root: Path
    log: list[str] = field(default_factory=list)

    @classmethod
    def new(cls, base: Path, place: Path) -> Machine:
        """Copy the base; the certificates that this machine trusts are trusted there too."""
        root = Path(tempfile.mkdtemp(prefix="machine-", dir=place))
        subprocess.run(["cp", "--archive", f"{base}/.", str(root)], check=True)
        if Path(BUNDLE).is_file():
            shutil.copy(BUNDLE, root / BUNDLE.lstrip("/"))
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        shutil.copy("/etc/hosts", root / "etc/hosts")
        with (root / "etc/passwd").open("a") as file:
            file.write(f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh\n")
        with (root / "etc/group").open("a") as file:
            file.write(f"{USER}:x:{UID}:\n")
        machine = cls(root)
        machine.own(root / "home" / USER)
        return machine

    def own(self, place: Path) -> Path:
        """Give a folder to the user."""
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["chown", "--recursive", f"{UID}:{UID}", str(place)], check=True)
        return place

    def say(
        self,
        command: str,
        *,
        cwd: str = "/",
        seconds: float = MINUTES,
        home: str | None = f"/home/{USER}",
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """What the user's shell answers; nothing of this machine's environment is there."""
        known = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **pip_settings(), **variables}
        if home is not None:
            known["HOME"] = home
        within = f"cd {shlex.quote(cwd)} && exec env -i {' '.join(shlex.quote(f'{k}={v}') for k, v in known.items())}"
        inside = ["chroot", f"--userspec={UID}:{UID}", str(self.root), "/bin/sh", "-c"]
        mounted = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"]
        done = subprocess.run(
            [*mounted, *inside, f"{within} /bin/sh -c {shlex.quote(command)}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
            check=False, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        self.log += [f"{USER}:{cwd}$ {command}", *done.stdout.rstrip().splitlines(), f"[exit {done.returncode}]", ""]
        return done

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.root, ignore_errors=True)
