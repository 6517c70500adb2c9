"""The request browser: finding and comparing calls, without leaking their texts into the notebook's file."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.errors import ParameterError
from prodkit.notebook.requests import RequestBrowser, answered, said


def ask(text: str, model: str = "gpt-4o-mini") -> str:
    return f'client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "{text}"}}])'


@pytest.fixture
def browser(notebook: Any, client: Any) -> RequestBrowser:
    notebook.run(f"%%prodkit --name small\n{ask('I was charged twice, write to mira@example.org')}")
    notebook.run(f"%%prodkit --name large\n{ask('my parcel is lost', 'gpt-4o')}")
    return RequestBrowser(notebook.shell._prodkit_magics.runs)


def test_calls_are_found_by_text_and_by_word(browser: RequestBrowser) -> None:
    """The newest come first; a text is looked for in prompt, answer, run and model."""
    assert [call.name for call in browser.calls] == ["large", "small"]
    assert [call.name for call in browser.find("PARCEL")] == ["large"]
    assert [call.name for call in browser.find(model="gpt-4o-mini")] == ["small"]
    assert browser.find("parcel", run="small") == ()


def test_two_calls_side_by_side(browser: RequestBrowser) -> None:
    """Model, cost, latency, prompt and answer of both, redacted."""
    large, small = browser.calls
    text = browser.compare(small.request_id, large.request_id).to_text()
    for part in ("gpt-4o-mini", "charged twice", "parcel", "cost", "latency"):
        assert part in text
    assert "mira@example.org" not in text
    with pytest.raises(ParameterError, match=r"notebook\.no-request"):
        browser.compare("req-0", large.request_id)


def test_the_browser_gets_redacted_texts_and_the_file_gets_none(notebook: Any, browser: RequestBrowser) -> None:
    """What is sent to the page is redacted; what is stored in the notebook are figures."""
    state = browser.state()
    assert "mira@example.org" not in str(state)
    assert "charged twice" in state["calls"][1]["prompt"]
    twin, live = notebook.run("%prodkit requests").outputs
    assert "application/vnd.jupyter.widget-view+json" in live.data
    for kind in ("text/html", "text/plain"):
        assert "charged twice" not in twin.data[kind]
        assert "gpt-4o-mini" in twin.data[kind]


def test_shapes_of_prompts_and_answers() -> None:
    """Messages, parts, Anthropic's blocks and unknown shapes are all readable."""
    assert said({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}) == "user: hi"
    assert said("plain") == "plain"
    assert answered({"choices": [{"message": {"content": "yes"}}]}) == "yes"
    assert answered({"content": [{"type": "text", "text": "well"}]}) == "well"
    assert answered({"data": [1]}) == '{\n "data": [\n  1\n ]\n}'
    assert answered(None) == ""
