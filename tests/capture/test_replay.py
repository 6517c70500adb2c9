"""An answer that was paid for is paid for once: later attempts of the same job run get it as it was."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from prodkit.capture import request, run
from prodkit.errors import BudgetError, ConfigError
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit
from prodkit.ledger.replay import forget_old, place_of, remove, take_over
from prodkit.records import Status

MODEL = "gpt-4o-mini"
QUESTION = [{"role": "user", "content": "My card 4111 1111 1111 1111 was charged twice, ana@northwind.test"}]


@pytest.fixture
def attempt(here, monkeypatch):
    """Makes this process attempt N of one job run: `attempt(2)`; gives the project."""
    project = here("resilience: {retry: {attempts: 3, wait_initial: 10ms, wait_max: 20ms}, deadline: 5s}\n")
    monkeypatch.setenv("PRODKIT_JOB_RUN", "job-1")

    def begin(number):
        monkeypatch.setenv("PRODKIT_ATTEMPT", str(number))
        return project

    begin(1)
    return begin


def chat(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": QUESTION, **more})


def streamed(client, **more):
    return [chunk.model_dump(exclude_unset=True) for chunk in chat(client, stream=True, **more)]


def sent(provider):
    return provider.stats()["requests"]


def twice(attempt, provider, call):
    """The results of a call in two attempts, and the requests that each sent."""
    results, counts, runs = [], [], []
    for number in (1, 2):
        attempt(number)
        before = sent(provider)
        with run(f"attempt {number}", user="u1") as opened:
            results.append(call())
        counts.append(sent(provider) - before)
        runs.append(opened)
    return results, counts, runs


def test_a_second_attempt_pays_nothing(attempt, provider, client):
    """The answer of the first attempt is served unredacted, recorded as replayed at no cost, and said on the card."""
    (first, second), counts, runs = twice(attempt, provider, lambda: chat(client))
    assert counts == [1, 0]
    assert second == first
    assert type(second) is type(first)
    [call] = runs[1].calls
    assert (call.status, call.served_by, call.cost.usd, call.cost.reason) == (Status.OK, "replay", 0, "replayed")
    assert call.cost.status == "priced"
    assert runs[0].cost > 0
    assert [note for note in runs[1].summary().notices if "paid for before" in note]
    assert not [note for note in runs[0].summary().notices if "paid for before" in note]


def test_a_replayed_trace_says_so(attempt, provider, client):
    """The trace of a replayed call carries the tag, and no tokens or cost."""
    import mlflow

    _, _, runs = twice(attempt, provider, lambda: chat(client))
    runs[1].ledger.flush()
    trace = mlflow.get_trace(runs[1].calls[0].trace_id)
    assert trace.info.tags["prodkit.replayed"] == "true"
    assert not trace.info.token_usage["total_tokens"]


def test_what_was_changed_is_sent(attempt, provider, client):
    """Another model, parameter or text is another request, and isn't served by what was kept."""
    with run("first"):
        chat(client)
    attempt(2)
    before = sent(provider)
    with run("second"):
        chat(client, temperature=0.1)
        chat(client, model="gpt-4o")
        chat(client, messages=[{"role": "user", "content": "Another one."}])
    assert sent(provider) - before == 3


def test_samples_are_not_collapsed(attempt, provider, client):
    """Three samples of one request stay three different answers in the next attempt, and a fourth is sent."""

    def sample():
        return [chat(client, temperature=1.0).id for _ in range(3)]

    (first, second), counts, _ = twice(attempt, provider, sample)
    assert counts == [3, 0]
    assert len(set(first)) == 3
    assert second == first
    attempt(3)
    before = sent(provider)
    with run("third"):
        assert sample() == first
        assert chat(client, temperature=1.0).id not in first
    assert sent(provider) - before == 1


def test_within_an_attempt_nothing_is_served(attempt, provider, client):
    """The same request twice in one attempt is sent twice."""
    before = sent(provider)
    with run("first"):
        chat(client)
        chat(client)
    assert sent(provider) - before == 2


@pytest.mark.parametrize("raw", [False, True])
def test_a_stream_is_replayed_in_its_chunks(attempt, provider, client, raw):
    """A stream read to its end comes again in the same chunks, the one with our usage hidden in both."""

    def read():
        if not raw:
            return streamed(client)
        got = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, stream=True)
        return [chunk.model_dump(exclude_unset=True) for chunk in got.parse()]

    (first, second), counts, runs = twice(attempt, provider, read)
    assert counts == [1, 0]
    assert second == first
    assert len(first) > 2
    assert runs[1].calls[0].response == runs[0].calls[0].response
    assert runs[1].cost == 0


def test_a_stream_that_was_left_is_not_kept(attempt, provider, client):
    """Only complete answers are kept: a stream that was left after one chunk is sent again."""

    def peek():
        stream = chat(client, stream=True)
        next(stream)
        stream.close()

    _, counts, _ = twice(attempt, provider, peek)
    assert counts == [1, 1]


def test_anthropic_is_replayed(attempt, provider, claude):
    """Anthropic's messages and their event streams are replayed, too."""
    body = {"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": QUESTION}

    def ask():
        whole = claude.messages.create(**body)
        with claude.messages.stream(**body) as stream:
            return whole, [event.model_dump(mode="json") for event in stream], stream.get_final_message()

    (first, second), counts, _ = twice(attempt, provider, ask)
    assert counts == [2, 0]
    assert second == first


def test_other_ways_of_asking_are_replayed(attempt, provider, client):
    """Responses, embeddings and raw responses of the openai SDK are replayed as what they were."""

    def ask():
        return (
            client.responses.create(model=MODEL, input="Hello"),
            client.embeddings.create(model="text-embedding-3-small", input=["one", "two"]),
            client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION).parse(),
        )

    (first, second), counts, _ = twice(attempt, provider, ask)
    assert counts == [3, 0]
    assert second == first


def test_async_calls_are_replayed(attempt, provider):
    """Calls and streams of an async client are replayed, as many at once as there were."""
    from openai import AsyncOpenAI

    async def main():
        async with AsyncOpenAI(**provider.openai_options()) as client:
            stream = await chat(client, stream=True)
            chunks = [chunk.model_dump() async for chunk in stream]
            answers = await asyncio.gather(*(chat(client, temperature=1.0) for _ in range(5)))
        return chunks, sorted(answer.id for answer in answers)

    (first, second), counts, _ = twice(attempt, provider, lambda: asyncio.run(main()))
    assert counts == [6, 0]
    assert second == first


def test_a_failed_call_is_sent_again(attempt, provider, client):
    """An attempt that got no answer keeps nothing."""
    import openai

    with run("first"):
        provider.outage(10, 503)
        with pytest.raises(openai.InternalServerError):
            chat(client)
        provider.outage(0)
    attempt(2)
    before = sent(provider)
    with run("second") as opened:
        chat(client)
    assert sent(provider) - before == 1
    assert opened.calls[0].served_by != "replay"


def test_a_call_may_opt_out(attempt, provider, client):
    """Under `request(replay=False)` a call is asked anew in every attempt; what is around it isn't affected."""

    def ask():
        with request(replay=False):
            chat(client)
        return chat(client).id

    (first, second), counts, _ = twice(attempt, provider, ask)
    assert counts == [2, 1]
    assert second == first


def test_a_replayed_call_needs_no_budget(attempt, provider, client):
    """A replayed call sets no money aside: it passes where a new call would break the budget."""
    with run("first"):
        chat(client)
    attempt(2)
    with run("second", budget="0.00000001") as opened:
        chat(client)
        with pytest.raises(BudgetError):
            chat(client, temperature=0.5)
    assert opened.cost == Decimal(0)


def test_other_job_runs_and_notebooks_are_left_alone(attempt, provider, client, monkeypatch):
    """Another run of the job gets nothing of this one, and outside of jobs nothing is kept."""
    project = attempt(1)
    with run("first"):
        chat(client)
    before = sent(provider)
    monkeypatch.setenv("PRODKIT_JOB_RUN", "job-2")
    with run("another"):
        chat(client)
    monkeypatch.delenv("PRODKIT_JOB_RUN")
    with run("notebook"):
        chat(client)
    assert sent(provider) - before == 2
    assert sorted(path.stem for path in (project.state / "replay").iterdir()) == ["job-1", "job-2"]


def test_answers_are_encrypted_and_erased_with_their_user(attempt, provider, client):
    """The store holds no readable text, is its owner's alone, and loses a user's answers when that user is erased."""
    project = attempt(1)
    for user in ("ana", "ben"):
        with run("first", user=user):
            chat(client, messages=[{"role": "user", "content": f"Say: secret word of {user}"}])
    store = place_of(project, "job-1")
    assert store.stat().st_mode & 0o777 == 0o600
    content = store.read_bytes()
    assert not [word for word in (b"secret", b"ana", b"choices", b"chatcmpl") if word in content]
    Audit(project).erase("ana")
    attempt(2)
    before = sent(provider)
    for user in ("ana", "ben"):
        with run("second", user=user):
            chat(client, messages=[{"role": "user", "content": f"Say: secret word of {user}"}])
    assert sent(provider) - before == 1


def test_replay_mode_sends_nothing(attempt, provider, client, monkeypatch):
    """In replay mode kept calls are answered, as often as a cell is run; any other is `replay.missing`."""
    with run("first"):
        chat(client)
        streamed(client)
    monkeypatch.delenv("PRODKIT_JOB_RUN")
    monkeypatch.setenv("PRODKIT_REPLAY", "last")
    before = sent(provider)
    for _ in range(2):
        with run("cell"):
            assert chat(client).choices[0].message.content
            assert streamed(client)
            with pytest.raises(ConfigError) as again:
                chat(client)
            with pytest.raises(ConfigError) as opted, request(replay=False):
                chat(client)
    with pytest.raises(ConfigError) as outside:
        chat(client)
    assert {caught.value.code for caught in (again, opted, outside)} == {"replay.missing"}
    assert sent(provider) == before


def test_replay_mode_names_a_run_that_is_not_kept(here, provider, client, monkeypatch):
    """A run of which nothing is kept is one clear error."""
    here()
    monkeypatch.setenv("PRODKIT_REPLAY", "job-9")
    with pytest.raises(ConfigError) as caught, run("cell"):
        chat(client)
    assert caught.value.code == "replay.unknown-run"


def test_a_broken_store_loses_no_answer(attempt, provider, client):
    """A store that can't be read is said on the card, and the call is sent."""
    project = attempt(1)
    with run("first"):
        chat(client)
    place_of(project, "job-1").write_bytes(b"no database at all, and long enough to be taken for one" * 40)
    attempt(2)
    with run("second") as opened:
        assert chat(client).choices
    assert [note for note in opened.summary().notices if "can't be read" in note]


def test_the_life_of_a_store(attempt, provider, client):
    """A run that goes on with another one takes its answers over; what nobody goes on with is removed in the end."""
    import os

    project = attempt(1)
    with run("first"):
        chat(client)
    take_over(project, "job-1", "job-2")
    take_over(project, "job-none", "job-3")
    assert not place_of(project, "job-1").exists()
    assert not place_of(project, "job-3").exists()
    forget_old(project)
    assert place_of(project, "job-2").exists()
    os.utime(place_of(project, "job-2"), (0, 0))
    forget_old(project)
    assert not place_of(project, "job-2").exists()
    remove(project, "job-2")


def test_the_journal_of_a_replayed_call_is_redacted(attempt, provider, client):
    """What is recorded of a replayed call is as clean as that of any other."""
    project = attempt(1)
    twice(attempt, provider, lambda: chat(client))
    Ledger.open(project).flush()
    recorded = json.dumps([call.prompt for _, call, _ in Audit(project).calls()])
    assert "4111 1111" not in recorded
    assert "northwind" not in recorded
