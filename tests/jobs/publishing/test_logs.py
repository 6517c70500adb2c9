"""Runs as machines see them: one line an event on stderr, the notebook's output when asked for, and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from nbformat.v4 import new_output

from prodkit.cli.logs import Log, log_beat
from prodkit.cli.logs.log import FIELDS
from prodkit.jobs.ends import Outcome
from prodkit.jobs.outputs import OutputLines
from prodkit.jobs.schedules.scheduler import Beat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.events import OutputEvent

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"
NOTEBOOK = f"""
import os, sys, warnings
print("token {KEY}")
print("half", end="", flush=True)
print(" and half")
os.write(2, b"from below\\n")
print("oh", file=sys.stderr)
"""


def prodkit(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a task's container runs it: no terminal, one process."""
    quiet = {"PRODKIT_SHIPPER": "inline", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(
        [sys.executable, "-m", "prodkit", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **quiet, **environment},
    )


def events_in(text: str) -> list[dict[str, Any]]:
    """The events of a log; every line must be one."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_is_told_to_machines(make_job: Callable[..., Path], mlflow_template: Path) -> None:
    """With JSON logs stderr holds nothing but events that all have the same fields; no secret, and stdout is empty."""
    job = make_job(NOTEBOOK, "assert n == 1, 'wrong'", parameters={"n": ("int", 2)})
    (job.parents[1] / ".prodkit").mkdir()
    shutil.copy(mlflow_template, job.parents[1] / ".prodkit" / "mlflow.db")
    done = prodkit("run", job, "--log-format", "json", "--log-output")
    told = events_in(done.stderr)
    assert (done.returncode, done.stdout) == (1, "")
    for event in told:
        assert list(event)[: len(FIELDS)] == list(FIELDS)
        assert datetime.fromisoformat(event["ts"]).utcoffset() == timedelta(0)
        assert event["schema"] == 1
    names = [event["event"] for event in told]
    assert (names[0], names[-1]) == ("run.start", "run.end")
    assert {"attempt.start", "cell.start", "cell.end", "output", "attempt.end", "stderr"} <= set(names)
    end = told[-1]
    assert (end["job"], end["outcome"], end["exit_code"], end["attempt"]) == ("sample", "failed", 1, 1)
    assert (end["cost_usd"], end["problem"], end["error"]) == ("0", None, "AssertionError")
    assert {event["run"] for event in told if event["event"] != "stderr"} == {end["run"]}
    assert end["cell"] == [event["cell"] for event in told if event["event"] == "cell.end"][-1]
    output = [event["text"] for event in told if event["event"] == "output"]
    assert any("half and half" in text for text in output)
    assert KEY not in done.stderr
    assert "\x1b" not in done.stderr


def test_output_goes_to_the_tasks_log(make_job: Callable[..., Path]) -> None:
    """With --log-output the notebook's lines are the task's stdout; with --json the result has stdout for itself."""
    job = make_job("print('made by the notebook')")
    plain = prodkit("run", job, PRODKIT_LOG_OUTPUT="1")
    assert (plain.returncode, plain.stdout) == (0, "made by the notebook\n")
    both = prodkit("run", job, "--log-output", "--json", PRODKIT_LOG_FORMAT="text")
    result = json.loads(both.stdout)
    assert (result["exit_code"], result["calls"], result["cost_usd"]) == (0, 0, "0")
    lines = both.stderr.splitlines()
    assert "made by the notebook" in lines
    assert " INFO run.end job=sample " in lines[-1]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [(["-p", "n=x"], 65, "parameters.type"), (["--require-approval"], 78, "review.not-approved")],
)
def test_a_refusal_is_an_event(words: list[str], code: int, error: str, make_job: Callable[..., Path]) -> None:
    """What is refused before anything runs is one event with its code, and the process ends with its exit code."""
    job = make_job("print(n)", parameters={"n": ("int", 1)})
    done = prodkit("run", job, *words, "--log-format", "json")
    [event] = [one for one in events_in(done.stderr) if one["event"] != "stderr"]
    assert (done.returncode, event["event"], event["exit_code"], event["error"]) == (code, "run.refused", code, error)


def test_items_are_told_with_their_rows(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """Each item of a fan-out has its events with its row, and the whole ends with its own."""
    rows = tmp_path / "rows.csv"
    rows.write_text("n\n1\n2\n")
    job = make_job("print('item', n)\nassert n == 1", parameters={"n": ("int", 1)})
    done = prodkit("run", job, "--over", rows, "--log-format", "json", "--log-output")
    told = events_in(done.stderr)
    assert (done.returncode, done.stdout) == (1, "")
    ends = {event["item"]: event["outcome"] for event in told if event["event"] == "item.end"}
    assert ends == {1: "ok", 2: "failed"}
    assert {(event["item"], event["text"]) for event in told if event["event"] == "output"} >= {(1, "item 1")}
    assert (told[-1]["event"], told[-1]["item"], told[-1]["counts"]) == ("run.end", None, {"ok": 1, "failed": 1})


def test_firings_and_foreign_lines_are_events(capfd: pytest.CaptureFixture[str]) -> None:
    """Firings of a schedule are events with their time, what anybody writes to stderr is one too, and so is a crash."""
    beat = Beat("nightly", datetime(2026, 11, 2, 5, tzinfo=UTC), 2, Outcome.TRANSIENT, "ConnectionError")

    def run_and_fail() -> None:
        with Log("json") as log:
            log_beat(log, beat)
            os.write(2, f"from below with {KEY}\n".encode())
            raise RuntimeError("a fault of ours")

    with pytest.raises(SystemExit) as ended:
        run_and_fail()
    told = {event["event"]: event for event in events_in(capfd.readouterr().err)}
    fired, foreign, crash = told["schedule.end"], told["stderr"], told["crash"]
    assert (fired["schedule"], fired["due"], fired["missed"]) == ("nightly", "2026-11-02T05:00:00+00:00", 2)
    assert (fired["level"], fired["exit_code"], fired["job"]) == ("error", 75, None)
    assert (foreign["event"], "from below" in foreign["message"], KEY in foreign["message"]) == ("stderr", True, False)
    assert (crash["level"], "RuntimeError: a fault of ours" in crash["message"], ended.value.code) == ("error", True, 1)


def test_lines_are_whole_and_clean() -> None:
    """Pieces of a stream become whole lines before they are cleaned; bars, colours and rich outputs become text."""
    told: list[OutputEvent] = []
    lines = OutputLines(told.append, lambda text: text.replace("secret", "[x]"))
    for piece in ("a sec", "ret\nb", "\x1b[31mred\x1b[0m\r", "last\r\n", "10%\r100%"):
        lines.note(new_output("stream", name="stdout", text=piece))
    lines.note(None)
    lines.note(new_output("execute_result", {"text/plain": "42", "text/html": "<b>42</b>"}))
    lines.note(new_output("error", ename="E", evalue="secret", traceback=["\x1b[31mE\x1b[0m: secret"]))
    lines.note(new_output("stream", name="stderr", text="open"))
    lines.close()
    assert [(one.stream, one.text) for one in told] == [
        ("stdout", "a [x]"),
        ("stdout", "last"),
        ("stdout", "100%\n42"),
        ("stderr", "E: [x]"),
        ("stderr", "open"),
    ]
