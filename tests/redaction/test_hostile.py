"""Texts that are long, broken or made to be slow."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings, strategies as st

from prodkit.redaction import Redactor, redact

SIZE = 5_000_000
REPEATED = {
    "a": "a",
    "digits": "1",
    "zeros": "001-",
    "plus": "+1 ",
    "spaced digits": "12 34 ",
    "dots": ".",
    "at": "a@",
    "emails": "a@b.co ",
    "domain": "@a.",
    "words": "password ",
    "assignments": "password=",
    "colons": "token:",
    "quotes": 'password="',
    "backslashes": 'password=\\"',
    "options": "--token ",
    "dashes": "-",
    "slashes": "://",
    "users": "://a:",
    "prefixes": "sk-",
    "aws": "AKIA",
    "jwt": "eyJa.",
    "keys": "-----BEGIN PRIVATE KEY-----",
    "ibans": "DE89 ",
    "letters": "AB12",
    "ipv6": "1::",
    "macs": "00:",
    "births": "born on 1-",
    "cookies": "cookie: a=b",
    "bearers": "bearer ",
    "spaces": " ",
    "lines": "\n",
    "base64": "QUJD",
    "cards": "4111 ",
    "umlauts": "ü",
    "capital dotted i": "İ",
    "discord": ".aaaaaa",
    "secrets": "kind: secret\ndata:\n  a: ",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATED)
def test_five_megabytes_of_anything(name):
    """No text of 5 MB takes longer than some seconds."""
    text = (REPEATED[name] * (SIZE // len(REPEATED[name])))[:SIZE]
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 20


def test_growth():
    """Ten times the text takes about ten times as long, also when it is made to be slow."""
    for name, part in REPEATED.items():
        short, long = (best_of_three((part * size)[:size]) for size in (20_000, 200_000))
        assert long < 40 * short + 0.2, name


def best_of_three(text: str) -> float:
    """Seconds of this thread alone: other rooms' threads live in the same process."""
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        redact(text)
        seconds.append(time.thread_time() - start)
    return min(seconds)


def test_a_long_prompt():
    """A secret at the end of a 5 MB prompt is found."""
    text = "The customer wrote to us again. " * 160_000 + "key AKIAIOSFODNN7EXAMPLE"
    assert redact(text).endswith("key [redacted:aws_key]")


def test_long_values():
    """A secret value is taken out as a whole, however long it is."""
    for value in ("x1Y" * 30_000, "x1 Y" * 3000):
        assert "x1" not in redact(f'password="{value}"')
    assert "x1Y" not in redact(f"password={'x1Y' * 3000}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value_becomes_json(value):
    """Any nested value comes back as strict JSON in UTF-8."""
    json.dumps(Redactor({}, None).clean(value).value, allow_nan=False, ensure_ascii=False).encode()


CANARY = "sk-proj-q7Yz0Lm2Np4Rt6Vx8Bd1Fh3Jk5"


@given(st.text(), st.text())
@settings(max_examples=300, deadline=None)
def test_a_secret_between_anything(before, after):
    """A token is found whatever text stands around it, as long as it isn't glued to a longer word."""
    glued = before[-1:].isalnum() or before[-1:] == "_"
    text = f"{before}{' ' if glued else ''}{CANARY}{after}"
    assert CANARY not in redact(text)


@given(st.text(alphabet=st.sampled_from("a@.:/= -+\"'0123456789ABpswdrtokenly\n\\[]"), max_size=60))
@settings(max_examples=500, deadline=None)
def test_cleaning_twice(text):
    """What is clean stays as it is: a second cleaning finds no markers and no more secrets in them."""
    once = redact(text)
    assert redact(once).count("[redacted:") == once.count("[redacted:")


def test_broken_characters():
    """Split characters, lone halves and zero bytes don't hide a secret and don't stop the cleaning."""
    for text in (f"\ud800{CANARY}", f"{CANARY}\udfff", f"\0{CANARY}\0", f"\ud83d\ude00 {CANARY}", f"{CANARY}\u202e"):
        cleaned = redact(text)
        assert CANARY not in cleaned
        cleaned.encode()


def test_broken_bytes():
    """Bytes that are mostly text are cleaned; others leave only their size."""
    assert Redactor({}, None).clean(b"caf\xe9 " + CANARY.encode() + b" and a long line of text").value == (
        "caf\ufffd [redacted:openai_key] and a long line of text"
    )
    assert Redactor({}, None).clean(CANARY.encode("utf-16-le")).value == f"[redacted:{2 * len(CANARY)} bytes]"


@pytest.mark.parametrize("escape", ["\\n", "\\t", "%3D", "\\u0022"])
def test_escapes(escape):
    """A secret behind an escaped character is found, though the escape ends in a letter or digit."""
    assert CANARY not in redact(f"x{escape}{CANARY}")


def test_pictures():
    """A picture in a data URL stays as it is, and what stands around it is cleaned."""
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 1000 + "=="
    assert redact(f"{CANARY} {picture} a@example.org") == f"[redacted:openai_key] {picture} [redacted:email]"
    for text in (f"data:text/plain;base64,{CANARY}", f"data:image/png;base64,{CANARY}", f";base64,{CANARY}"):
        assert CANARY not in redact(text)


def test_depth_and_cycles():
    """Very deep values and values that hold themselves end in a marker."""
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    text = json.dumps(Redactor({}, None).clean(deep).value)
    assert "[redacted:uncleanable]" in text
