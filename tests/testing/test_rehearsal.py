from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from prodkit.errors import ConfigError
from prodkit.testing.catalogue import FAULTS
from prodkit.testing.rehearsal import Lesson, Rehearsal, learn, perform, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest import Project

BODY = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Classify as billing, bug, access, shipping or other: my parcel is lost"}],
}
WHOLE = Lesson("openai", "/chat/completions", BODY)
STREAMED = Lesson("openai", "/chat/completions", {**BODY, "stream": True})
ANTHROPIC = Lesson("anthropic", "/messages", {**BODY, "model": "claude-small", "max_tokens": 20})
ALONE = "resilience: {deadline: 10s, retry: {wait_initial: 50ms, wait_max: 100ms}}\n"
WITH_FALLBACK = """
resilience: {deadline: 10s, retry: {wait_initial: 50ms, wait_max: 100ms}}
models:
- {name: gpt-4o-mini, provider: openai, fallbacks: [gpt-4o]}
- {name: gpt-4o, provider: openai}
"""


def play(project: Project, *names: str, lessons: tuple[Lesson, ...] = (WHOLE,)) -> Rehearsal:
    return Rehearsal("it", 0.1, perform(lessons, project, [FAULTS[name] for name in names], scale=0.1))


def write_notebook(folder: Path, source: str) -> Path:
    parameters = nbformat.v4.new_code_cell("model: str = 'gpt-4o-mini'", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "nb.ipynb")
    return folder / "nb.ipynb"


def test_without_fallback_an_outage_fails_and_says_what_would_help(make_project: Callable[..., Project]):
    """With one model an outage reaches the user, and the report names the setting that would help."""
    report = play(make_project(ALONE), "503")
    scene = report.scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == ("InternalServerError (503)", 3, False)
    assert report.advice == ("models.gpt-4o-mini.fallbacks: another model; or resilience.static_reply",)
    assert not report.passed


def test_with_fallback_the_same_outage_passes_and_is_priced(make_project: Callable[..., Project]):
    """With a second model the user gets its answer, and the report says what the tokens would cost."""
    scene = play(make_project(WITH_FALLBACK), "503").scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == ("answer of gpt-4o", 4, True)
    assert scene.cost_usd is not None
    assert Decimal(0) < scene.cost_usd < Decimal("0.01")


@pytest.mark.parametrize(("fault", "seen"), [("401", "AuthenticationError (401)"), ("400", "BadRequestError (400)")])
def test_own_mistakes_are_told_at_once(make_project: Callable[..., Project], fault: str, seen: str):
    """A wrong key or request passes when the provider's own error reaches the user after one request."""
    scene = play(make_project(WITH_FALLBACK), fault).scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == (seen, 1, True)


def test_static_reply_is_called_so(make_project: Callable[..., Project]):
    """The last resort passes, and is called a static reply."""
    scene = play(make_project("resilience: {deadline: 5s, static_reply: Later.}\n"), "503").scenes[0]
    assert (scene.seen, scene.passed) == ("static reply", True)


def test_whole_and_streamed_calls_meet_their_own_faults(make_project: Callable[..., Project]):
    """A stream isn't tested with a broken body, nor a whole answer with a broken stream."""
    whole = WITH_FALLBACK.replace("{deadline", "{commit: buffer, deadline")
    report = play(make_project(whole), "html", "stream-cut", lessons=(WHOLE, STREAMED))
    assert [(scene.fault, scene.call) for scene in report.scenes] == [
        ("html", "gpt-4o-mini"),
        ("stream-cut", "gpt-4o-mini, streamed"),
    ]
    assert report.passed


def test_anthropic_calls_are_rehearsed_too(make_project: Callable[..., Project]):
    """A call of the other SDK is put to the same faults."""
    scene = play(make_project(ALONE), "503-once", lessons=(ANTHROPIC,)).scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == ("answer", 2, True)


def test_a_stream_that_breaks_off_names_the_setting(make_project: Callable[..., Project]):
    """What the manifest says of streams is what is rehearsed: by default a cut one fails, and `commit` would help."""
    scene = play(make_project(WITH_FALLBACK), "stream-cut", lessons=(STREAMED,)).scenes[0]
    assert (scene.seen, scene.passed) == ("StreamError (resilience.stream-cut)", False)
    assert scene.help.startswith("resilience.commit: ")
    anew = WITH_FALLBACK.replace("{deadline", "{commit: restart, deadline")
    scene = play(make_project(anew, name="anew"), "stream-cut", lessons=(STREAMED,)).scenes[0]
    assert (scene.seen, scene.passed) == ("answer of gpt-4o, begun anew", True)


@pytest.mark.parametrize("streamed", [False, True])
def test_another_providers_answer_is_rehearsed(make_project: Callable[..., Project], streamed: bool):
    """A fallback with another wire format is rehearsed as the guard uses it: translated, there and back."""
    other = WITH_FALLBACK.replace("gpt-4o,", "claude-small,").replace("[gpt-4o]", "[claude-small]")
    other = other.replace("claude-small, provider: openai", "claude-small, provider: anthropic")
    scene = play(make_project(other), "503", lessons=(STREAMED if streamed else WHOLE,)).scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == ("answer of claude-small", 4, True)
    scene = play(
        make_project(other, name="n"), "503", lessons=(Lesson("openai", WHOLE.path, {**BODY, "n": 2}),)
    ).scenes[0]
    assert (scene.seen, scene.requests, scene.passed) == ("InternalServerError (503)", 3, False)


@pytest.mark.slow
def test_an_exported_job_is_rehearsed_and_its_review_says_so(example: Project, monkeypatch: pytest.MonkeyPatch):
    """`prodkit rehearse JOB` ends with 0 or 1, tells what was seen, and the review of the job's runs shows it."""
    from click.testing import CliRunner

    from prodkit.cli import cli
    from prodkit.jobs import export
    from prodkit.jobs.folder import JobFolder
    from prodkit.ledger import Ledger
    from prodkit.records import RunSpec, Status
    from prodkit.review.facts import gather

    monkeypatch.chdir(example.root)
    job = example.root / "jobs" / "triage"
    export(example.root / "notebooks" / "triage.ipynb", to=job)
    folder = JobFolder.load(job)

    def review() -> tuple[str, ...]:
        ledger = Ledger.open(example)
        tags = {"prodkit.source_notebook": folder.index.source.notebook, "prodkit.job_digest": folder.digest}
        run = ledger.start_run(RunSpec("triage", "job", f"job-{len(found)}", tags=tags))
        ledger.end_run(run, status=Status.OK)
        ledger.flush()
        facts = gather(example, run.run_id)
        found.append(facts)
        return facts.findings

    found: list = []
    assert any("never rehearsed" in one for one in review())
    told = CliRunner().invoke(cli, ["rehearse", str(job), "--fault", "503", "--fault", "stream-cut"])
    assert told.exit_code == 0, told.output
    assert "3 of 3 passed" in told.output
    assert not any("rehears" in one for one in review())
    rehearsed = found[-1].rehearsed
    assert (rehearsed.passed, rehearsed.scenes, rehearsed.digest, rehearsed.current) == (3, 3, folder.digest, True)
    alone = (example.root / "prodkit.yaml").read_text().replace("    fallbacks: [gpt-4o]\n", "")
    (example.root / "prodkit.yaml").write_text(alone)
    told = CliRunner().invoke(cli, ["rehearse", str(job), "--fault", "503"])
    assert told.exit_code == 1, told.output
    assert "models.gpt-4o-mini.fallbacks: another model" in told.output
    assert any("Faults that it didn't survive in the rehearsal: 503." in one for one in review())


def test_notebooks_calls_are_learnt_and_rehearsed(make_project: Callable[..., Project]):
    """The notebook runs once against this machine only, each distinct call is learnt once, and is rehearsed."""
    project = make_project(WITH_FALLBACK)
    source = (
        "from openai import OpenAI\nclient = OpenAI()\n"
        "for text in ('a', 'b'):\n"
        "    client.chat.completions.create(model=model, messages=[{'role': 'user', 'content': text}])"
    )
    report = rehearse(write_notebook(project.root, source), project, faults=["503"])
    assert [(scene.call, scene.seen) for scene in report.scenes] == [("gpt-4o-mini", "answer of gpt-4o")]


@pytest.mark.parametrize(
    ("source", "code"), [("1 + 1", "rehearsal.no-calls"), ("raise ValueError('no')", "rehearsal.broken")]
)
def test_nothing_to_rehearse_is_one_clear_error(make_project: Callable[..., Project], source: str, code: str):
    """A notebook without a model call, or one that doesn't run when all is well, is refused with the reason."""
    project = make_project(ALONE)
    with pytest.raises(ConfigError) as caught:
        learn(write_notebook(project.root, source), project)
    assert caught.value.code == code


def test_unknown_fault_names_the_nearest(make_project: Callable[..., Project]):
    """A misspelt fault is refused before anything runs."""
    with pytest.raises(ConfigError, match="did you mean `stream-cut`"):
        rehearse(Path("nb.ipynb"), make_project(ALONE), faults=["stream-cutt"])
