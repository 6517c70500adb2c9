"""`prodkit.compare`: the same function over models and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import prodkit
from prodkit.capture.scoring import exact_match, mean
from prodkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest import Project


def test_models_and_prompts_are_put_in_from_outside(here: Callable[..., Project], client: Any, ask: Any) -> None:
    """The function says one model and one prompt; each variant's calls go out with its own, linked to its version."""
    here()
    prodkit.prompt("sort", "Where does this go? {body}")
    newest = prodkit.prompt("sort", "Sort this ticket into one word, one of bug or billing: {body}")
    found = prodkit.compare(
        lambda: ask(client, newest.format(body="It crashes")), model=["gpt-4o-mini", "gpt-4o"], prompt="v1,v2"
    )
    assert [one.label for one in found] == ["gpt-4o-mini, v1", "gpt-4o-mini, v2", "gpt-4o, v1", "gpt-4o, v2"]
    assert [one.summary.models for one in found] == [("gpt-4o-mini",)] * 2 + [("gpt-4o",)] * 2
    assert [one.summary.prompts for one in found] == [("prompts:/sort/1",), ("prompts:/sort/2",)] * 2
    assert newest.format(body="x").startswith("Sort this ticket"), "afterwards it is the version that it was"
    assert list(found.to_frame().columns)[:4] == ["model", "prompt", "quality", "cost_usd"]


def test_a_prompt_of_another_process_is_read_from_the_registry(
    here: Callable[..., Project], client: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that another kernel has registered is filled in as well, and a name takes its newest version."""
    here()
    prodkit.prompt("terse", "One word only for: {body}")
    prodkit.prompt("sort", "Where does this go? {body}")
    newest = prodkit.prompt("sort", "Sort this ticket into one word: {body}")
    monkeypatch.setattr("prodkit.capture.prompts._made", {})
    monkeypatch.setattr("prodkit.capture.prompts._known", {"sort": newest})
    found = prodkit.compare(lambda: ask(client, newest.format(body="It crashes")), prompt=["sort@1", "terse"])
    assert [one.error for one in found] == [None, None]
    assert [one.summary.prompts for one in found] == [("prompts:/sort/1",), ("prompts:/terse/1",)]


def test_arguments_of_these_names_get_the_variant(here: Callable[..., Project], client: Any, ask: Any) -> None:
    """A function that takes `prompt` itself needs no registered one."""
    here()

    def work(prompt: str) -> str:
        ask(client, prompt)
        return prompt

    found = prodkit.compare(work, prompt=["Is it late?", "Where is it?"])
    assert [one.value for one in found] == ["Is it late?", "Where is it?"]
    assert [one.summary.calls for one in found] == [1, 1]


async def test_async_functions_are_awaited(here: Callable[..., Project], provider: Any) -> None:
    """An `async def` gives a comparison to await, and its calls get the variant's model."""
    from openai import AsyncOpenAI

    here()

    async def work() -> int:
        async with AsyncOpenAI(**provider.openai_options()) as client:
            said = await client.chat.completions.create(model="x", messages=[{"role": "user", "content": "late?"}])
        return len(said.choices)

    found = await prodkit.compare(work, model="gpt-4o-mini,gpt-4o")
    assert [one.value for one in found] == [1, 1]
    assert [one.summary.models for one in found] == [("gpt-4o-mini",), ("gpt-4o",)]


def test_threads_of_a_variant_get_its_model(here: Callable[..., Project], client: Any, ask: Any) -> None:
    """Calls from a pool's threads are the variant's too."""
    from concurrent.futures import ThreadPoolExecutor

    here()

    def work() -> list[str]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda n: ask(client, f"ticket {n} is late"), range(8)))

    found = prodkit.compare(work, model="gpt-4o-mini,gpt-4o")
    assert [(one.summary.calls, one.summary.models) for one in found] == [(8, ("gpt-4o-mini",)), (8, ("gpt-4o",))]


def test_embeddings_keep_their_model(here: Callable[..., Project], client: Any, ask: Any) -> None:
    """A variant's model is put into calls for text alone: an embedding by a chat model would be an error."""
    here()

    def work() -> None:
        client.embeddings.create(model="text-embedding-3-small", input="late")
        ask(client)

    (only,) = prodkit.compare(work, model="gpt-4o")
    assert only.error is None
    assert only.summary.models == ("gpt-4o", "text-embedding-3-small")


def test_the_other_sdk_is_compared_too(here: Callable[..., Project], claude: Any) -> None:
    """Anthropic's client gets the variant's model as well."""
    here()
    models = ["claude-haiku-4-5", "claude-sonnet-4-5"]
    found = prodkit.compare(
        lambda: claude.messages.create(
            model=models[0], max_tokens=20, messages=[{"role": "user", "content": "where is it?"}]
        ),
        model=models,
    )
    assert [one.summary.models for one in found] == [(model,) for model in models]


def test_a_nested_block_is_under_the_limit_above_it(here: Callable[..., Project], client: Any, ask: Any) -> None:
    """A run without a limit of its own, inside of one that has one, spends that one's budget."""
    here()
    with (
        pytest.raises(prodkit.ProdkitError, match=r"budget\.exceeded"),
        prodkit.run("outer", budget="0.000001"),
        prodkit.run("inner"),
    ):
        ask(client)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "compare.no-variants"),
        ({"model": " , "}, "compare.no-variants"),
        ({"model": "a", "score": 3}, "compare.score"),
        ({"model": "a", "budget": "much"}, "capture.bad-budget"),
    ],
)
def test_wrong_arguments_are_said_before_anything_runs(
    here: Callable[..., Project], arguments: dict[str, Any], code: str
) -> None:
    """Nothing to compare, a scorer that isn't one, a budget that isn't money."""
    here()
    ran = []
    with pytest.raises(ParameterError) as caught:
        prodkit.compare(lambda: ran.append(1), **arguments)
    assert caught.value.code == code
    assert ran == []


def test_two_prompts_need_a_name(here: Callable[..., Project]) -> None:
    """Which of two prompts `v1` means is not guessed; `sort@1` says it, and the other one stays."""
    here()
    one, two = prodkit.prompt("sort", "Sort {body}"), prodkit.prompt("reply", "Reply to {body}")
    prodkit.prompt("sort", "Sort this: {body}")
    work = lambda: one.format(body="x") + " | " + two.format(body="x")  # noqa: E731
    with pytest.raises(ParameterError, match=r"compare\.which-prompt"):
        prodkit.compare(work, prompt="v1")
    (found,) = prodkit.compare(work, prompt="sort@2")
    assert found.value == "Sort this: x | Reply to x"


def test_exact_match_counts_in_order() -> None:
    """The share of equal answers; frames' columns, lists and single values alike; other lengths are an error."""
    import pandas as pd

    assert exact_match(["a", "b", None, "d"], pd.Series(["a", "x", "c", "d"])) == 0.5
    assert exact_match("billing", "billing") == 1.0
    assert exact_match({"t1": "a", "t2": "b"}, ["a", "c"]) == 0.5
    with pytest.raises(ParameterError, match="3 answers and 2 right ones"):
        exact_match([1, 2, 3], [1, 2])
    assert mean([True, False, True, True]) == 0.75
    with pytest.raises(ParameterError, match="not a number"):
        mean(["good"])
