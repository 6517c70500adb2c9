"""Answers already paid for: served to a later attempt of the same job run, and to everything in replay mode.

In replay mode (`PRODKIT_REPLAY`) nothing is sent: what isn't found is one clear error.
"""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.capture.context import replay_allowed
from prodkit.errors import ConfigError, ProdkitError
from prodkit.ledger.replay import Answers, KeptAnswer, find_kept

if TYPE_CHECKING:
    from prodkit.capture.calls import Call
    from prodkit.capture.runs import OpenRun

MODE = "PRODKIT_REPLAY"
JOB_RUN = "PRODKIT_JOB_RUN"
ATTEMPT = "PRODKIT_ATTEMPT"
_NOT_SAID = frozenset({"Omit", "NotGiven"})  # how the SDKs mark arguments that were left out


@dataclass(frozen=True, slots=True)
class Question:
    """A call as the kept answers know it. `attempt` is within which each kept answer is served once."""

    answers: Answers
    digest: str
    attempt: str


def is_on() -> bool:
    """Whether this process is in replay mode, in which nothing may be sent."""
    return bool(os.environ.get(MODE))


def find(call: Call) -> KeptAnswer | None:
    """The answer that was paid for in another attempt; the call is then marked as replayed.

    Raises:
        ConfigError: in replay mode, when there is none: `replay.missing` or `replay.unknown-run`.
    """
    source = os.environ.get(MODE)
    call.question = _question(call, source or os.environ.get(JOB_RUN))
    kept = _claim(call) if call.question is not None else None
    if kept is None:
        if source:
            raise missing(call.run, askable=call.question is not None)
        return None
    call.replayed(kept.provider, kept.model, degraded=kept.degraded)
    return kept


def keep(call: Call, content: Any) -> None:
    """Keep a complete, validated answer; not one that was itself kept, and none of ours."""
    question = call.question
    if question is None or content is None or is_on() or call.unpaid:
        return
    answer = KeptAnswer(content, call.provider, call.model, call.degraded)
    try:
        question.answers.keep(question.digest, question.attempt, answer, call.stamp.user)
    except (
        sqlite3.Error,
        OSError,
        ValueError,
        TypeError,
        ProdkitError,
    ) as error:  # the user must get what was paid for
        call.run.note("An answer couldn't be kept; a later attempt would pay for it again.", error=error)


def missing(run: OpenRun | None, *, askable: bool = True) -> ConfigError:
    """The one error of replay mode."""
    what = "This call isn't among the kept answers" if askable else "This call is of a kind that isn't replayed"
    return ConfigError(
        "replay.missing",
        f"{what}, and in replay mode nothing is sent.",
        where=run.name if run is not None else "outside of a captured run",
        fix=f"unset {MODE} to send it; a changed prompt, model or parameter makes it another call",
    )


def request_of(call: Call) -> str | None:
    """What makes a request the same as another one; None for an upload and for what isn't JSON."""
    body = {name: value for name, value in call.body.items() if type(value).__name__ not in _NOT_SAID}
    try:
        return json.dumps([call.provider, call.address, body], sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError):  # a file, an iterator
        return None


def _question(call: Call, source: str | None) -> Question | None:
    """None where nothing is kept: outside of a job run, when it was opted out of, and for uploads."""
    if not source or not call.address or not replay_allowed():
        return None
    request = request_of(call)
    if request is None:
        return None
    run = find_kept(call.run.project, source) if is_on() else source
    answers = Answers(call.run.project, call.run.ledger.keyring, run)
    return Question(answers, answers.digest(request), _attempt(call))


def _attempt(call: Call) -> str:
    """A job's attempt; outside of a job the captured run, so that a cell can be run again."""
    job = os.environ.get(JOB_RUN)
    return f"{job}.{os.environ.get(ATTEMPT, '')}" if job else call.run.key


def _claim(call: Call) -> KeptAnswer | None:
    question = call.question
    try:
        return question.answers.claim(question.digest, question.attempt) if question is not None else None
    except sqlite3.Error as error:
        call.run.note(
            "The kept answers can't be read; what an earlier attempt paid for is paid for again.", error=error
        )
        return None
