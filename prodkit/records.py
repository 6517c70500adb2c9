"""The nouns that cross rooms. All are frozen: what was recorded is what is shown.

Money is `Decimal` US dollars, times are aware UTC datetimes, durations are seconds. `None` means "not known" and is
shown as such; it never stands for zero.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, TypeVar

R = TypeVar("R")
JSON = Any
"""A value that `json.dumps` takes as it is."""


def now() -> datetime:
    """The current time in UTC, with its zone."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """A new id that sorts by time within a process tree: `req-0198...`."""
    return f"{prefix}-{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}"


def altered(record: R, **changes: Any) -> R:
    """A record with other values, as `dataclasses.replace` gives it, without its checks: for what each call does."""
    made = object.__new__(type(record))
    for name in record.__slots__:  # type: ignore[attr-defined]
        object.__setattr__(made, name, changes[name] if name in changes else getattr(record, name))
    return made


class Status(StrEnum):
    """How a call, a cell or a job ended."""

    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    ABORTED = "aborted"  # the caller left in the middle: cancellation, interrupt, an unread stream
    REFUSED = "refused"  # we didn't let it start: budget, contract, kill switch


class DataSource(StrEnum):
    """Where the content of a request comes from, as an auditor asks for it."""

    USER_INPUT = "user_input"
    CRM = "crm"
    DOCS = "docs"
    DATABASE = "database"
    FILES = "files"
    STREAM = "stream"
    WEB = "web"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `input_tokens` includes the cached ones; `output_tokens` includes reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    estimated: bool = False  # counted by us, because the provider sent no figures


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of one call, and what the figure rests on."""

    usd: Decimal | None = None
    status: Literal["priced", "estimated", "unpriced"] = "unpriced"
    source: str = ""  # "genai-prices 0.2.3", "prodkit.yaml"
    price_date: date | None = None
    reason: str = ""  # why it is unpriced or estimated
    input_usd: Decimal | None = field(default=None, compare=False)  # what the prompt alone would have cost


PASSED_OVER = "passed-over"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one call at one target. Never holds arguments."""

    target: str
    failure_class: str  # "" when it succeeded, `passed-over` when the call couldn't go there and nothing was sent
    seconds: float
    waited: float = 0.0
    breaker: str = "closed"
    http_status: int | None = None
    cost_usd: Decimal | None = None

    @property
    def failed(self) -> bool:
        """Whether something was sent that went wrong."""
        return self.failure_class not in {"", PASSED_OVER}


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A prompt template as the registry holds it."""

    name: str
    version: int | None  # None until MLflow has answered
    digest: str
    template: str

    @property
    def uri(self) -> str:
        """`prompts:/NAME/VERSION`, or with the digest while the version isn't known."""
        return f"prompts:/{self.name}/{self.version if self.version is not None else '@' + self.digest[:12]}"


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The only span of a trace, of which all else follows from its call."""

    name: str
    kind: str  # MLflow's span type
    content: tuple[str, ...]  # the request's fields that the call's prompt stands for
    message_format: str = ""
    tags: dict[str, str] = field(default_factory=dict)  # what MLflow says of every trace that begins here and now
    metadata: dict[str, str] = field(default_factory=dict)
    failure: dict[str, JSON] | None = None  # the event of the exception that ended the call


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One request to a model: who sent what, from where, to which model, and what it cost."""

    request_id: str
    name: str  # the cell or run that the call belongs to
    started: datetime
    ended: datetime
    status: Status
    provider: str = ""
    model: str = ""
    parameters: dict[str, JSON] = field(default_factory=dict)  # temperature and so on
    prompt: JSON = None
    response: JSON = None
    usage: Usage = Usage()
    cost: Cost = Cost()
    user: str = ""
    session: str = ""
    data_source: str = ""
    purpose: str = ""
    region: str = ""
    trace_id: str = ""
    span_id: str = ""
    run_key: str = ""
    error: str = ""
    prompts: tuple[str, ...] = ()  # URIs of prompt versions
    datasets: tuple[str, ...] = ()  # digests of the run's inputs
    attempts: tuple[Attempt, ...] = ()
    served_by: str = ""
    degraded: bool = False
    simulated: bool = False
    streamed: bool = False
    first_token_seconds: float | None = None
    retention_class: str = ""  # whose retention period holds: `compliance`, or the name of a data source
    expires: date | None = None  # the day after which the content needn't, or mustn't, be kept
    span: CallSpan | None = None  # of a call that stands alone; the spans of others are their trace's

    @property
    def seconds(self) -> float:
        """Wall time of the call."""
        return (self.ended - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """A finished trace: its spans as MLflow's `Span.to_dict()` gives them, and the calls found among them."""

    trace_id: str
    spans: tuple[dict[str, JSON], ...]
    calls: tuple[CallRecord, ...] = ()
    run_key: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What a person says of one answer. MLflow shows it at the call's trace as a human assessment."""

    id: str
    request_id: str
    trace_id: str
    person: str  # who said it
    value: bool | float | str  # e.g. True for a thumb up, 4.0 for a score
    name: str = "human_review"  # what is judged
    comment: str = ""
    given: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of a contract that the data breaks. Holds positions and counts, never values."""

    rule: str  # stable id, e.g. "priority.enum"
    column: str  # "" for a rule over rows or the whole frame
    count: int
    checked: int
    what: str
    rows: tuple[int, ...] = ()  # positions (0-based) of the first failing rows
    severity: Literal["error", "warning"] = "error"
    examples: tuple[str, ...] = ()  # only from columns that the contract calls public

    @property
    def share(self) -> float:
        """Failing rows over checked rows."""
        return self.count / self.checked if self.checked else 0.0


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A dataset that a run read or wrote."""

    name: str
    source: str  # a URI without credentials
    digest: str  # at most 36 characters, for MLflow
    fingerprint: str = ""  # the full content id
    context: str = "input"  # "input" or "output"
    kind: str = ""
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()  # (name, type)
    contract: str = ""
    rows_failed: int | None = None
    attributes: dict[str, str] = field(default_factory=dict)  # owner, region, classification, retention, ...


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run is opened with."""

    name: str
    kind: Literal["session", "cell", "compare", "job", "attempt", "item", "review"]
    key: str  # our own stable id
    parent_key: str = ""
    parent_run_id: str = ""  # MLflow's id of a parent that another process has opened
    started: datetime = field(default_factory=now)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunHandle:
    """An open run. `run_id` and `url` are empty while MLflow can't be reached; `key` always holds."""

    key: str
    name: str
    run_id: str = ""
    experiment_id: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model was used for: calls that were sent, their tokens, and what they cost as far as that is known."""

    model: str
    calls: int = 0
    unpriced: int = 0
    input_tokens: int | None = None  # None when no call said
    output_tokens: int | None = None
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: ModelUse) -> ModelUse:
        """Both together."""
        return ModelUse(
            self.model,
            self.calls + other.calls,
            self.unpriced + other.unpriced,
            _known_sum(self.input_tokens, other.input_tokens),
            _known_sum(self.output_tokens, other.output_tokens),
            self.cost_usd + other.cost_usd,
        )


def _known_sum(left: int | None, right: int | None) -> int | None:
    return right if left is None else left if right is None else left + right


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run's card and report show."""

    name: str
    status: Status
    started: datetime
    ended: datetime | None = None
    calls: int = 0
    errors: int = 0
    unpriced: int = 0
    estimated: int = 0
    degraded: int = 0
    refused: int = 0
    failed_attempts: int = 0  # of calls that were answered in the end, too
    input_tokens: int | None = None  # None when no call said
    output_tokens: int | None = None
    cost_usd: Decimal = Decimal(0)  # the sum of what is priced; `unpriced` says how many calls are missing
    budget_usd: Decimal | None = None
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    simulated: bool = False
    models: tuple[str, ...] = ()
    by_model: tuple[ModelUse, ...] = ()
    prompts: tuple[str, ...] = ()
    datasets: tuple[DatasetRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    rows_checked: int | None = None
    rows_quarantined: int | None = None
    redactions: dict[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()  # one sentence each, for what the user must know
    run_id: str = ""
    url: str = ""

    @property
    def seconds(self) -> float | None:
        """Wall time, None while it runs."""
        return (self.ended - self.started).total_seconds() if self.ended else None
