"""Reading Retry-After, and what exceptions mean."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import json
import urllib.error

import aiohttp
import httpx
import pytest
from hypothesis import given, strategies as st

from prodkit.resilience import FailureClass, classify
from prodkit.resilience.allowance import CAPACITY, Allowance
from prodkit.resilience.waits import retry_after

WALL = 1_800_000_000.0


def date(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


READINGS = {
    "seconds": ({"retry-after": "3"}, 3.0),
    "parts": ({"retry-after": "0.25"}, 0.25),
    "milliseconds win": ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    "date": ({"retry-after": date(WALL + 7)}, 7.0),
    "their clock is an hour ahead": ({"retry-after": date(WALL + 3607), "date": date(WALL + 3600)}, 7.0),
    "our clock is an hour ahead": ({"retry-after": date(WALL - 3593), "date": date(WALL - 3600)}, 7.0),
    "past date": ({"retry-after": date(WALL - 7)}, 0.0),
    "reset headers": ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0.5s"}, 360.5),
    "nonsense": ({"retry-after": "soon"}, None),
    "negative": ({"retry-after": "-5"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("headers", "expected"), READINGS.values(), ids=READINGS)
def test_retry_after_reads(headers, expected):
    """Every spelling of Retry-After gives the same seconds, whoever's clock is wrong."""
    assert retry_after(headers, WALL) == expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_retry_after_survives_any_text(said, sent):
    """No header makes the reader raise, or gives a negative or infinite wait."""
    seconds = retry_after({"retry-after": said, "date": sent, "x-ratelimit-reset-tokens": said}, WALL)
    assert seconds is None or 0 <= seconds < float("inf")


class SaidError(Exception):
    """An exception with the attributes that the SDKs give theirs."""

    def __init__(self, **attributes) -> None:
        super().__init__("said")
        self.__dict__.update(attributes)


CLASSES = {
    "503": (SaidError(status_code=503), "unavailable"),
    "status in the response": (SaidError(response=SaidError(status_code=502, headers={})), "unavailable"),
    "requests' response": (
        SaidError(response=SaidError(status_code=429, headers={"retry-after": "2"})),
        "rate-limited",
    ),
    "402": (SaidError(status_code=402), "quota"),
    "quota by code": (SaidError(status_code=429, code="insufficient_quota"), "quota"),
    "quota in the body": (SaidError(status_code=429, body={"error": {"type": "insufficient_quota"}}), "quota"),
    "quota in a text": (
        SaidError(status_code=429, body=json.dumps({"error": {"code": "insufficient_quota"}})),
        "quota",
    ),
    "filter by code": (SaidError(status_code=400, body={"code": "content_filter"}), "filtered"),
    "azure's filter": (
        SaidError(status_code=400, body={"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        "filtered",
    ),
    "litellm's timeout": (type("Timeout", (SaidError,), {})(status_code=408), "timeout"),
    "urllib": (urllib.error.HTTPError("http://x", 429, "slow down", {"retry-after": "2"}, None), "rate-limited"),
    "urllib's connection": (urllib.error.URLError("refused"), "unavailable"),
    "aiohttp's status": (aiohttp.ClientResponseError(None, (), status=503), "unavailable"),
    "aiohttp's connection": (aiohttp.ServerDisconnectedError(), "unavailable"),
    "httpx's status": (
        httpx.HTTPStatusError("x", request=None, response=httpx.Response(503)),
        "unavailable",
    ),
    "httpx's timeout": (httpx.ReadTimeout("x"), "timeout"),
    "httpx's connect timeout": (httpx.ConnectTimeout("x"), "unavailable"),
    "401": (SaidError(status_code=401), "refused"),
    "418": (SaidError(status_code=418), "refused"),
    "overload inside a stream": (
        SaidError(body={"type": "error", "error": {"type": "overloaded_error"}}),
        "unavailable",
    ),
    "timeout": (TimeoutError(), "timeout"),
    "reset": (ConnectionResetError(), "unavailable"),
    "no route": (OSError(errno.ENETUNREACH, "unreachable"), "unavailable"),
    "json": (json.JSONDecodeError("x", "", 0), "bad-answer"),
    "cancelled": (asyncio.CancelledError(), "never"),
    "interrupt": (KeyboardInterrupt(), "never"),
    "bug": (TypeError("x"), "never"),
    "no file": (FileNotFoundError(), "never"),
    "key": (KeyError("x"), "never"),
}


@pytest.mark.parametrize(("error", "expected"), CLASSES.values(), ids=CLASSES)
def test_exceptions_are_known_by_shape(error, expected):
    """An exception's class follows from its status, its code and its bases, in this order."""
    assert classify(error).kind == expected


def test_wait_is_part_of_the_failure():
    """What a provider asks us to wait reaches the policy."""
    assert classify(SaidError(status_code=429, response=SaidError(headers={"retry-after": "2"}))).retry_after == 2.0
    assert classify(aiohttp.ClientResponseError(None, (), status=429, headers={"retry-after": "3"})).retry_after == 3.0


def test_unsent_requests_cost_nothing():
    """An attempt that never reached the provider is known to be free; a timeout isn't."""
    assert classify(ConnectionRefusedError()).billed is False
    assert classify(SaidError(status_code=503)).billed is False
    assert classify(TimeoutError()).billed is None


def test_allowance_runs_dry_and_comes_back():
    """The retry budget pays for 35 retries in a row, and successes earn new ones."""
    allowance = Allowance()
    paid = 0
    while allowance.spend(FailureClass.UNAVAILABLE):
        paid += 1
    assert paid == CAPACITY // 14
    assert allowance.spend(FailureClass.RATE_LIMITED)
    for _ in range(14):
        allowance.earn()
    assert allowance.spend(FailureClass.UNAVAILABLE)
