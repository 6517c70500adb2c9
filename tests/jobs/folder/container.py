"""podman in a store of its own: builds without a registry, runs containers where nested kernels allow it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MINUTES = 20 * 60
BASE = "localhost/clean-python"
# crun refuses machines that mix both versions of cgroups; in a mount namespace of our own there is only the second
_ONE_VERSION = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "
_LIMITS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]  # podman's own are above what a VM may set


def why_not() -> str:
    """Why no image can be built and run here; empty when it can."""
    if os.geteuid() != 0:
        return "a store of its own needs root"
    missing = [name for name in ("podman", "buildah", "unshare") if shutil.which(name) is None]
    return f"{', '.join(missing)} isn't installed" if missing else ""


@dataclass(frozen=True)
class Podman:
    """podman with its images below one folder."""

    place: Path

    @classmethod
    def new(cls) -> Podman:
        """In a folder with a short name: podman's sockets lie in it."""
        return cls(Path(tempfile.mkdtemp(prefix="podman-")))

    @property
    def command(self) -> list[str]:
        """The program with its store."""
        where = ["--root", str(self.place / "store"), "--runroot", str(self.place / "run")]
        return ["podman", *where, "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]

    def say(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one command, output and errors together."""
        known = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": MINUTES, **options}
        return subprocess.run([*self.command, *arguments], check=False, **known)

    def import_root(self, root: Path) -> None:
        """A root file system as the base image."""
        packed = self.place / "base.tar"
        subprocess.run(["tar", "--directory", str(root), "--create", "--file", str(packed), "."], check=True)
        done = self.say("import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", str(packed), BASE)
        assert done.returncode == 0, done.stdout
        packed.unlink()

    def build(self, context: Path, tag: str, *options: str) -> str:
        """Build a Dockerfile on the base image; its output."""
        how = ["--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={BASE}"]
        done = self.say("build", *how, *options, "--tag", tag, str(context))
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def inspect(self, tag: str) -> dict[str, Any]:
        """What an image says of itself."""
        return json.loads(self.say("image", "inspect", tag).stdout)[0]

    def run_command(self, *arguments: str) -> list[str]:
        """What starts a container with a read-only root, no network, no capability and a tmpfs for scratch."""
        strict = ["--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--network", "none"]  # noqa: S108
        denied = ["--cap-drop", "all", "--security-opt", "no-new-privileges", "--cgroups", "disabled"]
        command = [*self.command, "run", "--rm", *strict, *denied, *_LIMITS, *arguments]
        whole = not Path("/sys/fs/cgroup/unified").is_dir()
        return command if whole else ["unshare", "--mount", "/bin/sh", "-c", f'{_ONE_VERSION}"$@"', "sh", *command]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a container to its end, output and errors together."""
        return subprocess.run(
            self.run_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=MINUTES,
        )  # fmt: skip

    def remove(self) -> None:
        """Leave nothing behind."""
        self.say("rm", "--all", "--force")
        self.say("rmi", "--all", "--force")
        subprocess.run(
            ["umount", "--recursive", str(self.place / "store" / "overlay")], capture_output=True, check=False
        )
        shutil.rmtree(self.place, ignore_errors=True)
