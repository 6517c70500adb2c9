"""What answers when the model doesn't: another provider in its own wire format, an earlier answer, a text."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack

import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from prodkit.capture import request, run
from prodkit.ledger.cache import Cache, place_of
from prodkit.ledger.replay import KeptAnswer
from prodkit.records import Status
from prodkit.resilience import StreamRestart
from prodkit.testing import FaultServer

PROMPT = (
    "Classify this support ticket as one of: billing, bug, access, shipping, other. Answer with the label only.\n\n"
    "Ticket: the courier lost my parcel"
)
ASKED = [{"role": "user", "content": PROMPT}]
QUICK = "deadline: 8s, retry: {attempts: 2, wait_initial: 10ms, wait_max: 20ms}"
SECRETS = {"OPENAI_API_KEY": "sk-of-openai", "ANTHROPIC_API_KEY": "sk-of-anthropic", "OPENAI_ORG_ID": "org-of-ours"}
PRIMARY = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
OTHER = {"openai": "anthropic", "anthropic": "openai"}


class Label(BaseModel):
    """An answer in JSON."""

    label: str
    urgent: bool


class Watched(FaultServer):
    """A fault server that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(scale=0.1)
        self.seen: list = []

    async def _play(self, exchange) -> None:
        self.seen.append(exchange)
        await super()._play(exchange)


class Asker:
    """One SDK, sync or async, through which the tests ask: each gives the text of the answer."""

    def __init__(self, server: Watched, sdk: str, *, asynchronous: bool) -> None:
        self.server, self.sdk, self.asynchronous = server, sdk, asynchronous
        self.model = PRIMARY[sdk]

    def make(self):
        import anthropic
        import openai

        name = {"openai": "OpenAI", "anthropic": "Anthropic"}[self.sdk]
        kind = getattr(
            {"openai": openai, "anthropic": anthropic}[self.sdk], ("Async" if self.asynchronous else "") + name
        )
        base = self.server.url + ("/v1" if self.sdk == "openai" else "")
        return kind(base_url=base, api_key=SECRETS[f"{self.sdk.upper()}_API_KEY"])

    def send(self, client, **more):
        body = {"model": self.model, "messages": ASKED, "max_tokens": 40, **more}
        create = client.chat.completions.create if self.sdk == "openai" else client.messages.create
        return create(**body)

    def ask(self, **more):
        if not self.asynchronous:
            with self.make() as client:
                return self.send(client, **more)

        async def main():
            async with self.make() as client:
                return await self.send(client, **more)

        return asyncio.run(main())

    def read(self, into: list | None = None, **more) -> list:
        """The chunks of a stream."""
        chunks: list = [] if into is None else into
        if not self.asynchronous:
            with self.make() as client:
                chunks.extend(self.send(client, stream=True, **more))
            return chunks

        async def main():
            async with self.make() as client:
                async for chunk in await self.send(client, stream=True, **more):
                    chunks.append(chunk)  # noqa: PERF401  what came before an error counts

        asyncio.run(main())
        return chunks

    def text(self, answer) -> str:
        return answer.choices[0].message.content if self.sdk == "openai" else answer.content[0].text

    def said(self, chunks: list) -> str:
        if self.sdk == "openai":
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return "".join(event.delta.text for event in chunks if event.type == "content_block_delta")


@pytest.fixture(scope="module")
def watched():
    with Watched() as server:
        yield server


@pytest.fixture
def server(watched, monkeypatch):
    watched.heal()
    watched.seen.clear()
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    yield watched
    watched.heal()


@pytest.fixture(params=["openai", "openai-async", "anthropic", "anthropic-async"])
def asker(request, server):
    sdk, _, mode = request.param.partition("-")
    return Asker(server, sdk, asynchronous=bool(mode))


def manifest(server, steps: str, more: str = "", **regions: str) -> str:
    """Both providers' models, and the chain in words."""
    models = "".join(
        f"  - {{name: {name}, provider: {provider}, region: {regions.get(provider, 'eu')},"
        f' base_url: "{server.url}{"/v1" if provider == "openai" else ""}"}}\n'
        for provider, name in PRIMARY.items()
    )
    return f"resilience: {{{QUICK}, fallback: [{steps}]{more}}}\nmodels:\n{models}"


# --------------------------------------------------------------------------------------- another wire format


def test_the_other_provider_answers(here, server, asker):
    """When one provider fails the other one answers in its own format; the user's code gets its own SDK's type."""
    here(manifest(server, PRIMARY[OTHER[asker.sdk]]))
    server.inject("503", models={asker.model})
    with run("foreign") as opened:
        answer = asker.ask(**({"temperature": 0.5} if asker.sdk == "openai" else {}))
    assert type(answer).__module__.startswith(asker.sdk)
    assert asker.text(answer) == "shipping"
    [call] = opened.calls
    other = OTHER[asker.sdk]
    assert (call.served_by, call.provider, call.model) == (f"{other}/{PRIMARY[other]}", other, PRIMARY[other])
    assert call.degraded
    assert call.cost.usd > 0
    assert [attempt.failure_class for attempt in call.attempts] == ["unavailable", "unavailable", ""]
    if asker.sdk == "openai":
        assert any("was asked without temperature" in notice for notice in opened.notices)
        assert "temperature" not in server.seen[-1].body


def test_the_other_provider_streams(here, server, asker):
    """A stream falls back to the other provider, too: the answer comes whole, as chunks of the user's own SDK."""
    here(manifest(server, PRIMARY[OTHER[asker.sdk]]))
    server.inject("503", models={asker.model})
    with run("foreign") as opened:
        chunks = asker.read()
    assert asker.said(chunks) == "shipping"
    assert all(type(chunk).__module__.startswith(asker.sdk) for chunk in chunks)
    assert not any(getattr(chunk, "usage", None) for chunk in chunks if asker.sdk == "openai"), "nobody asked for it"
    [call] = opened.calls
    assert (call.status, call.model) == (Status.OK, PRIMARY[OTHER[asker.sdk]])
    assert call.usage.output_tokens
    assert not call.usage.estimated


def test_no_key_reaches_the_other_provider(here, server, asker):
    """The other provider gets its own key in its own header, and nothing of the first one's."""
    here(manifest(server, PRIMARY[OTHER[asker.sdk]]))
    server.inject("503", models={asker.model})
    with run("foreign"):
        asker.ask()
    sent = server.seen[-1]
    assert sent.model == PRIMARY[OTHER[asker.sdk]]
    told = " ".join(f"{name}: {value}" for name, value in sent.headers.items())
    own, other = SECRETS[f"{asker.sdk.upper()}_API_KEY"], SECRETS[f"{OTHER[asker.sdk].upper()}_API_KEY"]
    assert other in told
    assert own not in told
    assert "org-of-ours" not in told
    assert ("anthropic-version" in sent.headers) == (asker.sdk == "openai")


def test_a_key_that_is_not_there_passes_the_target_over(here, server, monkeypatch):
    """Without the key that the manifest names a fallback is passed over, visibly, and the first error is raised."""
    import openai

    text = manifest(server, "claude-sonnet-4-6")
    here(text.replace(f'base_url: "{server.url}"', 'base_url: "https://api.example.test", api_key: KEY_OF_THE_TEAM'))
    server.inject("503", models={"gpt-4o-mini"})
    with run("no key") as opened, pytest.raises(openai.InternalServerError):
        Asker(server, "openai", asynchronous=False).ask()
    [call] = opened.calls
    assert (call.attempts[-1].target, call.attempts[-1].failure_class) == ("anthropic/claude-sonnet-4-6", "passed-over")
    assert any("there is no key in KEY_OF_THE_TEAM" in notice for notice in opened.notices)


TOOL = {
    "name": "sort_ticket",
    "description": "Sort a ticket.",
    "schema": {"type": "object", "properties": {"label": {"enum": ["billing", "shipping"]}}, "required": ["label"]},
}


def test_tool_calls_come_back_in_openais_shape(here, server):
    """A forced tool is called through the other provider, and its result can be told in the next turn."""
    here(manifest(server, "claude-sonnet-4-6"))
    server.inject("503", models={"gpt-4o-mini"})
    function = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["schema"]}
    tools = [{"type": "function", "function": function}]
    asker = Asker(server, "openai", asynchronous=False)
    with run("tools"):
        answer = asker.ask(tools=tools, tool_choice={"type": "function", "function": {"name": "sort_ticket"}})
        message = answer.choices[0].message
        [called] = message.tool_calls
        turn = [
            *ASKED,
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": called.id, "content": "done"},
        ]
        asker.ask(messages=[{"role": "system", "content": "Be brief."}, *turn], tools=tools)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert json.loads(called.function.arguments) == {"label": "shipping"}
    sent = server.seen[-1].body
    assert sent["system"] == "Be brief."
    assert sent["messages"][1]["content"][-1] == {
        "type": "tool_use",
        "id": called.id,
        "name": "sort_ticket",
        "input": {"label": "shipping"},
    }
    assert sent["messages"][2] == {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": called.id, "content": "done"}],
    }


def test_tool_calls_come_back_in_anthropics_shape(here, server):
    """The same the other way round."""
    here(manifest(server, "gpt-4o-mini"))
    server.inject("503", models={"claude-sonnet-4-6"})
    tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["schema"]}]
    asker = Asker(server, "anthropic", asynchronous=False)
    with run("tools"):
        answer = asker.ask(tools=tools, tool_choice={"type": "tool", "name": "sort_ticket"}, system="Be brief.")
        [block] = answer.content
        result = {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "done"}]}
        turn = [*ASKED, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        asker.ask(messages=[message if isinstance(message["content"], str) else plain(message) for message in turn])
    assert (answer.stop_reason, block.type, block.input) == ("tool_use", "tool_use", {"label": "shipping"})
    sent = server.seen[-1].body["messages"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"label": "shipping"}
    assert sent[2] == {"role": "tool", "tool_call_id": block.id, "content": "done"}


def plain(message: dict) -> dict:
    blocks = [one if isinstance(one, dict) else one.model_dump(exclude_none=True) for one in message["content"]]
    return {**message, "content": [{name: part for name, part in one.items() if name != "caller"} for one in blocks]}


def test_json_mode_is_kept(here, server):
    """An answer in the schema that was asked for comes from the other provider, and the SDK's own parsing works."""
    here(manifest(server, "claude-sonnet-4-6"))
    server.inject("503", models={"gpt-4o-mini"})
    with run("json"), Asker(server, "openai", asynchronous=False).make() as client:
        answer = client.chat.completions.parse(model="gpt-4o-mini", messages=ASKED, response_format=Label)
    assert answer.choices[0].message.parsed.label == "shipping"
    assert answer.choices[0].finish_reason == "stop"


UNFAITHFUL = {
    "several answers": ({"n": 2}, "it asks for n"),
    "logprobs": ({"logprobs": True}, "it asks for logprobs"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;,"}}]}]},
        "a user message holds a part of the type image_url",
    ),
    "last word": (
        {"messages": [*ASKED, {"role": "assistant", "content": "ship"}]},
        "its last message is the assistant's",
    ),
    "strict tool": ({"tools": [pydantic_function_tool(Label)]}, "a tool is strict"),
}


@pytest.mark.parametrize(("more", "why"), UNFAITHFUL.values(), ids=UNFAITHFUL)
def test_what_means_nothing_there_is_not_sent(here, server, more, why):
    """A request that can't be said faithfully in the other format isn't: the card says why, the first error is raised."""
    import openai

    here(manifest(server, "claude-sonnet-4-6"))
    server.inject("503", models={"gpt-4o-mini"})
    with run("unfaithful") as opened, pytest.raises(openai.InternalServerError):
        Asker(server, "openai", asynchronous=False).ask(**more)
    assert server.requests["claude-sonnet-4-6"] == 0
    assert any(why in notice for notice in opened.notices), opened.notices


def test_anthropics_own_features_are_not_sent(here, server):
    """A prompt with top_k has no equivalent at OpenAI: the fallback is passed over, and the card says so."""
    import anthropic

    here(manifest(server, "gpt-4o-mini"))
    server.inject("503", models={"claude-sonnet-4-6"})
    with run("unfaithful") as opened, pytest.raises(anthropic.InternalServerError):
        Asker(server, "anthropic", asynchronous=False).ask(extra_body={"top_k": 5})
    assert server.requests["gpt-4o-mini"] == 0
    assert any("it asks for top_k" in notice for notice in opened.notices)


@pytest.mark.parametrize("asker", ["openai", "anthropic-async"], indirect=True)
def test_garbage_of_the_other_provider_is_not_passed_on(here, server, asker):
    """What the other provider answers is checked as strictly: garbage ends as an error, never as an answer."""
    here(manifest(server, PRIMARY[OTHER[asker.sdk]]))
    faults = ["html", "broken-json", "no-choices", "empty", "401"]
    if asker.sdk == "openai":  # with max_tokens, which Anthropic's requests always have, a cut is what was asked for
        faults.append("truncated")
    with run("garbage") as opened:
        for fault in faults:
            server.heal()
            server.inject("503", models={asker.model})
            server.inject(fault, models={PRIMARY[OTHER[asker.sdk]]})
            with pytest.raises(Exception) as caught:
                asker.ask(max_tokens=40 if fault != "truncated" else None)
            assert type(caught.value).__module__.split(".")[0] in {asker.sdk, "prodkit", "json"}, fault
    assert [call.status for call in opened.calls] == [Status.ERROR] * len(faults)


# -------------------------------------------------------------------------------------------- earlier answers


def test_an_earlier_answer_stands_in(here, server, asker):
    """When nobody answers, the earlier answer to the very same request does: degraded, free, of the SDK's own type."""
    here(manifest(server, "{cached: {max_age: 1h}}, {static: Later.}"))
    with run("well"):
        first = asker.ask()
    server.inject("503")
    with run("down") as opened:
        again, other = asker.ask(), asker.ask(max_tokens=41)
    assert type(again) is type(first)
    assert asker.text(again) == "shipping"
    assert asker.text(other) == "Later.", "another request has no earlier answer"
    call = opened.calls[0]
    assert (call.served_by, call.degraded, call.cost.usd, call.model) == ("cache", True, 0, asker.model)
    assert (call.usage.input_tokens, call.usage.output_tokens) == (0, 0)
    assert opened.summary().degraded == 2


def test_an_earlier_stream_stands_in(here, server, asker):
    """A stream's earlier answer comes in the chunks that it had."""
    here(manifest(server, "{cached: {max_age: 1h}}"))
    with run("well"):
        first = asker.read()
    server.inject("503")
    with run("down") as opened:
        again = asker.read()
    assert [chunk.model_dump() for chunk in again] == [chunk.model_dump() for chunk in first]
    assert (opened.calls[0].served_by, opened.calls[0].degraded) == ("cache", True)


def test_old_answers_are_not_served_and_go_away(project, tmp_path):
    """An answer that is older than the limit isn't found, and the next one that is kept removes it."""
    from prodkit.ledger import Ledger

    now = [1_000.0]
    store = Cache(project, Ledger.open(project).keyring, clock=lambda: now[0])
    answer = KeptAnswer({"a": 1}, "openai", "m", degraded=False)
    store.keep("q", answer, "ana", max_age=60)
    now[0] += 60
    assert store.find("q", 60) == answer
    now[0] += 1
    assert store.find("q", 60) is None
    store.keep("other", answer, max_age=60)
    assert store.find("q", 3600) is None
    assert b"sort_ticket" not in place_of(project).read_bytes()


def test_kept_answers_are_encrypted_and_erased_with_their_user(here, server):
    """What is kept can't be read in the file, and is gone when the person is forgotten."""
    import openai

    from prodkit.ledger.audit import Audit

    project = here(manifest(server, "{cached: {max_age: 1h}}"))
    asker = Asker(server, "openai", asynchronous=False)
    with run("well", user="ana"):
        asker.ask()
    raw = place_of(project).read_bytes()
    assert b"shipping" not in raw
    assert b"ana" not in raw
    Audit(project).erase("ana")
    server.inject("503")
    with run("down", user="ana"), pytest.raises(openai.InternalServerError):
        asker.ask()


def test_residency_holds_for_earlier_answers(here, server, monkeypatch):
    """An answer of a model outside of the residency isn't served, however fresh it is."""
    import openai

    text = manifest(server, "{cached: {max_age: 1h}}", openai="us")
    project = here(text)
    asker = Asker(server, "openai", asynchronous=False)
    with run("well"):
        asker.ask()
    (project.root / "prodkit.yaml").write_text("service: {name: demo}\n" + text + "compliance: {residency: [eu]}\n")
    server.inject("503")
    with run("down"), pytest.raises(openai.InternalServerError):
        asker.ask()


def test_an_opt_out_keeps_nothing(here, server):
    """`request(replay=False)` keeps no answer for later, either."""
    project = here(manifest(server, "{cached: {max_age: 1h}}"))
    with run("well"), request(replay=False):
        Asker(server, "openai", asynchronous=False).ask()
    assert not place_of(project).exists()


def test_our_own_fault_is_not_papered_over(here, server):
    """A wrong key is said loudly, although an earlier answer lies there."""
    import openai

    here(manifest(server, "{cached: {max_age: 1h}}"))
    asker = Asker(server, "openai", asynchronous=False)
    with run("well"):
        asker.ask()
    server.inject("401")
    with run("wrong key"), pytest.raises(openai.AuthenticationError):
        asker.ask()


# ------------------------------------------------------------------------------------- when a stream commits


@pytest.mark.parametrize("commit", ["first_token", "buffer", "restart"])
def test_streams_commit_as_they_are_told(here, server, asker, commit):
    """A stream that is cut after its first token ends with an error, is never shown, or begins anew: as was asked."""
    by = "request" if asker.asynchronous else "manifest"
    backup = "gpt-4o" if asker.sdk == "openai" else "claude-haiku-4-5"
    text = manifest(server, backup, f", commit: {commit}" if by == "manifest" else "")
    here(text + f"  - {{name: {backup}, provider: {asker.sdk}, region: eu}}\n")
    server.inject("stream-cut", models={asker.model})
    chunks: list = []
    with ExitStack() as stack:
        opened = stack.enter_context(run("commit"))
        if by == "request":
            stack.enter_context(request(commit=commit))
        if commit == "first_token":
            stack.enter_context(pytest.raises(Exception, match="broke off"))
        asker.read(chunks)
    [call] = opened.calls
    if commit == "first_token":
        assert asker.said(chunks) == "shippi"
        assert call.status is Status.ERROR
        return
    marks = [at for at, chunk in enumerate(chunks) if isinstance(chunk, StreamRestart)]
    assert len(marks) == (2 if commit == "restart" else 0), "once more at the same model, then at the other one"
    assert asker.said(chunks[marks[-1] :] if marks else chunks) == "shipping"
    assert (call.status, call.model, call.degraded) == (Status.OK, backup, True)
    assert "shippishipping" not in json.dumps(call.response)


def test_an_unknown_commit_is_refused():
    """A misspelt way to pass a stream on is refused where it is said."""
    from prodkit.errors import ParameterError

    with pytest.raises(ParameterError, match="did you mean `buffer`"), request(commit="bufer"):
        time.sleep(0)
