"""A job without its key says so with exit code 78; it is never answered by the simulated provider, and never retried."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.cli.credentials import take_credentials
from prodkit.errors import ConfigError
from prodkit.jobs.ends import Failure, Outcome
from prodkit.testing import openai_options, simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.testing import SimulatedProvider

ASK = """
from openai import OpenAI
from prodkit.testing import openai_options
print(OpenAI(**openai_options()).models.list().data[0].id)
"""
BARE = """
from openai import OpenAI
OpenAI()
"""
MODELS = "models:\n  - {name: gpt-4o-mini, provider: openai}\n  - {name: x, provider: acme, api_key: ACME_TOKEN}\n"


@pytest.mark.parametrize("code", [ASK, BARE], ids=["options", "bare"])
def test_a_job_without_a_key_is_misconfigured(
    code: str, make_job: Callable[..., Path], run_here: Callable[..., Any]
) -> None:
    """Code that would fall back to the simulated provider, and code that would not, both end with 78 at once."""
    result = run_here(make_job(code), retries=2, retry_wait=0.01)
    assert (result.outcome, result.outcome.exit_code, len(result.attempts)) == (Outcome.MISCONFIGURED, 78, 1)
    assert "OPENAI_API_KEY" in result.attempts[0].message


def test_a_provider_that_is_named_is_used(
    make_job: Callable[..., Path],
    run_here: Callable[..., Any],
    prodkit_provider: SimulatedProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever names the simulated provider gets it in a job too: rehearsals and the demo run on it."""
    for name, value in prodkit_provider.environment().items():
        monkeypatch.setenv(name, value)
    assert run_here(make_job(ASK)).outcome is Outcome.OK


def test_simulation_is_off_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the switch that a job sets no way leads to a provider of one's own; with a key the options are empty."""
    monkeypatch.setenv("PRODKIT_SIMULATION", "off")
    monkeypatch.setattr("prodkit.testing.client._running", None)  # one that an earlier test has asked for
    for ask in (openai_options, simulated_provider, lambda: simulated_provider(fresh=True)):
        with pytest.raises(ConfigError, match=r"testing\.simulation-off"):
            ask()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert openai_options() == {}


def test_a_dead_provider_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a job the named provider, when it is gone, isn't replaced by another one."""
    monkeypatch.setenv("PRODKIT_SIMULATION", "off")
    monkeypatch.setenv("PRODKIT_SIMULATED_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("prodkit.testing.client._running", None)
    with pytest.raises(ConfigError, match=r"testing\.simulation-off"):
        openai_options()


def test_the_script_twin_does_not_simulate(make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python job.py` without a key is refused as the job is."""
    job = make_job("x = 1")
    (job / "job.py").write_text("from prodkit.jobs.twin import Twin\nTwin(__file__, [])\n" + ASK)
    monkeypatch.chdir(job)
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.delenv("PRODKIT_SIMULATION", raising=False)
    with pytest.raises(ConfigError, match=r"testing\.simulation-off"):
        runpy.run_path(str(job / "job.py"))


def test_an_empty_key_is_refused_before_the_start(
    make_job: Callable[..., Path], run_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler gives a secret that it doesn't have as an empty text: that is a set-up error, named by its variable."""
    job = make_job("raise SystemExit('not reached')", manifest=MODELS)
    monkeypatch.setenv("ACME_TOKEN", "")
    with pytest.raises(ConfigError, match="ACME_TOKEN is set, and empty") as caught:
        run_here(job)
    assert (caught.value.code, caught.value.exit_code) == ("jobs.empty-key", 78)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OpenAIError", "Missing credentials. Please pass an `api_key`, or set the `OPENAI_API_KEY` variable."),
        ("OpenAIError", "The api_key client option must be set either by passing api_key to the client or by ..."),
        ("TypeError", "Could not resolve authentication method. Expected one of api_key, auth_token to be set."),
    ],
)
def test_what_the_sdks_say_of_a_missing_key(name: str, message: str) -> None:
    """The SDKs' own words for a missing key mean a wrong set-up, whatever class they come in."""
    assert Failure(name, message).outcome is Outcome.MISCONFIGURED


def test_the_words_are_those_of_the_installed_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs that are installed do say so."""
    anthropic, openai = pytest.importorskip("anthropic"), pytest.importorskip("openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(openai.OpenAIError) as first:
        openai.OpenAI()
    with pytest.raises(TypeError) as second:
        anthropic.Anthropic().messages.create(model="x", max_tokens=1, messages=[])
    for caught in (first, second):
        assert Failure(type(caught.value).__name__, str(caught.value)).outcome is Outcome.MISCONFIGURED


def test_credentials_become_variables(tmp_path: Path) -> None:
    """Files in systemd's folder that are called like variables are taken, without what is set and what isn't a name."""
    for name, text in {"ACME_TOKEN": "one\n", "OPENAI_API_KEY": "two", "not-a-name": "x", "PATH": "/nowhere"}.items():
        (tmp_path / name).write_text(text)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "PATH": "/bin", "OPENAI_API_KEY": ""}
    take_credentials(environ)
    assert environ == {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "PATH": "/bin",
        "OPENAI_API_KEY": "two",
        "ACME_TOKEN": "one",
    }
    (tmp_path / "BROKEN").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cli\.credential"):
        take_credentials(environ)
