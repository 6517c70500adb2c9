"""Which prompt was this always has an answer: registered, or recognised across a run's calls."""

from __future__ import annotations

import random

import pytest

from prodkit.capture import prompt, prompts, run
from prodkit.capture.recognition import common_template
from prodkit.errors import ParameterError


@pytest.fixture(autouse=True)
def _forget_prompts():
    yield
    prompts._known.clear()


def test_calls_made_with_a_prompt_are_linked(here, client, ask):
    """A call whose message was made with a registered prompt is linked to its version, in the record and in MLflow."""
    import mlflow

    here()
    triage = prompt("triage", "You sort support tickets into queues.\n\nTicket: {ticket}")
    with run("classify") as opened:
        ask(client, triage.format(ticket="My invoice is wrong."))
        ask(client, "Something else entirely.")
    made, other = opened.calls
    assert made.prompts == ("prompts:/triage/1",)
    assert other.prompts == ()
    assert "prompts:/triage/1" in opened.summary().prompts
    opened.ledger.flush()
    assert "triage" in mlflow.get_trace(made.trace_id).info.tags["mlflow.linkedPrompts"]


def test_a_version_is_new_only_when_its_text_is(here):
    """Registering the same text again gives the same version; another text gives the next one."""
    here()
    first = prompt("triage", "Classify {ticket}")
    again = prompt("triage", "Classify {ticket}")
    changed = prompt("triage", "Please classify {ticket}")
    hotter = prompt("triage", "Please classify {ticket}", temperature=1)
    assert [one.version.version for one in (first, again, changed, hotter)] == [1, 1, 2, 3]


def test_what_is_sent_is_not_redacted(here):
    """The registry's text is cleaned; the text that is filled in and sent stays the user's own."""
    here()
    made = prompt("mail", "Answer as jane.doe@example.org would: {question}")
    assert made.format(question="why?") == "Answer as jane.doe@example.org would: why?"
    assert "jane.doe" not in made.version.template


def test_formatting_checks_its_values(here):
    """A missing value and a value without a place are refused by name."""
    here()
    triage = prompt("triage", "Classify {ticket} for {team.name}, as {{json}}")
    with pytest.raises(ParameterError, match="`ticket` is missing"):
        triage.format(team=object())
    with pytest.raises(ParameterError, match="no place for `tickets`"):
        triage.format(ticket="a", team=object(), tickets="b")


@pytest.mark.parametrize("template", ["Classify {ticket", "Classify {}", "Classify {0}"])
def test_templates_that_cant_be_filled_are_refused(here, template):
    """Braces that don't match and placeholders without a name are refused when the prompt is made."""
    here()
    with pytest.raises(ParameterError) as caught:
        prompt("triage", template)
    assert caught.value.code == "capture.prompt-template"


def test_unregistered_prompts_are_recognised(here, client):
    """A system message and a template that nobody registered become versions under the cell's name."""
    import mlflow

    here()
    with run("sort tickets") as opened:
        for body in ("my invoice is wrong", "the app crashes", "where is my parcel", "I can't log in"):
            client.chat.completions.create(
                model="gpt-4o-mini",
                temperature=0,
                messages=[
                    {"role": "system", "content": "You sort support tickets. Answer with one word."},
                    {"role": "user", "content": f"Ticket:\n{body}\n\nWhich queue?"},
                ],
            )
    opened.ledger.flush()
    assert set(opened.summary().prompts) == {"prompts:/sort-tickets.system/1", "prompts:/sort-tickets/1"}
    version = mlflow.genai.load_prompt("prompts:/sort-tickets/1")
    assert version.template == "Ticket:\n{value}\n\nWhich queue?"
    assert set(opened.calls[3].prompts) == set(opened.summary().prompts)  # from the fourth call on each call is linked


WORDS = [
    "the",
    "invoice",
    "parcel",
    "app",
    "login",
    "refund",
    "order",
    "customer",
    "crash",
    "late",
    "wrong",
    "please",
    "my",
    "is",
    "was",
    "never",
    "again",
]


def _sentences(count, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(count)]


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("Classify this ticket: {value}", 1),
        ("You sort tickets.\n\nSubject: {value}\nTicket: {value_2}", 2),
        ('Context:\n{value}\n\nQuestion: {value_2}\n\nAnswer in one word, as {{"queue": "..."}}.', 2),
        ("{value}\n\nTranslate the text above into German.", 1),
    ],
)
@pytest.mark.parametrize("count", [3, 10, 200])
def test_the_constant_part_is_found(template, fields, count):
    """The template is found exactly from three texts or from hundreds, with words that its values happen to share."""
    left, right = _sentences(count, 1), _sentences(count, 2)
    texts = [template.format(value=one, value_2=two) for one, two in zip(left, right, strict=True)]
    assert common_template(texts, whole_if_alone=False) == template


def test_a_few_strays_dont_hide_the_template():
    """Some prompts of another kind among many don't hide the template of the many."""
    texts = [f"Classify this support ticket: {body}" for body in _sentences(40)]
    texts[5:5] = ["Hello?", "What is the capital of France?", "Write a poem about invoices."]
    assert common_template(texts, whole_if_alone=False) == "Classify this support ticket: {value}"


def test_texts_without_a_template_give_none():
    """Texts that share nothing but common words have no template."""
    assert common_template(_sentences(30), whole_if_alone=False) == ""
    assert common_template(["one question only, and nothing to compare it with"], whole_if_alone=False) == ""


def test_a_phrase_that_a_few_people_use_is_no_template():
    """Two of five letters that end with the same sentence weren't made with a template."""
    ending = " No hurry, but it would be nice to know."
    letters = [
        "My parcel is late.",
        "I was charged twice.",
        "The app is blank.",
        "Where do I log in?",
        "Which size fits?",
    ]
    texts = [letters[0] + ending, *letters[1:4], letters[4] + ending]
    assert common_template(texts, whole_if_alone=False) == ""


def test_a_constant_message_is_its_own_template():
    """A system message is a template even when it was seen once; its braces are kept as they are."""
    assert common_template(["Answer as {json} only."], whole_if_alone=True) == "Answer as {{json}} only."
