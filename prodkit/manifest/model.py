"""The sections of prodkit.yaml and what each key means. The JSON Schema for editors is generated from here."""

from __future__ import annotations

import re
from datetime import date  # noqa: TC003  pydantic reads the annotations at run time
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from prodkit.records import DataSource

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)?")
_VARIABLE_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def _seconds(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("write a duration as a number of seconds or as 500ms, 30s, 5m, 2h, 1d")
        return float(match["number"]) * _UNITS[match["unit"]]
    return value


def _money(value: object) -> object:
    # a YAML float such as 0.10 reaches us as binary; its shortest repr is what the author wrote
    if isinstance(value, bool):
        raise ValueError("write an amount in US dollars, e.g. 0.50")  # noqa: TRY004  pydantic wants ValueError
    return Decimal(repr(value)) if isinstance(value, float) else value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        raise ValueError("use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit")
    return value


def _variable(value: str) -> str:
    if value and not re.fullmatch(r"[A-Z][A-Z0-9_]*", value):
        raise ValueError("write the name of an environment variable, such as ANTHROPIC_API_KEY, not the key itself")
    return value


def _state_address(value: str) -> str:
    if value in {"", "local", "mlflow"} or _VARIABLE_REFERENCE.fullmatch(value):
        return value
    if not value.startswith(("postgresql://", "postgres://", "postgresql+")):
        raise ValueError("write `local`, `mlflow`, an address `postgresql://user@host/database`, or `${VARIABLE}`")
    parts = urlsplit(value)
    said = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    if any(word and not _VARIABLE_REFERENCE.fullmatch(word) for word in said):
        raise ValueError("a password is no part of the manifest: write `${VARIABLE}`, or use PGPASSWORD or PGPASSFILE")
    return value


def _quantity(value: object) -> object:
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(r"\d+(\.\d+)?(m|[kMGTP]|[KMGTP]i)?", text):
        raise ValueError("write an amount as Kubernetes does: 500m, 2, 512Mi, 2Gi")
    return text


def _address(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*(://[^\s@{}'\"]*)?", value):
        raise ValueError(
            "write an address such as https://mlflow.example.org, without a name, password, quotes or braces"
        )
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Money = Annotated[Decimal, BeforeValidator(_money), Field(ge=0)]
Name = Annotated[str, AfterValidator(_name)]
StateAddress = Annotated[str, AfterValidator(_state_address)]
Quantity = Annotated[str, BeforeValidator(_quantity)]
Address = Annotated[str, AfterValidator(_address)]
KeyVariable = Annotated[str, AfterValidator(_variable)]
Classification = Literal["public", "internal", "confidential", "restricted"]


class Section(BaseModel):
    """A part of the manifest: unknown keys are refused, values don't change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(Section):
    """What this is and how much depends on it."""

    name: Name = Field(description="Short name; also the MLflow experiment's name.")
    purpose: str = Field(default="", description="One sentence for reviewers: what it does, and for whom.")
    lifecycle: Literal["experimental", "production", "deprecated"] = "experimental"
    tier: Literal["critical", "high", "medium", "low"] = "medium"
    risk_class: Literal["minimal", "limited", "high"] = Field(
        default="minimal", description="EU AI Act risk class, as assessed by your own lawyers."
    )


class Person(Section):
    """Somebody who can be reached."""

    name: str
    email: str
    chat: str = ""
    pager: str = Field(default="", description="Address or URL that wakes this person up.")
    backup: str = Field(default="", description="Id of the person who stands in.")


class Team(Section):
    """A group of people with one lead, who answers for it."""

    name: str
    lead: str = Field(default="", description="Id of a person.")
    members: tuple[str, ...] = ()
    email: str = ""
    chat: str = ""


class Raci(Section):
    """Who does it, who answers for it, who is asked, who is told. Ids of people or teams."""

    R: tuple[str, ...] = Field(default=(), description="Responsible: does the work.")
    A: tuple[str, ...] | str = Field(default=(), description="Accountable: answers for it; exactly one.")
    C: tuple[str, ...] = Field(default=(), description="Consulted before.")
    I: tuple[str, ...] = Field(default=(), description="Informed after.")  # noqa: E741  the letter is the name

    @property
    def accountable(self) -> tuple[str, ...]:
        """The accountable ids, always as a tuple."""
        return (self.A,) if isinstance(self.A, str) else self.A


class Waiver(Section):
    """A rule that doesn't apply for a while, and who said so."""

    rule: str
    reason: str
    approver: str
    expires: date


class Owners(Section):
    """People, teams and the RACI matrix by activity."""

    people: dict[Name, Person] = Field(default_factory=dict)
    teams: dict[Name, Team] = Field(default_factory=dict)
    raci: dict[str, Raci] = Field(default_factory=dict, description="Activity -> R, A, C, I.")
    escalation: tuple[str, ...] = Field(default=(), description="Ids in the order in which they are called.")
    review_by: date | None = Field(default=None, description="When this ownership must be looked at again.")
    waivers: tuple[Waiver, ...] = ()


class DataSourceSpec(Section):
    """Where data comes from, whose it is, and what may be done with it."""

    kind: Literal["excel", "csv", "parquet", "sql", "http", "frame"] = Field(description="How it is read.")
    location: str = Field(default="", description="Path, glob or URL, relative to this file; no credentials.")
    contract: str = Field(default="", description="Path of its data contract (ODCS YAML).")
    owner: str = ""
    region: str = Field(default="", description="Where the data lies, e.g. eu, eu-central-1, us.")
    classification: Classification = "internal"
    pii: bool = False
    retention_days: int | None = Field(default=None, gt=0)
    ip_owner: str = Field(default="", description="Who owns the intellectual property in it.")
    data_source: DataSource = DataSource.FILES
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the reader of this kind.")


class Price(Section):
    """A contract or self-hosted price in US dollars per million tokens. It wins over the public price table."""

    input: Money = Field(description="Per million input tokens.")
    output: Money = Field(description="Per million output tokens.")
    cache_read: Money | None = None
    cache_write: Money | None = None
    since: date | None = Field(default=None, description="From this day on; earlier calls keep the public price.")


class ModelSpec(Section):
    """A model that this service may call."""

    name: str
    provider: str = Field(description="openai, anthropic, ... as the price table spells it.")
    region: str = ""
    base_url: str = ""
    allowed_classifications: tuple[Classification, ...] = ("public", "internal")
    api_key: KeyVariable = Field(
        default="",
        description="Name of the environment variable with the key, never the key itself; PROVIDER_API_KEY by default.",
    )
    price: Price | None = None
    fallbacks: tuple[str, ...] = Field(
        default=(), description="Names of models to try next, in order; in place of those of resilience.fallback."
    )

    @property
    def key_variable(self) -> str:
        """The environment variable with its key."""
        return self.api_key or f"{re.sub(r'[^A-Z0-9]', '_', self.provider.upper())}_API_KEY"


class Retry(Section):
    """The one retry layer around a call."""

    attempts: int = Field(default=3, ge=1, le=10)
    wait_initial: Seconds = 0.5
    wait_max: Seconds = 8.0


class Breaker(Section):
    """When a target is left alone for a while."""

    window: int = Field(default=20, ge=2)
    minimum: int = Field(default=5, ge=1)
    failure_share: float = Field(default=0.5, gt=0, le=1)
    open_for: Seconds = 30.0
    shared: bool = Field(default=False, description="Share the state between processes through SQLite.")


class Cached(Section):
    """An earlier answer to the very same request, kept encrypted on this machine."""

    max_age: Seconds = Field(description="Older answers aren't served, and are removed.")


class FallbackStep(Section):
    """One step of the chain, said in full: exactly one of the three."""

    model: str | None = Field(default=None, description="Name of a model.")
    cached: Cached | None = Field(default=None, description="After all models: an earlier answer, marked as degraded.")
    static: str | None = Field(default=None, description="The last step: a text, marked as degraded.")

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(value is not None for value in (self.model, self.cached, self.static)) != 1:
            raise ValueError("write one of `model:`, `cached:` and `static:`")
        return self


def _kind_of_step(value: object) -> str:
    return "name" if isinstance(value, str) else "step"


Fallback = Annotated[Annotated[str, Tag("name")] | Annotated[FallbackStep, Tag("step")], Discriminator(_kind_of_step)]


class Resilience(Section):
    """What happens when a provider fails."""

    enabled: bool = True
    deadline: Seconds = Field(default=60.0, description="For one call with all its attempts.")
    attempt_timeout: Seconds | None = None
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    fallback: tuple[Fallback, ...] = Field(
        default=(),
        description="What to try next, in order: names of models, then `cached: {max_age: 24h}`, then `static: text`.",
    )
    max_concurrent: int | None = Field(
        default=None, ge=1, description="So many calls at once in one process; the others wait."
    )
    fallback_also_on: tuple[str, ...] = Field(
        default=(), description="Classes of failures that go to the fallback although they usually don't: filtered."
    )
    static_reply: str | None = Field(
        default=None, description="The last resort; the call is marked as degraded. The same as the step `static`."
    )
    stream_idle_timeout: Seconds = 30.0
    commit: Literal["first_token", "buffer", "restart"] = Field(
        default="first_token",
        description="When a stream's pieces are passed on: from the first token on, without a fallback after it; only "
        "when the answer is whole; or at once, with a piece that says when another target begins anew.",
    )

    @property
    def models(self) -> tuple[tuple[int, str], ...]:
        """The models of the chain, each with its place in `fallback`."""
        steps = ((at, step if isinstance(step, str) else step.model) for at, step in enumerate(self.fallback))
        return tuple((at, name) for at, name in steps if name is not None)

    @property
    def cached(self) -> Cached | None:
        """The step that serves earlier answers."""
        steps = [step.cached for step in self.fallback if not isinstance(step, str) and step.cached is not None]
        return steps[0] if steps else None

    @property
    def last_words(self) -> str | None:
        """The static reply, wherever it is said."""
        steps = [step.static for step in self.fallback if not isinstance(step, str) and step.static is not None]
        return steps[0] if steps else self.static_reply


class Budget(Section):
    """Hard limits in US dollars. None means: no limit."""

    per_run: Money | None = None
    per_day: Money | None = None
    per_month: Money | None = None
    per_user: Money | None = Field(default=None, description="Per user and day.")
    thresholds: tuple[float, ...] = Field(default=(0.5, 0.8, 0.95), description="Shares at which to announce.")
    unpriced: Literal["refuse", "allow"] = Field(
        default="refuse", description="What happens under a budget to a call whose price isn't known."
    )


class Slo(Section):
    """A promise that is measured."""

    metric: str
    objective: float
    window: str = "30d"


class Alert(Section):
    """When somebody is told, and whom: the accountable person of the activity."""

    name: str
    metric: str
    threshold: float
    window: str = "1h"
    activity: str = Field(description="Key of owners.raci.")


class Compute(Section):
    """US dollars an hour, to price the machine beside the tokens."""

    cpu_core_hour: Money | None = None
    memory_gb_hour: Money | None = None
    gpu_hour: Money | None = None


class Resources(Section):
    """What one run needs of a machine, in the quantities of Kubernetes."""

    cpu: Quantity = Field(default="1", description="Processors, e.g. 2 or 500m.")
    memory: Quantity = Field(default="2Gi", description="Reserved for a run, and its limit.")
    state: Quantity | Literal["none"] = Field(
        default="1Gi",
        description="Size of the volume that keeps history, budgets and paid answers between runs; `none`: they end "
        "with each run.",
    )


class Job(Section):
    """How the exported job runs."""

    schedule: str = Field(default="", description="Five cron fields.")
    timezone: str = "UTC"
    image: str = Field(
        default="", description="The image that runs the job, e.g. registry.local/triage:1: Kubernetes needs it."
    )
    tracking_uri: Address = Field(
        default="",
        description="MLflow's address for runs that other schedulers start, e.g. https://mlflow.example.org; "
        "credentials come from the scheduler's secrets.",
    )
    resources: Resources = Resources()
    timeout: Seconds = 3600.0
    cell_timeout: Seconds | None = None
    retries: int = Field(default=2, ge=0, le=10, description="Attempts after the first, on transient outcomes only.")
    retry_wait: Seconds = 5.0
    pool: Name = Field(default="default", description="The queue of `prodkit scheduler` that it waits in.")
    priority: int = Field(default=0, description="In its queue; higher numbers start first.")


class Scheduler(Section):
    """The scheduler of this project, `prodkit scheduler`."""

    pools: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="How many jobs of a pool run at a time; a pool that isn't named here: one."
    )


class Compliance(Section):
    """What legal and security asked for."""

    residency: tuple[str, ...] = Field(default=(), description="Regions in which data may be processed; empty: any.")
    retention_days: int = Field(default=180, gt=0)
    oversight: str = Field(default="", description="Id of the person who oversees the system.")


class Redaction(Section):
    """What happens to secrets and personal data before anything is written."""

    policy: dict[str, Literal["redact", "hash", "keep"]] = Field(
        default_factory=dict, description="Class of finding (email, iban, ...) -> what to do; secrets can't be kept."
    )


class Manifest(Section):
    """prodkit.yaml."""

    service: Service = Service(name="demo")
    owners: Owners = Owners()
    data_sources: dict[Name, DataSourceSpec] = Field(default_factory=dict)
    models: tuple[ModelSpec, ...] = ()
    resilience: Resilience = Resilience()
    budget: Budget = Budget()
    slo: tuple[Slo, ...] = ()
    alerts: tuple[Alert, ...] = ()
    compute: Compute = Compute()
    job: Job = Job()
    scheduler: Scheduler = Scheduler()
    compliance: Compliance = Compliance()
    redaction: Redaction = Redaction()
    state: StateAddress = Field(
        default="",
        description="Where budgets, locks, history and idempotency keys are kept: in the project's folder by default; "
        "`postgresql://user@host/database` or `mlflow` (MLflow's own PostgreSQL) for several machines. No password.",
    )
    runbook: str = Field(default="", description="Path or URL of the runbook.")
    kill_switch: str = Field(default="", description="Path of a file; while it exists, no call and no job starts.")

    def model_named(self, name: str) -> ModelSpec | None:
        """The entry of `models` with this name."""
        return next((model for model in self.models if model.name == name), None)
