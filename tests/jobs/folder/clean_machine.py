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
STATE = "/tmp/state"  # noqa: S108  on a machine that has nobody else
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


def lines_of(runbook: str) -> list[str]:
    """The three lines of a runbook that install, test and run the job."""
    return runbook.partition("## Install, test and run it")[2].split("```\n")[1].splitlines()


def visit(machine: Machine, job: Path, project: Path) -> None:
    """What an operator does with a job folder that was copied to a clean machine; each answer is checked."""
    home = machine.root / "home" / USER
    place = home / "my jobs" / job.name
    shutil.copytree(job, place)
    machine.own(home)
    here = f"/{place.relative_to(machine.root)}"
    install, test, run = lines_of((place / "README.md").read_text())
    expect(machine.say("python3 --version; command -v git || id --user --name"), 0, USER)
    expect(machine.say(install, cwd=here), 0, "Successfully installed")
    expect(machine.say(test, cwd=here), 0, "OK")
    expect(machine.say(run, cwd=here), 65, "data (data source tickets)", "work shop/sites.csv (cell 7)")
    shutil.copytree(project / "data", place / "data")
    shutil.copy(project / "work shop" / "sites.csv", place / "work shop")
    machine.own(place)
    expect(machine.say(run, cwd=here), 0, "ok (exit code 0)")
    prodkit, script = f"'{here}/.venv/bin/prodkit'", f"'{here}/.venv/bin/python' '{here}/job.py'"
    expect(machine.say(f"{prodkit} run '{here}' -p month=2026-11", home=None), 0, "ok (exit code 0)")
    expect(machine.say(f"{script} -p month=2026-11", home=None), 0, "counted {'billing': 2, 'returns': 1} at 2 sites")
    expect(machine.say(f'{prodkit} runs --json | grep -c \'"outcome": "ok"\'', cwd=here), 0, "2")
    subprocess.run(["chown", "--recursive", "0:0", str(home)], check=True)  # neither HOME nor folder can be written
    expect(machine.say(f"{prodkit} run '{here}'"), 78, "job.state", "PRODKIT_STATE")
    alone = machine.say(f"{prodkit} run '{here}' && ls -A /tmp", PRODKIT_STATE=STATE)
    expect(alone, 0, "ok (exit code 0)", "\nstate")
    left = alone.stdout.partition("ok (exit code 0)")[2].splitlines()[3:]
    assert left == ["state"], f"left in /tmp: {left}"
    assert "Warning" not in alone.stdout, alone.stdout
    expect(machine.say(f"{prodkit} run '{here}'", PRODKIT_STATE=STATE, PRODKIT_PROJECT="/usr"), 78, "job.project")


def expect(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """An answer's exit code, and what it says."""
    plain = " ".join(done.stdout.split())
    missing = [word for word in words if " ".join(word.split()) not in plain]
    assert done.returncode == code, done.stdout[-3000:]
    assert not missing, f"{missing} not said in: {done.stdout[-3000:]}"
    assert "Traceback" not in done.stdout, done.stdout[-3000:]


def main() -> None:
    """Export a job here, take its folder to a clean machine, and print what was said there."""
    sys.path.insert(0, str(Path(__file__).parent))
    import sample

    from prodkit.jobs import export

    reason = why_not()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="clean-machine-") as folder:
        place = Path(folder)
        notebook = sample.make_project(place / "project")
        export(notebook, place / "project" / "jobs" / "sorting")
        machine = Machine.new(make_base(place), place)
        try:
            visit(machine, place / "project" / "jobs" / "sorting", place / "project")
        finally:
            print("\n".join(machine.log))
            machine.remove()


if __name__ == "__main__":
    main()
