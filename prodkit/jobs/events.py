"""What a run tells while it goes on; progress displays and journals are made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prodkit.jobs.ends import Outcome


@dataclass(frozen=True, slots=True)
class CellEvent:
    """Something happened to a code cell. Durations are seconds."""

    kind: Literal["start", "end", "retry", "restored"]
    index: int  # in the executed notebook
    position: int  # among the code cells, from 1
    total: int  # code cells
    title: str  # the cell's first line
    outcome: Outcome = Outcome.RUNNING
    seconds: float = 0.0
    error: str = ""  # the class of the error
    waits: float = 0.0  # until the retry


@dataclass(frozen=True, slots=True)
class AttemptEvent:
    """An attempt in a fresh kernel began, ended, or will begin after a wait. Durations are seconds."""

    kind: Literal["start", "end", "wait"]
    number: int  # from 1
    limit: int  # attempts at most
    outcome: Outcome = Outcome.RUNNING
    seconds: float = 0.0
    error: str = ""
    message: str = ""
    waits: float = 0.0


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A run began: it is on record, and nothing of it was run yet. `run_id` and `url` are MLflow's, "" when away."""

    job: str
    run: str
    run_id: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class OutputEvent:
    """Whole lines that the notebook has written, cleaned as the executed notebook is."""

    stream: Literal["stdout", "stderr"]
    text: str


Event = CellEvent | AttemptEvent | RunEvent | OutputEvent
OnEvent = Callable[[Event], None]
