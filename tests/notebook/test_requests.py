"""The request browser: finding and comparing calls, without leaking their texts into the notebook's file."""

from __future__ import annotations

from typing import Any

import pytest

from prodkit.errors import ParameterError, ProdkitError
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
    """Texts go to the page for the chosen calls only, redacted; what is stored in the notebook are figures."""
    sent: list[dict[str, Any]] = []
    browser._widget.send = sent.append
    browser.receive({"do": "choose", "ids": [browser.calls[1].request_id]})
    ((entry,),) = (message["entries"] for message in sent)
    assert "charged twice" in entry["prompt"]
    assert "mira@example.org" not in str(sent)
    assert "charged twice" not in str(browser._widget.state)
    twin, live = notebook.run("%prodkit requests").outputs
    assert "application/vnd.jupyter.widget-view+json" in live.data
    for kind in ("text/html", "text/plain"):
        assert "charged twice" not in twin.data[kind]
        assert "gpt-4o-mini" in twin.data[kind]


def test_what_is_filtered_is_what_python_finds(browser: RequestBrowser) -> None:
    """A filter typed in the page gives the page of calls that `find` gives, with the names to choose from."""
    browser.receive({"do": "find", "text": "Twice charged", "model": "gpt-4o-mini"})
    state = browser._widget.state
    assert [call["run"] for call in state["calls"]] == ["small"]
    assert (state["found"], state["total"], state["pages"]) == (1, 2, 1)
    assert state["choices"]["model"] == ["gpt-4o", "gpt-4o-mini"]
    browser.receive({"do": "choose", "ids": ["req-0"]})
    assert browser._widget.state["problem"] == ""
    browser.receive({"do": "judge", "id": "req-0", "good": True, "by": "Ana"})
    assert "notebook.no-request" in browser._widget.state["problem"]


def test_feedback_lands_in_mlflow_and_in_the_audit(project: Any, browser: RequestBrowser) -> None:
    """A thumb, a score and a comment are human assessments at the call's trace, redacted, and `audit show` has them."""
    from mlflow import MlflowClient

    from prodkit.ledger import Ledger
    from prodkit.ledger.audit import Audit

    call = browser.calls[1]
    sent: list[dict[str, Any]] = []
    browser._widget.send = sent.append
    message = {"do": "judge", "id": call.request_id, "good": False, "score": 2, "by": "Ana Ruiz"}
    browser.receive({**message, "comment": "wrong queue, ask mira@example.org"})
    assert "recorded" in sent[-1]["said"]
    assert Ledger.open(project).flush().pending == 0
    shown = MlflowClient(project.tracking_uri).get_trace(call.trace_id).info.assessments
    assert {(one.name, one.value, one.source.source_type, one.source.source_id) for one in shown} == {
        ("human_review", False, "HUMAN", "Ana Ruiz"),
        ("human_score", 2.0, "HUMAN", "Ana Ruiz"),
    }
    assert all("wrong queue" in one.rationale and "mira@" not in one.rationale for one in shown)
    assert len(Audit(project).explain(call.request_id).reviews) == 2
    assert browser.entries(call.request_id)[0]["said"][0].startswith("bad, says Ana Ruiz: wrong queue")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "notebook.no-judgement"),
        ({"score": 9}, "notebook.no-judgement"),
        ({"good": True, "by": " "}, "review.nobody"),
    ],
)
def test_a_judgement_that_says_nothing_is_refused(
    browser: RequestBrowser, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], code: str
) -> None:
    """Without a thumb or score, with a score beyond the scale, or from nobody: one clear error, nothing recorded."""
    monkeypatch.setattr("prodkit.ownership.person._git_name", str)
    with pytest.raises(ProdkitError) as refused:
        browser.judge(browser.calls[0].request_id, **said)
    assert refused.value.code == code
    assert browser.entries(browser.calls[0].request_id)[0]["said"] == []


def test_shapes_of_prompts_and_answers() -> None:
    """Messages, parts, Anthropic's blocks and unknown shapes are all readable."""
    assert said({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}) == "user: hi"
    assert said("plain") == "plain"
    assert answered({"choices": [{"message": {"content": "yes"}}]}) == "yes"
    assert answered({"content": [{"type": "text", "text": "well"}]}) == "well"
    assert answered({"data": [1]}) == '{\n "data": [\n  1\n ]\n}'
    assert answered(None) == ""
