"""Budgets against a server whose answers are longer than anybody has estimated."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prodkit.budget import Scopes
from prodkit.capture import admission, bounds, request, run
from prodkit.errors import BudgetError
from prodkit.stores import budgets_of

ANSWER = 3_000  # tokens of each answer; the first estimate is a third of it
COST = Decimal("0.0018")  # of it, by gpt-4o-mini's price
ERROR = COST - Decimal("0.0006")  # of the first estimate
LIMIT = Decimal("0.02")  # three times as much as fits at once by the model's own limit of 16,384 tokens
CLIENT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from openai import OpenAI
from prodkit.capture import run
from prodkit.errors import BudgetError

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)

def ask(number):
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": f"Tell {number}"}])
    except BudgetError:
        return 0
    return 1

print("ready", flush=True)
sys.stdin.readline()
with run("tell"), ThreadPoolExecutor(25) as pool:
    print(sum(pool.map(ask, range(40))), flush=True)
"""


class Talkative(BaseHTTPRequestHandler):
    """Answers each chat request with 3,000 tokens, and says how many were answered at the same time at most."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    here = most = served = 0

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with Talkative.lock:
            Talkative.here += 1
            Talkative.served += 1
            Talkative.most = max(Talkative.most, Talkative.here)
        time.sleep(0.02)
        with Talkative.lock:
            Talkative.here -= 1
        said = {"role": "assistant", "content": "so "}
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "system_fingerprint": "simulated-talkative",
            "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": ANSWER, "total_tokens": ANSWER + 10},
        }
        if asked.get("stream"):
            chunk = body | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said}]}
            last = chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            events = [chunk | {"usage": None}, last]
            data = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
        else:
            data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if asked.get("stream") else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        """Stay silent."""


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Talkative) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}/v1"
        made.shutdown()


@pytest.fixture
def talkative(server):
    """A client of the server, which begins to count anew."""
    from openai import OpenAI

    Talkative.here = Talkative.most = Talkative.served = 0
    with OpenAI(base_url=server, api_key="none", max_retries=0) as made:
        yield made


def ask(client, number, **more):
    asked = [{"role": "user", "content": f"Tell {number}"}]
    return client.chat.completions.create(model="gpt-4o-mini", messages=asked, **more)


def test_fifty_threads_overspend_by_one_error_at_most(here, talkative):
    """Fifty concurrent calls, each three times as dear as estimated, break the budget by one estimate's error at most."""
    here()
    refused = []

    def one(number):
        try:
            ask(talkative, number)
        except BudgetError as error:
            refused.append(error.code)

    with run("tell", budget=str(LIMIT)) as opened, ThreadPoolExecutor(50) as pool:
        list(pool.map(one, range(60)))
    assert set(refused) == {"budget.exceeded"}
    assert LIMIT * Decimal("0.75") <= opened.cost <= LIMIT + ERROR
    assert opened.cost == COST * Talkative.served + Decimal("0.0000015") * Talkative.served
    assert Talkative.most > 1
    assert any("waited for each other" in notice for notice in opened.notices)


def test_two_processes_overspend_by_one_error_at_most(here, server):
    """Two processes with 25 threads each break the day's budget by one estimate's error at most."""
    project = here(f"budget: {{per_day: {LIMIT}}}\n")
    command = [sys.executable, "-c", CLIENT, server]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    answered = sum(int(process.communicate("go\n", timeout=60)[0]) for process in both)
    (day, *_) = budgets_of(project).balances(Scopes())
    assert day.reserved == 0
    assert day.spent == answered * (COST + Decimal("0.0000015"))
    assert LIMIT * Decimal("0.75") <= day.spent <= LIMIT + ERROR


def test_tasks_wait_without_stopping_the_loop(here, server):
    """Of fifty tasks those that wait let the others go on, and the budget holds."""
    from openai import AsyncOpenAI

    here()

    async def one(client, number):
        try:
            await ask(client, number)
        except BudgetError:
            return 0
        return 1

    async def main():
        async with (
            AsyncOpenAI(base_url=server, api_key="none", max_retries=0) as client,
            run("t", budget="0.02") as made,
        ):
            answered = sum(await asyncio.gather(*(one(client, number) for number in range(50))))
        return made, answered

    opened, answered = asyncio.run(main())
    assert answered >= LIMIT * Decimal("0.75") / COST
    assert opened.cost <= LIMIT + ERROR


def test_a_limit_of_tokens_lets_all_of_them_run(here, talkative):
    """With `max_tokens` the most that a call can cost is small, and nobody waits."""
    here()
    with run("tell", budget="0.5") as opened, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: ask(talkative, number, max_tokens=ANSWER), range(32)))
    assert Talkative.most > 4
    assert not opened.notices


def test_a_call_inside_of_a_stream_is_refused_and_not_waited_for(here, talkative):
    """A call that waits for a stream which only its own thread could read on is refused at once."""
    here()
    with run("tell", budget="0.011"):
        stream = ask(talkative, 0, stream=True)
        next(iter(stream))
        began = time.monotonic()
        with pytest.raises(BudgetError, match="reserved by running calls"):
            ask(talkative, 1)
        assert time.monotonic() - began < admission.PATIENCE / 10
        list(stream)
        ask(talkative, 2)


def test_who_waits_can_be_stopped(here, talkative, monkeypatch):
    """`run.stop()` ends the waiting of a call, too."""
    here()
    waiting = threading.Event()
    monkeypatch.setattr(admission, "_WAITED", "waiting")
    with run("tell", budget="0.011") as opened, ThreadPoolExecutor(1) as pool:
        stream = ask(talkative, 0, stream=True)
        asked = pool.submit(ask, talkative, 1)
        while "waiting" not in opened.notices:
            waiting.wait(0.01)
        opened.stop()
        assert getattr(asked.exception(5), "code", "") == "capture.stopped"
        list(stream)


@pytest.mark.parametrize(
    ("provider", "model", "most"),
    [
        ("openai", "gpt-4o-mini", 16_384),
        ("openai", "gpt-4o-2024-08-06", 16_384),
        ("openai", "text-embedding-3-small", 0),
        ("openai", "gpt-image-1", 8_192),
        ("northwind", "our-own-llama", 131_072),
    ],
)
def test_a_models_own_limit_bounds_its_answers(provider, model, most):
    """The most that a model answers is what the catalog says, and a bound above all where it says nothing."""
    assert bounds._most_output(provider, model) == most


def test_the_dearest_fallback_is_reserved_for(here, talkative):
    """A call that may be answered by a dearer model reserves what that one could cost."""
    here(
        "models: [{name: gpt-4o-mini, provider: openai, fallbacks: [gpt-4o]}, {name: gpt-4o, provider: openai}]\n"
        "budget: {per_user: 1}\n"
    )
    with run("tell") as opened, request(user="u1"):
        stream = ask(talkative, 0, stream=True)
        scopes = Scopes(user=opened.ledger.keyring.pseudonym("u1"))
        held = {one.scope: one.reserved for one in admission.budgets_of(opened).balances(scopes)}
        list(stream)
    assert Decimal("0.1638") < held["user"] < Decimal("0.17")  # 16,384 tokens at gpt-4o's $10 a million
