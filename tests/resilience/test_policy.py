"""Policies from the manifest, and what they refuse to be."""

from __future__ import annotations

import dataclasses

import pytest

from prodkit.errors import ConfigError
from prodkit.manifest import load, parse
from prodkit.resilience import BreakerSettings, FailureClass, Policy, Target
from prodkit.resilience.checks import inside

MODELS = """
models:
  - {name: a, provider: openai, region: eu-central-1, allowed_classifications: [public, internal, confidential]}
  - {name: b, provider: openai, region: us, allowed_classifications: [public]}
  - {name: c, provider: openai, region: eu, allowed_classifications: [public, internal, confidential]}
"""

WRONG = {
    "attempt above deadline": ("resilience: {deadline: 5s,\n attempt_timeout: 10s}", "resilience.contradiction", 2),
    "first wait above longest": (
        "resilience:\n  retry:\n    wait_max: 1s\n    wait_initial: 2s",
        "resilience.contradiction",
        4,
    ),
    "wait fills deadline": ("resilience:\n  deadline: 2s\n  retry: {wait_initial: 3s}", "resilience.contradiction", 3),
    "breaker never opens": (
        "resilience:\n  breaker:\n    window: 4\n    minimum: 5",
        "resilience.contradiction",
        4,
    ),
    "silence above deadline": ("resilience:\n  deadline: 5s\n  stream_idle_timeout: 6s", "resilience.contradiction", 3),
    "unknown class": ("resilience:\n  fallback_also_on:\n    - filterd", "resilience.unknown-class", 3),
    "never is no class": ("resilience:\n  fallback_also_on: [never]", "resilience.unknown-class", 2),
    "unknown model": (MODELS + "resilience:\n  fallback: [a, d]", "resilience.unknown-model", 7),
    "twice": (MODELS + "resilience:\n  fallback:\n    - a\n    - a", "resilience.loop", 9),
    "itself": ("models:\n  - name: a\n    provider: openai\n    fallbacks: [a]", "resilience.loop", 4),
    "loop": (
        (
            "models:\n  - {name: a, provider: openai, fallbacks: [b]}\n  - {name: b, provider: openai, fallbacks: [c]}\n"
            "  - name: c\n    provider: openai\n    fallbacks: [a]"
        ),
        "resilience.loop",
        6,
    ),
    "residency": (
        MODELS + "compliance: {residency: [eu]}\nresilience:\n  fallback: [c, b]",
        "resilience.residency",
        8,
    ),
    "unknown region": (
        "models:\n  - {name: a, provider: openai}\ncompliance: {residency: [eu]}\nresilience:\n  fallback: [a]",
        "resilience.residency",
        5,
    ),
    "model after a text": (
        MODELS + "resilience:\n  fallback:\n    - {static: Later.}\n    - a",
        "resilience.contradiction",
        9,
    ),
    "earlier answers twice": (
        "resilience:\n  fallback:\n    - cached: {max_age: 1h}\n    - cached: {max_age: 2h}",
        "resilience.contradiction",
        4,
    ),
    "two static replies": (
        "resilience:\n  fallback: [{static: Later.}]\n  static_reply: Never.",
        "resilience.contradiction",
        3,
    ),
    "kept beyond retention": (
        "compliance: {retention_days: 10}\nresilience:\n  fallback:\n    - cached: {max_age: 11d}",
        "resilience.contradiction",
        4,
    ),
    "unknown model in full": (MODELS + "resilience:\n  fallback: [{model: d}]", "resilience.unknown-model", 7),
    "residency in full": (
        MODELS + "compliance: {residency: [eu]}\nresilience:\n  fallback:\n    - model: b",
        "resilience.residency",
        9,
    ),
    "a step of no kind": ("resilience:\n  fallback:\n    - {modle: a}", "manifest.unknown-key", 3),
    "no age": ("resilience:\n  fallback:\n    - cached: {}", "manifest.missing-key", 3),
    "classification": (
        MODELS.replace("region: eu-central-1,", "region: eu, fallbacks: [b],")
        + "data_sources:\n  crm: {kind: csv, classification: confidential}",
        "resilience.classification",
        3,
    ),
}


@pytest.mark.parametrize(("text", "code", "line"), WRONG.values(), ids=WRONG)
def test_refuses_with_the_line(tmp_path, text: str, code: str, line: int):
    """A manifest that contradicts itself is refused when the policy is built, with its line and a fix."""
    path = tmp_path / "prodkit.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        Policy.from_manifest(load(path), source=path)
    assert refused.value.code == code
    assert refused.value.where.startswith(f"prodkit.yaml:{line} ")
    assert refused.value.fix


WRONG_VALUES = {
    "a step of two kinds": ("resilience:\n  fallback:\n    - {model: a, static: b}", "write one of `model:`", 3),
    "unknown commit": ("resilience:\n  commit: bufer", "should be 'first_token', 'buffer' or 'restart'", 2),
    "a key instead of its variable": (
        "models:\n  - name: a\n    provider: openai\n    api_key: sk-12345",
        "the name of an environment variable",
        4,
    ),
}


@pytest.mark.parametrize(("text", "says", "line"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_values_say_what_is_right(tmp_path, text: str, says: str, line: int):
    """A value that can't be is refused with its line, and the sentence says what could stand there."""
    path = tmp_path / "prodkit.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert refused.value.code == "manifest.invalid"
    assert says in refused.value.what
    assert refused.value.where.startswith(f"prodkit.yaml:{line} ")


def test_refusal_without_a_file_names_the_key():
    """Without the file the key's path stands in for its line."""
    with pytest.raises(ConfigError, match=r"prodkit.yaml \(resilience.attempt_timeout\)"):
        Policy.from_manifest(parse("resilience: {deadline: 1s, attempt_timeout: 2s}"))


@pytest.mark.parametrize(
    "changes",
    [
        {"deadline": 1.0, "attempt_timeout": 2.0},
        {"deadline": 0.0},
        {"attempts": 0},
        {"wait_initial": 9.0, "wait_max": 1.0},
        {"breaker": BreakerSettings(window=3, minimum=4)},
        {"breaker": BreakerSettings(failure_share=0.0)},
        {"breaker": BreakerSettings(open_for=0.0)},
        {"onward_also": ("filterd",)},
    ],
)
def test_policy_in_code_is_checked_too(changes):
    """A policy that is built in code is refused for the same contradictions."""
    with pytest.raises(ConfigError):
        Policy(**changes)


def test_chain_follows_the_manifest():
    """A model's own fallbacks come first; else the policy's; a model never follows itself."""
    text = MODELS.replace("name: a,", "name: a, fallbacks: [c],") + "resilience: {fallback: [b, c], deadline: 9s}"
    policy = Policy.from_manifest(parse(text))
    assert [target.key for target in policy.chain("openai", "a")] == ["openai/a", "openai/c"]
    assert [target.key for target in policy.chain("openai", "b")] == ["openai/b", "openai/c"]
    assert [target.key for target in policy.chain("openai", "new")] == ["openai/new", "openai/b", "openai/c"]
    assert policy.chain("openai", "a")[0].region == "eu-central-1"
    assert policy.deadline == 9.0


def test_the_chain_in_full():
    """A chain can name its models, an earlier answer with its age, and a text; what is said short means the same."""
    text = MODELS + (
        "resilience: {fallback: [b, {model: c}, {cached: {max_age: 24h}}, {static: Later.}], commit: restart}"
    )
    policy = Policy.from_manifest(parse(text))
    assert [target.key for target in policy.chain("openai", "a")] == ["openai/a", "openai/b", "openai/c"]
    assert (policy.stale_for, policy.static_reply, policy.commit) == (86_400.0, "Later.", "restart")
    short = Policy.from_manifest(parse(MODELS + "resilience: {fallback: [b], static_reply: Later.}"))
    assert (short.stale_for, short.static_reply, short.commit) == (None, "Later.", "first_token")


def test_attempts_share_the_deadline():
    """With a fallback an attempt gets half of the deadline, the last target what is left, never more than that."""
    policy = Policy(deadline=10.0)
    assert policy.timeout(10.0, last=False) == 5.0
    assert policy.timeout(10.0, last=True) == 10.0
    assert policy.timeout(1.0, last=False) == 1.0
    assert policy.timeout(-1.0, last=True) == 0.0
    assert Policy(deadline=None).timeout(None, last=True) is None
    assert Policy(deadline=10.0, attempt_timeout=2.0).timeout(10.0, last=True) == 2.0


def test_copy_with_other_settings_begins_anew():
    """A copied policy has breakers and chains of its own, by its own settings."""
    policy = Policy(fallbacks={"": (Target("openai", "b"),)})
    policy.breaker_of(policy.chain("openai", "a")[0]).hold(9.0)
    copy = dataclasses.replace(policy, fallbacks={})
    assert len(copy.chain("openai", "a")) == 1
    assert copy.breaker_of(copy.chain("openai", "a")[0]).enter() is not None


def test_filtered_goes_onward_only_when_asked():
    """The content filter's no is final, unless the manifest lets another model try."""
    assert not Policy().rule(FailureClass.FILTERED).onward
    assert Policy(onward_also=("filtered",)).rule(FailureClass.FILTERED).onward


def test_region_lies_inside_by_whole_words():
    """`eu-central-1` lies in `eu`, `europe` doesn't, and an unknown region lies nowhere."""
    assert inside("eu-central-1", ("eu",))
    assert not inside("europe", ("eu",))
    assert not inside("", ("eu",))
    assert inside("", ())


def test_shared_state_is_used_only_when_asked(tmp_path):
    """The breakers' state is written to disk only with `breaker.shared`."""
    alone = Policy.from_manifest(parse("service: {name: x}"), state=tmp_path)
    alone.breaker_of(Target("openai", "a")).hold(5.0)
    assert not list(tmp_path.iterdir())
    shared = Policy.from_manifest(parse("resilience: {breaker: {shared: true}}"), state=tmp_path)
    shared.breaker_of(Target("openai", "a")).hold(5.0)
    again = Policy.from_manifest(parse("resilience: {breaker: {shared: true}}"), state=tmp_path)
    assert again.breaker_of(Target("openai", "a")).enter() is None
