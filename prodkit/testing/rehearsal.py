"""A rehearsal: the calls that a notebook really makes, put to every fault under the manifest's own policy.

First the notebook runs once against a server on loopback that answers well, and its calls are learnt. Then each
distinct call is sent again for each fault, by the real SDK, through the policy of `prodkit.yaml`. Nothing is sent to
a provider and nothing costs money; the amounts are what the tokens would cost at list prices. Each call is taken for a
new one, so that no earlier answer stands in, and the keys of other providers for ones that are there.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, nearest
from prodkit.resilience import Policy, Target
from prodkit.testing.catalogue import FAULTS, Fault
from prodkit.testing.faults import FaultServer
from prodkit.testing.stage import KEY, Lesson, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal
    from pathlib import Path

    from prodkit.manifest import Project
    from prodkit.testing.exchange import Exchange

MOST_CALLS = 4
SLACK_SECONDS = 0.5  # what a busy machine adds to a deadline
_HEALTHY = "healthy"
_NOT_FOR = {True: ("body",), False: ("stream",)}  # a stream has no body to spoil, a whole answer no stream
_PATHS = {"/chat/completions": "openai", "/embeddings": "openai", "/messages": "anthropic"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One call under one fault.

    Attributes:
        seen: what the user would have seen: `answer`, `answer of MODEL`, `static reply`, or the error's class and code;
            with `, begun anew` after a stream that had to.
        seconds: at the rehearsal's scale.
        requests: how many reached any model's door.
        cost_usd: of the answers that were given; None when nobody can know.
        help: the setting that would help; "" when it passed.
    """

    fault: str
    what: str
    call: str
    seen: str
    seconds: float
    requests: int
    cost_usd: Decimal | None
    passed: bool
    help: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The report.

    Attributes:
        name: of the job or notebook.
        scale: what durations were multiplied by.
        notebook: the (source) notebook's path in the project, with forward slashes.
        digest: of the job folder or the notebook's file, as it was rehearsed.
    """

    name: str
    scale: float
    scenes: tuple[Scene, ...]
    notebook: str = ""
    digest: str = ""

    @property
    def survived(self) -> int:
        """How many scenes passed."""
        return sum(scene.passed for scene in self.scenes)

    @property
    def passed(self) -> bool:
        """Whether every scene passed."""
        return all(scene.passed for scene in self.scenes)

    @property
    def advice(self) -> tuple[str, ...]:
        """The settings that would help, each once, the most helpful first."""
        given = [scene.help for scene in self.scenes if scene.help]
        return tuple(sorted(set(given), key=lambda text: (-given.count(text), text)))


def rehearse(
    notebook: Path,
    project: Project,
    *,
    faults: Sequence[str] = (),
    scale: float = 0.1,
    tell: Callable[[str], None] = lambda _: None,
) -> Rehearsal:
    """Learn a notebook's calls and put them to the faults.

    Args:
        notebook: a notebook, or a job folder.
        project: whose policy and prices hold.
        faults: names from `FAULTS`; empty: all.
        scale: multiplies every duration of the policy and of the faults.
        tell: is told what is being done.

    Raises:
        ConfigError: `rehearsal.no-calls`, `rehearsal.broken` (it doesn't run even when all is well),
            `testing.unknown-fault`, or what is wrong with the policy.
    """
    chosen = tuple(_fault(name) for name in faults) or tuple(FAULTS.values())
    Policy.from_manifest(project.manifest, source=project.manifest_path)
    tell("running it once while all is well, to learn its calls")
    lessons = learn(notebook, project)
    name = notebook.stem if notebook.suffix else notebook.name
    source, digest = _identity(notebook, project)
    return Rehearsal(name, scale, perform(lessons, project, chosen, scale=scale, tell=tell), source, digest)


def perform(
    lessons: Sequence[Lesson],
    project: Project,
    faults: Sequence[Fault],
    *,
    scale: float,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Scene, ...]:
    """Put each call to each fault that can meet it. The arguments are those of `rehearse`."""
    scenes = []
    with FaultServer(scale=scale) as server:
        for lesson in lessons:
            tell(f"warming up: {lesson.label}")
            _play(server, lesson, None, project, scale=1.0)  # SDKs import their parts on first use
        for fault in faults:
            for lesson in lessons:
                if fault.kind not in _NOT_FOR[lesson.streamed]:
                    tell(f"{fault.name}: {lesson.label}")
                    scenes.append(_play(server, lesson, fault, project, scale=scale))
    return tuple(scenes)


def learn(notebook: Path, project: Project) -> tuple[Lesson, ...]:
    """Run a notebook against a server that answers well, and keep one of each distinct call.

    Raises:
        ConfigError: `rehearsal.no-calls` or `rehearsal.broken`.
    """
    from prodkit.jobs.clean_run import run_clean
    from prodkit.jobs.reading import read_notebook

    path = notebook / "job.ipynb" if notebook.is_dir() else notebook
    with _Recorder() as recorder:
        address = {
            "OPENAI_BASE_URL": f"{recorder.url}/v1",
            "OPENAI_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": recorder.url,
            "ANTHROPIC_API_KEY": KEY,
        }
        problems = run_clean(read_notebook(path), project, env=address, directory=_directory(notebook, project))
        lessons = tuple(recorder.lessons.values())[:MOST_CALLS]
    if problems:
        raise ConfigError(
            "rehearsal.broken",
            f"It doesn't run even when all is well: {problems[0].what}",
            where=problems[0].where,
            fix=problems[0].fix,
        )
    if not lessons:
        raise ConfigError(
            "rehearsal.no-calls",
            "It makes no model call that could be rehearsed.",
            where=str(path),
            fix="openai and anthropic clients are seen unless the notebook gives them a base_url of its own",
        )
    return lessons


class _Recorder(FaultServer):
    """A server that answers well and keeps one of each distinct call."""

    def __init__(self) -> None:
        super().__init__()
        self.lessons: dict[tuple[object, ...], Lesson] = {}

    async def _play(self, exchange: Exchange) -> None:
        end = next((end for end in _PATHS if exchange.path.endswith(end)), "")
        if end:
            body = dict(exchange.body)
            lesson = Lesson(_PATHS[end], end, body)
            kind = (end, lesson.model, lesson.streamed, bool(body.get("tools")), bool(body.get("response_format")))
            self.lessons.setdefault(kind, lesson)
        await super()._play(exchange)


def _fault(name: str) -> Fault:
    if name not in FAULTS:
        raise ConfigError("testing.unknown-fault", f"There is no fault `{name}`.", fix=nearest(name, FAULTS))
    return FAULTS[name]


def _identity(notebook: Path, project: Project) -> tuple[str, str]:
    """The notebook's path in the project and the digest of what was rehearsed, as runs are tagged with them."""
    if notebook.is_dir():
        from prodkit.jobs.folder import JobFolder

        folder = JobFolder.load(notebook)
        return folder.index.source.notebook, folder.digest
    from prodkit.capture.code import describe

    tags = describe(project.root, notebook)
    return tags["prodkit.notebook"], tags.get("prodkit.notebook_sha256", "")


def _directory(notebook: Path, project: Project) -> Path | None:
    """Where a job's notebook runs; None for a notebook, which runs where it lies."""
    if not notebook.is_dir():
        return None
    from prodkit.jobs.folder import JobFolder

    return JobFolder.load(notebook).working_directory(project.root)


def _play(server: FaultServer, lesson: Lesson, fault: Fault | None, project: Project, *, scale: float) -> Scene:
    """One call under one fault, judged."""
    server.heal()
    stage = Stage(server, lesson, fault, _policy(project, lesson, server, fault, scale), project)
    if fault is not None:
        server.inject(fault.name, models={lesson.model})
    started = time.perf_counter()
    try:
        seen, right = stage.perform()
        seconds = time.perf_counter() - started
    finally:
        stage.close()
    if fault is None:
        return Scene(_HEALTHY, "no fault", lesson.label, seen, seconds, server.requests.total(), stage.cost, right)
    advice = _advice(stage, fault, seconds, right=right)
    return Scene(
        fault.name, fault.what, lesson.label, seen, seconds, server.requests.total(), stage.cost, not advice, advice
    )


def _policy(project: Project, lesson: Lesson, server: FaultServer, fault: Fault | None, scale: float) -> Policy:
    """The manifest's policy at the rehearsal's scale, with breakers that remember nothing."""
    policy = Policy.from_manifest(project.manifest, source=project.manifest_path)
    address = server.url_for(fault) if fault is not None and fault.address else server.url
    first = policy.chain("", lesson.model)[0]
    spoiled = Target(first.provider or lesson.sdk, lesson.model, first.region, address)
    return dataclasses.replace(
        policy,
        deadline=_scaled(policy.deadline, scale),
        attempt_timeout=_scaled(policy.attempt_timeout, scale),
        wait_initial=policy.wait_initial * scale,
        wait_max=policy.wait_max * scale,
        stream_idle_timeout=policy.stream_idle_timeout * scale,
        models={**policy.models, lesson.model: spoiled},
    )


def _scaled(seconds: float | None, scale: float) -> float | None:
    return None if seconds is None else seconds * scale


def _advice(stage: Stage, fault: Fault, seconds: float, *, right: bool) -> str:
    """The setting that would help; "" when nothing is wrong."""
    policy, model = stage.policy, stage.lesson.model
    if policy.deadline is not None and seconds > policy.deadline + SLACK_SECONDS:
        return "resilience.attempt_timeout: a shorter one; the call outlived its deadline"
    if stage.server.requests[model] > fault.most_requests:
        return f"resilience.retry.attempts: at most {fault.most_requests} for this fault"
    if right:
        return ""
    if fault.expect != "answer":
        return "none: an answer was given where the provider's error was due"
    if stage.broken_off:
        return "resilience.commit: buffer or restart; by default a stream isn't begun anew after its first token"
    if len(policy.chain("", model)) == 1 and policy.static_reply is None:
        return f"models.{model}.fallbacks: another model; or resilience.static_reply"
    return "resilience.static_reply: a last resort"
