"""The simulated provider, asked by the real SDKs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel

from prodkit.errors import TransientError
from prodkit.testing import SimulatedProvider, anthropic_options, openai_options, simulated_provider
from prodkit.testing.corpus import LABELS, tickets

PROMPT = "Classify this support ticket as one of: billing, bug, access, shipping, other. Label only.\n\nTicket: {}"


@pytest.fixture(scope="module")
def client(prodkit_provider: SimulatedProvider) -> openai.OpenAI:
    return openai.OpenAI(**prodkit_provider.openai_options(), max_retries=0)


@pytest.fixture(scope="module")
def claude(prodkit_provider: SimulatedProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(**prodkit_provider.anthropic_options(), max_retries=0)


def ask(client: openai.OpenAI, text: str, model: str = "gpt-4o", **options):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def accuracy(client: openai.OpenAI, model: str) -> float:
    asked = tickets(60, seed=5)
    answers = [ask(client, PROMPT.format(ticket.text), model).choices[0].message.content for ticket in asked]
    assert set(answers) <= set(LABELS)
    return sum(answer == ticket.label for answer, ticket in zip(answers, asked, strict=True)) / len(asked)


def test_answers_are_computed_and_models_differ(client):
    """Answers follow from the ticket, mostly right for a large model and less often for a small one."""
    large, small = accuracy(client, "gpt-4o"), accuracy(client, "gpt-4o-mini")
    assert 0.85 <= large < 1.0
    assert 0.6 <= small < large


def test_what_is_simulated_says_so(client):
    """Id, fingerprint and a header name the answer as simulated."""
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    answer = raw.parse()
    assert answer.id.startswith("chatcmpl-sim-")
    assert answer.system_fingerprint.startswith("simulated-")
    assert raw.headers["x-prodkit-simulated"] == "true"


def test_stream_is_the_same_answer_with_usage(client):
    """A stream tells the answer that the plain call gives, and its last piece the same usage."""
    text = PROMPT.format("the courier lost my parcel")
    plain = ask(client, text)
    chunks = list(ask(client, text, stream=True, stream_options={"include_usage": True}))
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert told == plain.choices[0].message.content
    assert chunks[-1].usage == plain.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens > 10


class Triage(BaseModel):
    queue: Literal["billing", "bug", "access", "shipping", "other"]
    confidence: float
    urgent: bool


def test_schema_is_honoured(client):
    """A schema is filled with the judgement: the label, its confidence, the urgency."""
    answer = client.chat.completions.parse(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Ticket: I was charged twice, this is urgent"}],
        response_format=Triage,
    )
    told = answer.choices[0].message.parsed
    assert (told.queue, told.urgent) == ("billing", True)
    assert 0.2 < told.confidence <= 1


def test_json_object_has_the_keys_of_the_prompt(client):
    """JSON without a schema has the keys that the prompt names, else a label and its confidence."""
    form = {"type": "json_object"}
    text = 'Answer as JSON {"category": ..., "score": ...}.\nTicket: my password is not accepted'
    told = json.loads(ask(client, text, response_format=form).choices[0].message.content)
    assert told["category"] == "access"
    assert isinstance(told["score"], float)
    told = json.loads(
        ask(client, "JSON please. Ticket: invoice wrong", response_format=form).choices[0].message.content
    )
    assert set(told) == {"label", "confidence"}


def test_labels_are_those_of_the_prompt(client):
    """Only labels that the prompt lists are answered, in its own spelling."""
    text = "Which queue? Options: Payments, Technical, Delivery\nTicket: {}"
    assert ask(client, text.format("the courier lost my parcel")).choices[0].message.content == "Delivery"
    assert ask(client, text.format("the app crashes at start")).choices[0].message.content == "Technical"
    limited = ask(client, "Labels: billing | bug\nTicket: the courier lost my parcel").choices[0].message.content
    assert limited in {"billing", "bug"}


def test_tool_is_called(client):
    """A tool is called with arguments of its schema, streamed or not."""
    tools = [{"type": "function", "function": {"name": "route", "parameters": Triage.model_json_schema()}}]
    text = "Ticket: the courier lost my parcel"
    call = ask(client, text, tools=tools).choices[0].message.tool_calls[0]
    assert call.function.name == "route"
    assert Triage.model_validate_json(call.function.arguments).queue == "shipping"
    chunks = list(ask(client, text, tools=tools, stream=True))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    assert "".join(part.function.arguments for part in parts) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_token_limit_cuts_off(client):
    """`max_tokens` cuts the answer off, and the reason says so."""
    answer = ask(client, "Write to: my lamp arrived broken and nobody answers the phone", max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_temperature_moves_answers_and_a_seed_holds_them(client):
    """With a temperature answers vary over seeds, and the same seed gives the same answer."""
    hard = PROMPT.format("the form at the checkout and the order and my account, what now")
    told = [ask(client, hard, temperature=2.0, seed=seed).choices[0].message.content for seed in range(1, 15)]
    again = [ask(client, hard, temperature=2.0, seed=seed).choices[0].message.content for seed in range(1, 15)]
    assert told == again
    assert len(set(told)) > 1


def test_embeddings_lie_close_when_texts_do(client):
    """Embeddings are unit vectors in which related texts lie closer than others."""
    texts = ["the parcel is late", "my parcel is very late", "the invoice is wrong"]
    rows = [row.embedding for row in client.embeddings.create(model="text-embedding-3-small", input=texts).data]
    assert [len(row) for row in rows] == [1536] * 3
    close, far = (sum(a * b for a, b in zip(rows[0], row, strict=True)) for row in rows[1:])
    assert close > far
    assert abs(sum(value * value for value in rows[0]) - 1) < 1e-5


def test_models_and_responses(client):
    """The list of models and the Responses API are there."""
    assert "gpt-4o-mini" in [model.id for model in client.models.list()]
    text = "Labels: billing, bug. Ticket: I was charged twice"
    assert client.responses.create(model="gpt-4o", input=text).output_text == "billing"


def test_anthropic_answers(claude):
    """The Anthropic SDK gets the same judgement, plain, streamed and as a tool."""
    text = PROMPT.format("I was charged twice")
    given = {"model": "claude-sonnet-4", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    plain = claude.messages.create(**given)
    assert plain.content[0].text == "billing"
    assert plain.stop_reason == "end_turn"
    with claude.messages.stream(**given) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == "billing"
    assert final.usage.output_tokens == plain.usage.output_tokens
    tool = {"name": "route", "input_schema": Triage.model_json_schema()}
    called = claude.messages.create(**given, tools=[tool], tool_choice={"type": "tool", "name": "route"})
    assert called.content[0].input["queue"] == "billing"


@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-4o"},
        {"messages": [{"role": "user", "content": "x"}], "model": ""},
        {"model": "m", "messages": "x"},
    ],
)
def test_wrong_requests_are_refused_as_by_the_real_one(client, body):
    """A request without messages or model gets the 400 that the real provider gives."""
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body=body, cast_to=object)


def test_missing_key_is_refused(prodkit_provider):
    """A request without a key gets a 401."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(prodkit_provider.url + "/v1/models")  # noqa: S310  our own loopback server
    assert refused.value.code == 401
    refused.value.close()


def test_ordered_outage_fails_and_ends(client, prodkit_provider):
    """An ordered outage fails so many requests, and the next one is well."""
    prodkit_provider.outage(requests=2, status=529)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as failed:
            ask(client, "x")
        assert failed.value.status_code == 529
    assert ask(client, "x").choices
    assert prodkit_provider.stats()["failing"] == 0


def test_stats_count(client, prodkit_provider):
    """The figures count requests, models and tokens."""
    before = prodkit_provider.stats()
    answer = ask(client, "x", "counted-model")
    after = prodkit_provider.stats()
    assert after["requests"] == before["requests"] + 1
    assert after["by_model"]["counted-model"] == 1
    assert after["tokens"]["input"] - before["tokens"]["input"] == answer.usage.prompt_tokens


def test_latency_is_drawn_from_the_seed():
    """Answers take their latency, and the same seed draws the same one."""
    from prodkit.testing.provider import State

    def drawn(seed):
        import random

        state = State(seed, 0.03, rng=random.Random(seed))
        return [state.draw_latency() for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 0.025 < sorted(drawn(1))[100] < 0.036


PARENT = """
import json, sys
from prodkit.testing import simulated_provider
provider = simulated_provider()
print(json.dumps([provider.url, provider.process.pid, simulated_provider().process.pid]), flush=True)
sys.stdin.readline()
if sys.argv[1] == "hard":
    import os
    os._exit(1)
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"


@pytest.mark.parametrize("end", ["softly", "hard"])
def test_provider_ends_with_its_parent(end):
    """One provider for each process, and it ends with it, also when it is killed."""
    command = [sys.executable, "-c", PARENT, end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        _, pid, again = json.loads(parent.stdout.readline())
        assert pid == again
        assert not gone(pid)
        parent.stdin.write("\n")
        parent.stdin.flush()
        parent.wait(20)
        until = time.monotonic() + 10
        while not gone(pid) and time.monotonic() < until:
            time.sleep(0.05)
    assert gone(pid)


def test_running_provider_is_reused(prodkit_provider, monkeypatch):
    """A process that finds a running provider in its environment uses it, and leaves it running."""
    from prodkit.testing import client as home

    monkeypatch.setattr(home, "_running", None)
    monkeypatch.setenv("PRODKIT_SIMULATED_URL", prodkit_provider.environment()["PRODKIT_SIMULATED_URL"])
    found = simulated_provider()
    assert found.url == prodkit_provider.url
    assert openai_options()["base_url"] == prodkit_provider.url + "/v1"
    found.close()
    assert prodkit_provider.alive()


def test_dead_provider_is_replaced(monkeypatch):
    """An address at which nobody answers any more doesn't stop the notebook: a new provider is started."""
    from prodkit.testing import client as home

    monkeypatch.setattr(home, "_running", None)
    monkeypatch.setenv("PRODKIT_SIMULATED_URL", "http://127.0.0.1:9")
    with simulated_provider() as found:
        assert found.url != "http://127.0.0.1:9"
        assert found.alive()
    assert not found.alive()
    with pytest.raises(TransientError, match="doesn't answer"):
        found.stats()


def test_key_means_the_real_provider(monkeypatch):
    """With a key in the environment nothing is simulated."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert openai_options() == {}
    assert anthropic_options() == {}
