"""The image of a job folder, built and run: no state, no secrets, no root, nothing writable but what it says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from prodkit.jobs import export

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

TAG, UID = "localhost/sorting", 10001
CANARY = "canary-of-the-image"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_image_runs_the_job(
    clean: ModuleType, container: ModuleType, debian: Path, sample_project: Path, tmp_path: Path
):
    """The image holds what was exported and nothing beside it, and runs as nobody with a read-only root until SIGTERM."""
    if reason := container.why_not():
        pytest.skip(reason)
    job = export(sample_project / "work shop" / "sorting.ipynb", sample_project / "jobs" / "sorting").job
    (job / ".env").write_text(f"KEY={CANARY}\n")
    (job / ".prodkit").mkdir()
    (job / ".prodkit" / "journal").write_text(CANARY)
    (job / "modules" / "notes.txt").write_text(CANARY)
    secret = tmp_path / "pip.conf"
    secret.write_text(f"# password {CANARY}\n[global]\n{settings(clean)}")
    podman = container.Podman.new()
    with contextlib.ExitStack() as stack:
        stack.callback(podman.remove)
        machine = clean.Machine.new(debian, tmp_path)
        podman.import_root(machine.root)
        machine.remove()
        podman.build(job, TAG, "--secret", f"id=pip,src={secret}")
        check_contents(podman)
        check_runs(podman, sample_project, tmp_path)


def settings(clean: ModuleType) -> str:
    """Pip's options of this machine as lines of its file."""
    pairs = clean.pip_settings().items()
    return "".join(f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {value}\n" for name, value in pairs)


def check_contents(podman) -> None:
    """No layer holds what export didn't write; the image says who it runs as and how it starts."""
    said = podman.inspect(TAG)["Config"]
    assert (said["User"], said["Entrypoint"]) == ("10001:10001", ["prodkit", "run", "/job"])
    saved = subprocess.Popen([*podman.command, "save", "--format", "docker-archive", TAG], stdout=subprocess.PIPE)
    found = subprocess.run(["grep", "--text", "--count", CANARY], stdin=saved.stdout, capture_output=True, check=False)
    assert saved.wait() == 0
    assert found.stdout.strip() == b"0"
    shell = ["--entrypoint", "/bin/sh", TAG, "-c"]
    seen = podman.run(*shell, "id; ls -A /job; touch /job/x /opt/x; find /job ! -user 0 -print").stdout
    assert re.match(r"uid=10001\S* gid=10001\S*", seen), seen
    assert {"job.ipynb", "job.yaml", "modules", "contracts", "work shop", "wheels"} <= set(seen.splitlines())
    assert not {".env", ".prodkit"} & set(seen.splitlines())
    assert seen.count("Read-only file system") == 2, seen
    assert "\n/job" not in seen, seen


def check_runs(podman, project: Path, place: Path) -> None:
    """Without data 65, with it 0, and 143 when it is told to stop; all state lies in the volume."""
    state = place / "state"
    state.mkdir(mode=0o700)
    os.chown(state, UID, UID)
    kept = ["--volume", f"{state}:/state"]
    data = [f"{project}/data:/job/data:ro", f"{project}/work shop/sites.csv:/job/work shop/sites.csv:ro"]
    mounted = [*kept, *(part for volume in data for part in ("--volume", volume))]
    without = podman.run(*kept, TAG)
    assert without.returncode == 65, without.stdout
    assert "data (data source tickets); work shop/sites.csv (cell 7)" in without.stdout
    done = podman.run(*mounted, TAG, "-p", "month=2026-11")
    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if "Warning" in line or "Traceback" in line]
    assert (state / "journal").is_dir()
    assert {path.stat().st_uid for path in state.rglob("*")} == {UID}
    with running(podman.run_command(*mounted, TAG, "-p", "wait=600")) as process:
        until(lambda: any("attempt" in path.name for path in state.glob("jobs/sorting/*/*") if is_running(path)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 143


def is_running(path: Path) -> bool:
    """Whether a notebook belongs to a run that hasn't ended: no record beside it."""
    return not (path.parent / "run.json").exists()


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that doesn't outlive the test."""
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(true) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end, "it didn't happen in five minutes"
        time.sleep(0.2)
