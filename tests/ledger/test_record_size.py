"""Records are small, and what earlier versions wrote is read as it was."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import random
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

import pytest

from prodkit.errors import ConfigError
from prodkit.ledger import events
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.packing import DICTIONARY, pack, unpack
from prodkit.ledger.places import Places
from prodkit.ledger.segments import list_segments
from prodkit.records import Attempt, CallRecord, CallSpan, Cost, Status, TraceRecord, Usage

BARE = CallRecord(
    "req-1", "cell", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), Status.OK
)
FULL = CallRecord(
    "req-2",
    "cell",
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC),
    Status.ERROR,
    provider="openai",
    model="gpt-4o-mini",
    parameters={"temperature": 0, "stop": ["x"], "stream": False},
    prompt=[{"role": "user", "content": "größe ✓"}],
    response={"choices": []},
    usage=Usage(3, 0, 1, 2, 0, None, 5, estimated=True),
    cost=Cost(Decimal("0.000010"), "priced", "prices", date(2026, 1, 1), "why", Decimal("0.1")),
    user="u1",
    session="s1",
    data_source="crm",
    purpose="triage",
    region="eu",
    trace_id="tr-" + "0" * 32,
    span_id="1" * 16,
    run_key="run-1",
    error="boom",
    prompts=("prompts:/a/1",),
    datasets=("d1", "d2"),
    attempts=(Attempt("a/b", "overloaded", 1.25, 0.5, "open", 529, Decimal("0.1")), Attempt("a/b", "", 0.5)),
    served_by="a/b",
    degraded=True,
    simulated=True,
    streamed=True,
    first_token_seconds=0.0,
    retention_class="compliance",
    expires=date(2026, 7, 1),
    span=CallSpan("Completions", "CHAT_MODEL", ("messages",), "openai", {"a": "b"}, {"c": "d"}, {"name": "exception"}),
)


@pytest.fixture
def keyring(tmp_path):
    return Keyring(tmp_path / "keys")


def through_json(call, keyring):
    event = events.call_event(call, keyring.pseudonym, {})
    keys, sealed = keyring.seal(event.private, event.subjects)
    return events.read_call(json.loads(json.dumps(event.public)), keyring.open(keys, sealed))


@pytest.mark.parametrize("call", [BARE, FULL, dataclasses.replace(FULL, user="", first_token_seconds=None)])
def test_a_call_comes_back_as_it_went_in(call, keyring):
    """Whatever a call's record leaves out because it is the default, the reader puts back."""
    assert through_json(call, keyring) == call


def test_the_dictionary_is_the_one_that_records_were_written_with():
    """Nobody improves the dictionary of records that are already on disks."""
    assert sha256(DICTIONARY).hexdigest() == "6f5c6ffa9d28a841c90098a9f22c031e985d80fce50e63372a01e4733b6ee509"


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_content_sealed_by_0_1_0_is_opened(form, keyring):
    """What was sealed uncompressed, or with plain zlib, is opened as before."""
    value = {"prompt": "hello", "n": [1, None]}
    data = json.dumps(value).encode()
    data = b"\x01" + zlib.compress(data, 1) if form == "zlib" else b"\x00" + data
    key_id, cipher = keyring._current("-")
    nonce = os.urandom(12)
    sealed = base64.b64encode(nonce + cipher.encrypt(nonce, data, key_id.encode())).decode()
    assert keyring.open((key_id,), sealed) == value


def test_content_of_a_later_form_is_refused_by_name(keyring):
    """A record that a later version has written isn't taken for a broken one."""
    key_id, cipher = keyring._current("-")
    nonce = os.urandom(12)
    sealed = base64.b64encode(nonce + cipher.encrypt(nonce, b"\x09later", key_id.encode())).decode()
    with pytest.raises(ConfigError, match="newer prodkit"):
        keyring.open((key_id,), sealed)


def test_the_record_of_a_call_by_0_1_0_is_read():
    """A record with every field spelled out, defaults too, gives the same call as one without them."""
    public = {
        "request_id": "req-1", "name": "cell", "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:00:01+00:00", "status": "ok", "provider": "", "model": "",
        "usage": {
            "input_tokens": None, "output_tokens": None, "cache_read_tokens": None, "cache_write_tokens": None,
            "reasoning_tokens": None, "input_audio_tokens": None, "output_audio_tokens": None, "estimated": False,
        },
        "cost": {"usd": None, "status": "unpriced", "source": "", "price_date": None, "reason": "", "input_usd": None},
        "data_source": "", "purpose": "", "region": "", "trace_id": "", "span_id": "", "run_key": "", "prompts": [],
        "datasets": [], "attempts": [], "served_by": "", "degraded": False, "simulated": False, "streamed": False,
        "first_token_seconds": None, "retention_class": "", "expires": None, "subject": "", "failed": False,
        "settings": {}, "redactions": {},
    }  # fmt: skip
    private = {"prompt": None, "response": None, "error": "", "user": "", "session": "", "parameters": {}}
    assert events.read_call(public, private) == BARE
    assert events.read_call(public, None) == BARE


def test_a_usual_call_takes_less_than_1500_bytes_of_the_journal(tmp_path):
    """A call with 320 bytes of text in it, its span, its chain and its encryption fit into 1,500 bytes."""
    draw = random.Random(7)
    said = ["".join(draw.choices("etaoinshrdlu ", k=size)) for size in (200, 120)]
    call = dataclasses.replace(
        BARE,
        request_id="req-01a23219383be77874912f89ed64",
        provider="openai",
        model="gpt-4o-mini",
        usage=Usage(90, 30),
        cost=Cost(Decimal("0.00002550"), "priced", "genai-prices 0.2.3", date(2026, 1, 1), "", Decimal("0.0000075")),
        user="ada",
        session="s-1",
        data_source="user_input",
        trace_id="tr-e5e6a30a1eb2eb6d394bc409422618e9",
        span_id="c1b6db2a510461cf",
        run_key="run-01a232190a234b102369416cb6cd",
        served_by="openai/gpt-4o-mini",
        retention_class="compliance",
        expires=date(2026, 7, 1),
        span=CallSpan("Completions", "CHAT_MODEL", ("messages",), "openai"),
        prompt=[{"role": "user", "content": said[0]}],
        response={"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"content": said[1], "role": "assistant"}}]},
        attempts=(Attempt("openai/gpt-4o-mini", "", 0.5123456789),),
    )
    places = Places(tmp_path / ".prodkit")
    places.make()
    journal = Journal(places, Keyring(places.keys))
    journal.append_all([events.call_event(call, journal._keyring.pseudonym, {})])
    before = list_segments(places.journal)[0].path.stat().st_size
    journal.append_all([events.call_event(call, journal._keyring.pseudonym, {})])
    journal.close()
    assert list_segments(places.journal)[0].path.stat().st_size - before < 1500


ONCE = (Attempt("openai/gpt-4o-mini", "", 0.5),)
"""A call that went well at once."""


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"served_by": ""},
        {"attempts": ()},
        {"attempts": (*ONCE, *ONCE)},
        {"attempts": (dataclasses.replace(ONCE[0], waited=1.0),)},
        {"attempts": (dataclasses.replace(ONCE[0], failure_class="overloaded"),)},
        {"provider": "", "model": "", "served_by": "/", "attempts": (Attempt("/", "", 0.5),)},
        {"ended": FULL.started},
        {"ended": FULL.started.replace(microsecond=7)},
    ],
)
def test_a_call_that_went_well_at_once_is_read_as_it_was(change):
    """Target, attempts and end are left out where the other fields give them, and only there."""
    call = dataclasses.replace(FULL, **{"served_by": "openai/gpt-4o-mini", "attempts": ONCE, **change})
    event = events.call_event(call, str.upper, {})
    read = events.read_call(json.loads(json.dumps(event.public)), json.loads(json.dumps(event.private)))
    assert read == call
    if not change:
        assert "attempts" not in event.public


BELOW = dataclasses.replace(FULL, span=None)
"""A call whose spans are its trace's."""


def _trace(*calls: CallRecord) -> TraceRecord:
    spans = tuple({"attributes": {"mlflow.spanInputs": json.dumps(call.prompt)}} for call in calls)
    return TraceRecord(BELOW.trace_id, spans, calls, "run-1", {"a": "b"}, {"mlflow.trace.user": "u1"})


def test_a_trace_with_one_call_is_one_record():
    """The record of the only call holds all spans; the call is read from it as if it stood alone."""
    trace = _trace(BELOW)
    [event] = events.trace_events(trace, str.upper, {})
    assert (event.kind, event.public["spans"], event.subjects) == (events.CALL, 1, ("u1",))
    assert event.private["trace"] == {"spans": list(trace.spans), "tags": trace.tags, "metadata": trace.metadata}
    read = events.read_call(json.loads(json.dumps(event.public)), json.loads(json.dumps(event.private)))
    assert read == BELOW
    assert events.read_call(event.public, None).attempts == BELOW.attempts


def test_a_record_is_sealed_for_everybody_that_its_spans_name():
    """Where a trace names another person than its call does, losing the key of either takes the content away."""
    [event] = events.trace_events(
        dataclasses.replace(_trace(BELOW), metadata={"mlflow.trace.user": "u2"}), str.upper, {}
    )
    assert (event.subjects, event.public["subject"], event.public["subjects"]) == (("u1", "u2"), "U1", ["U1", "U2"])


@pytest.mark.parametrize("other", [{"trace_id": "tr-" + "1" * 32}, {"request_id": "req-3"}])
def test_a_trace_with_other_calls_has_a_record_of_its_own(other):
    """Several calls, or one that names another trace, leave the spans to a record beside theirs."""
    second = dataclasses.replace(BELOW, **other)
    calls = (BELOW, second) if "request_id" in other else (second,)
    *first, last = events.trace_events(_trace(*calls), str.upper, {})
    assert [event.kind for event in first] == [events.CALL] * len(calls)
    assert (last.kind, last.public["requests"]) == (events.TRACE, [call.request_id for call in calls])
    assert all("trace" not in event.private for event in first)


def test_a_prompt_of_a_trace_takes_its_room_once(tmp_path):
    """A call below a span of the user's own takes hardly more than its text: the second copy is a reference."""
    keyring = Keyring(Places(tmp_path / ".prodkit").keys)
    text = "".join(random.Random(7).choices("etaoinshrdlu ", k=2000))
    call = dataclasses.replace(BELOW, prompt=text)
    _, alone = keyring.seal(call.prompt)
    _, sealed = keyring.seal(events.trace_events(_trace(call), str.upper, {})[0].private)
    assert len(sealed) < len(alone) + 500


def test_packing_gives_back_every_byte():
    """Short, long, random and empty data come back; what was cut off is refused."""
    for data in (b"", b"x", os.urandom(5000), b'{"role":"user"}' * 9000):
        assert unpack(pack(data)) == data
    with pytest.raises(ValueError, match="not a packed record"):
        unpack(pack(b"hello, hello, hello")[:-3])
