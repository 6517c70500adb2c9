"""Cleaning values of any shape by a policy."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from prodkit.errors import ConfigError
from prodkit.redaction import Redactor, redact

KEY = b"a project's key"


def clean(value, policy=None):
    return Redactor(policy or {}, KEY).clean(value)


def test_front_door():
    """The front door replaces what it finds by markers that name the class."""
    assert redact("write to ana@example.org") == "write to [redacted:email]"


def test_counts():
    """The number of findings of each class is told."""
    assert clean(["a@example.org", {"x": "b@example.org and +49 30 1234567"}]).counts == {"email": 2, "phone": 1}


def test_nested():
    """Values in lists, dicts, tuples and sets are cleaned, and so are the keys of dicts."""
    cleaned = clean({"a@example.org": [("b@example.org",), {"c@example.org"}], 1: None}).value
    assert cleaned == {"[redacted:email]": [["[redacted:email]"], ["[redacted:email]"]], "1": None}


def test_equal_markers_as_keys():
    """Two keys that become the same marker both stay."""
    assert len(clean({"a@example.org": 1, "b@example.org": 2}).value) == 2


def test_dataclasses_models_and_exceptions():
    """Dataclasses, pydantic models and exceptions become JSON-able and clean."""

    @dataclasses.dataclass
    class Customer:
        mail: str
        born: datetime

    class Ticket(BaseModel):
        customer: str
        price: Decimal
        secret: SecretStr

    values = [
        Customer("a@example.org", datetime(2026, 1, 2, tzinfo=UTC)),
        Ticket(customer="b@example.org", price=Decimal("1.5"), secret=SecretStr("canary-1")),
        ValueError("c@example.org failed"),
        Path("/home/d@example.org/x.csv"),
    ]
    text = json.dumps(clean(values).value)
    assert "example.org" not in text
    assert "canary" not in text
    assert '"price": "1.5"' in text


def test_names_of_secrets():
    """The value under a name such as `password` is taken out whatever it looks like."""
    cleaned = clean(
        {"db_password": "letmein", "apiKey": "abc", "token": "Hello", "max_tokens": 5, "password": ""}
    ).value
    assert cleaned == {
        "db_password": "[redacted:secret]",
        "apiKey": "[redacted:secret]",
        "token": "Hello",
        "max_tokens": 5,
        "password": "",
    }


def test_schema_of_a_password():
    """A JSON schema that describes a password stays readable."""
    schema = {"properties": {"password": {"type": "string", "description": "The user's password"}}}
    assert clean(schema).value == schema


def test_bytes():
    """Bytes that are text are cleaned, other bytes are left out."""
    assert clean(b"mail a@example.org").value == "mail [redacted:email]"
    assert clean("mail a@example.org".encode("utf-16")).value.startswith("[redacted:")


def test_surrogates():
    """Broken and split characters don't stop the cleaning, and the result can be written as UTF-8."""
    cleaned = clean("\ud83d\ude00 \udc80 a@example.org").value
    assert cleaned.encode() == "😀 \ufffd [redacted:email]".encode()


def test_fails_closed():
    """What can't be cleaned becomes a marker, never raw and never an error."""

    class Broken:
        def model_dump(self):
            raise RuntimeError("a@example.org")

    loop: list[object] = []
    loop.append(loop)
    cleaned = clean([Broken(), object(), loop, float("nan")])
    assert cleaned.value == ["[redacted:uncleanable]", "[redacted:object object]", ["[redacted:uncleanable]"], "nan"]
    assert cleaned.counts == {"uncleanable": 3}


def test_a_broken_finder():
    """A finder that raises makes the text a marker."""

    def finder(text):
        raise RuntimeError(text.raw)

    cleaned = Redactor({}, None, finders=[finder]).clean("raw text")
    assert cleaned.value == "[redacted:uncleanable]"


def test_policy():
    """A class can be kept or hashed; a group stands for its classes and a class's own entry wins."""
    text = "a@example.org +49 30 1234567"
    assert clean(text, {"email": "keep"}).value == "a@example.org [redacted:phone]"
    assert clean(text, {"personal": "keep", "email": "redact"}).value == "[redacted:email] +49 30 1234567"
    assert clean(text, {"personal": "keep"}).counts == {}


def test_hashes():
    """Equal values have equal hashes under one key and other ones under another, and a hash isn't found again."""
    first, second = (
        Redactor({"email": "hash"}, key).clean("a@example.org b@example.org").value for key in (b"1", b"2")
    )
    assert first.startswith("[hashed:email:")
    assert first != second
    assert len(set(first.split())) == 2
    assert redact(first) == first


@pytest.mark.parametrize(
    ("policy", "key", "code"),
    [
        ({"emial": "keep"}, KEY, "redaction.unknown-class"),
        ({"email": "drop"}, KEY, "redaction.unknown-action"),
        ({"openai_key": "keep"}, KEY, "redaction.secret-kept"),
        ({"secrets": "keep"}, KEY, "redaction.secret-kept"),
        ({"email": "hash"}, None, "redaction.no-key"),
    ],
)
def test_wrong_policies(policy, key, code):
    """A wrong policy is one clear error with a place and a fix."""
    with pytest.raises(ConfigError) as caught:
        Redactor(policy, key)
    assert caught.value.code == code
    assert caught.value.where.startswith("redaction.policy.")
    assert caught.value.fix


def test_a_record_counts_each_of_its_texts_once():
    """A rule for one record cleans a repeated text the same each time and counts it once; the next record counts anew."""
    rule = Redactor({}, KEY)
    for _ in range(2):
        once = rule.once()
        first, again = once.clean({"prompt": "to ana@example.org"}), once.clean(["to ana@example.org"])
        assert first.value == {"prompt": "to [redacted:email]"}
        assert again.value == ["to [redacted:email]"]
        assert (first.counts, again.counts) == ({"email": 1}, {})
    assert rule.clean(["to ana@example.org"] * 2).counts == {"email": 2}
