"""What stands between a call and its provider: kill switch, budget, resilience."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prodkit.capture import run
from prodkit.errors import BudgetError, ProdkitError
from prodkit.records import Status
from prodkit.resilience import OpenError

QUICK = "resilience: {retry: {attempts: 3, wait_initial: 10ms, wait_max: 20ms}, deadline: 5s%s}\n"


def test_a_broken_budget_refuses_the_call(here, provider, client, ask):
    """The call that would break the run's budget isn't sent; it raises, and the run's status and card say so."""
    here()
    with pytest.raises(BudgetError, match="budget"), run("cheap", budget="0.00001") as opened:
        ask(client, "A question that costs more than that. " * 50)
    [call] = opened.calls
    assert call.status is Status.REFUSED
    assert opened.status is Status.REFUSED
    assert opened.cost == 0
    assert opened.summary().refused == 1
    assert opened.summary().calls == 0


def test_a_budget_holds_against_fifty_threads(here, client, ask):
    """Fifty concurrent calls spend at most the budget, although each alone would fit."""
    here()
    refused = []

    def one(number):
        try:
            ask(client, f"Ticket {number}: My invoice is wrong.", max_tokens=40)
        except BudgetError as error:
            refused.append(error)

    with run("classify", budget="0.0005") as opened, ThreadPoolExecutor(50) as pool:
        list(pool.map(one, range(100)))
    assert refused
    assert 0 < opened.cost <= Decimal("0.0005")
    assert len(opened.calls) == 100


def test_budgets_of_the_manifest_hold_over_runs(here, client, ask):
    """The manifest's daily budget counts what earlier runs have spent."""
    here("budget: {per_day: 0.0002}\n")
    done = []

    def cells():
        for number in range(50):
            with run(f"cell-{number}") as opened:
                ask(client, max_tokens=40)
            done.append(opened)

    with pytest.raises(BudgetError) as caught:
        cells()
    assert caught.value.code == "budget.exceeded"
    assert len(done) > 1
    assert sum(one.cost for one in done) <= Decimal("0.0002")


def test_an_unpriced_call_is_refused_under_a_budget(here, client):
    """Under a budget a call whose price isn't known is refused, because no budget could hold."""
    here()
    with pytest.raises(BudgetError) as caught, run("own", budget="1"):
        client.chat.completions.create(model="our-own-model", messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.code == "budget.unpriced"


def test_the_kill_switch_stops_runs_and_calls(here, client, ask):
    """While the kill switch lies there no run starts and no call is sent; both are refused by name."""
    project = here("kill_switch: STOP\n")
    with run("first") as opened:
        ask(client)
        (project.root / "STOP").touch()
        with pytest.raises(ProdkitError) as caught:
            ask(client)
    assert caught.value.code == "capture.kill-switch"
    assert [call.status for call in opened.calls] == [Status.OK, Status.REFUSED]
    with pytest.raises(ProdkitError) as caught, run("second"):
        pass
    assert caught.value.code == "capture.kill-switch"


def test_transient_failures_are_retried_once_over(here, provider, client, ask):
    """Two 503 are survived by one retry layer, the SDK's own being off, and each attempt is on the record."""
    here(QUICK % "")
    before = provider.stats()["requests"]
    with run("retry") as opened:
        provider.outage(2, 503)
        ask(client)
    [call] = opened.calls
    assert call.status is Status.OK
    assert [bool(attempt.failure_class) for attempt in call.attempts] == [True, True, False]
    assert provider.stats()["requests"] - before == 3


def test_a_stream_is_retried_before_its_first_token(here, provider, client):
    """A stream that fails before its first token is opened again, and the user's loop sees one whole answer."""
    here(QUICK % "")
    with run("retry") as opened:
        provider.outage(1, 503)
        stream = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Say hello."}]
        )
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    [call] = opened.calls
    assert said
    assert call.status is Status.OK
    assert len(call.attempts) == 2


def test_a_lasting_failure_reaches_the_user(here, provider, client, ask):
    """When every attempt fails the SDK's own error is raised, and the call is an error that cost nothing."""
    import openai

    here(QUICK % "")
    with run("outage") as opened:
        provider.outage(50, 503)
        with pytest.raises(openai.InternalServerError):
            ask(client)
        provider.outage(0)
    [call] = opened.calls
    assert call.status is Status.ERROR
    assert len(call.attempts) == 3
    assert opened.summary().errors == 1


def test_a_fallback_is_marked(here, provider, client, ask):
    """When the model fails its fallback answers; the record says who did, and is priced by it."""
    here(
        QUICK % ", fallback: [gpt-4o]"
        + "models:\n  - {name: gpt-4o-mini, provider: openai}\n  - {name: gpt-4o, provider: openai}\n"
    )
    with run("fallback") as opened:
        provider.outage(3, 503)
        ask(client)
    [call] = opened.calls
    assert call.degraded
    assert call.served_by == "openai/gpt-4o"
    assert call.model == "gpt-4o"
    assert call.parameters["asked_model"] == "gpt-4o-mini"
    assert opened.summary().degraded == 1
    assert opened.summary().failed_attempts == sum(bool(one.failure_class) for one in call.attempts) > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_the_static_reply_is_the_last_resort(here, provider, client, streamed):
    """With a static reply in the manifest the user's code gets an answer of the SDK's type, marked as degraded."""
    here(QUICK % ", static_reply: Please call us.")
    messages = [{"role": "user", "content": "Hello"}]
    with run("static") as opened:
        provider.outage(50, 503)
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=streamed)
        text = (
            "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            if streamed
            else answer.choices[0].message.content
        )
        provider.outage(0)
    [call] = opened.calls
    assert text == "Please call us."
    assert call.degraded
    assert call.served_by == "static-reply"
    assert call.cost.usd == 0


def test_resilience_can_be_switched_off(here, provider, client, ask):
    """With `resilience.enabled: false` the SDK's own retries are back."""
    here("resilience: {enabled: false}\n")
    with run("plain") as opened:
        provider.outage(1, 503)
        ask(client)
    [call] = opened.calls
    assert call.status is Status.OK
    assert call.attempts == ()


def test_a_second_retry_layer_above_is_told(here, provider, client, ask):
    """When somebody asks again for what was given up, the card says so, once; a call that goes well says nothing."""
    import openai
    import tenacity

    here(QUICK % "")
    with run("layers") as opened:
        ask(client)
        assert not opened.notices
        provider.outage(50, 503)
        retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), reraise=True)
        with pytest.raises((openai.InternalServerError, OpenError)):  # its attempts open the breaker
            retrying(ask, client)
        provider.outage(0)
    assert sum("a retry layer above" in notice for notice in opened.notices) == 1


def test_a_second_retry_layer_below_is_told(here, provider, ask):
    """A client whose HTTP transport repeats requests by itself is named on the card."""
    import openai

    http = __import__(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

    class RetryTransport(http.HTTPTransport):
        """As those that one finds on the package index."""

    here(QUICK % "")
    with run("layers") as opened:
        for transport in (http.HTTPTransport(retries=2), RetryTransport(), http.HTTPTransport()):
            with openai.OpenAI(**provider.openai_options(), http_client=http.Client(transport=transport)) as made:
                ask(made)
                ask(made)
    told = [notice.partition(" repeats")[0] for notice in opened.notices]
    assert told == ["The client's transport HTTPTransport(retries=2)", "The client's transport RetryTransport"]


def test_calls_past_the_guard_are_told(here, provider):
    """An SDK that isn't wrapped is recorded from its trace, and the card says that no policy holds for it."""
    import mlflow

    here(QUICK % "")
    with run("past") as opened:
        for _ in range(2):
            with mlflow.start_span("Chat.complete", span_type="CHAT_MODEL") as span:
                span.set_attribute("mlflow.llm.provider", "mistral")
                span.set_attribute("mlflow.llm.model", "mistral-small-latest")
    assert len(opened.calls) == 2
    assert sum("Calls of mistral go past prodkit" in notice for notice in opened.notices) == 1
