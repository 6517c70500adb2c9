"""The classifier behind the simulated models."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from prodkit.testing import classifier, tokens
from prodkit.testing.answers import Question, answer, find_labels, find_ticket
from prodkit.testing.corpus import LABELS, tickets


@pytest.mark.parametrize("size", classifier.SIZES)
def test_shipped_weights_are_what_scikit_learn_fits(size):
    """Fitting again gives the shipped weights; if not, run `python -m prodkit.testing.classifier`."""
    shipped = classifier._load()[size]
    fitted = classifier.fit(classifier.SIZES[size], vocabulary=shipped.idf)
    assert fitted.idf == pytest.approx(shipped.idf, abs=0.0002)
    for term, weights in fitted.weights.items():
        assert weights == pytest.approx(shipped.weights[term], abs=0.02), term


@pytest.mark.parametrize("size", classifier.SIZES)
def test_shipped_vocabulary_is_that_of_the_most_frequent_terms(size):
    """No term that was left out is more frequent than one that is in it."""
    counts = Counter(term for ticket in tickets(1500, seed=7) for term in classifier.terms(ticket.text))
    shipped = classifier._load()[size].idf.keys()
    assert len(shipped) == min(classifier.SIZES[size], len(counts))
    left_out = [count for term, count in counts.items() if term not in shipped]
    assert max(left_out, default=0) <= min(counts[term] for term in shipped)


def test_prediction_agrees_with_scikit_learn():
    """Our few lines of arithmetic give the probabilities that scikit-learn's own pipeline gives."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits

    corpus = tickets(1500, seed=7)
    kept = sorted(classifier._load()["large"].idf)  # which of equally frequent terms are kept depends on the processor
    vectorizer = TfidfVectorizer(analyzer=classifier.terms, vocabulary=kept, sublinear_tf=True)
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=20.0, max_iter=2000, tol=1e-8))
    with threadpool_limits(1):
        pipeline.fit([ticket.text for ticket in corpus], [ticket.label for ticket in corpus])
    for ticket in tickets(30, seed=3):
        theirs = dict(zip(pipeline.classes_, pipeline.predict_proba([ticket.text])[0], strict=True))
        assert classifier.classify(ticket.text, "large-model") == pytest.approx(theirs, abs=0.01)


def test_tickets_are_reproducible_and_varied():
    """The same seed gives the same tickets, another one others, and all labels occur."""
    first = tickets(200, seed=1)
    assert first == tickets(200, seed=1) != tickets(200, seed=2)
    assert {ticket.label for ticket in first} == set(LABELS)
    assert len({ticket.text for ticket in first}) > 190


@given(st.text(max_size=300))
def test_tokens_are_the_text_again(text):
    """No text loses a letter in the tokenizer."""
    assert "".join(tokens.split(text)) == text
    assert tokens.count(text) == len(tokens.split(text))


@given(st.text(max_size=300), st.text(max_size=200))
def test_every_prompt_has_an_answer(system, user):
    """Whatever is asked, there is an answer and never an exception."""
    assert isinstance(answer(Question("gpt-4o", system, user)), str)


PROMPTS = {
    "marker": ("Classify.\nTicket: I was charged twice", "I was charged twice"),
    "tags": ("Classify this.\n<ticket>\nI was charged twice\n</ticket>\nLabel:", "I was charged twice"),
    "quotes": ('Classify """I was charged twice""" please', "I was charged twice"),
    "paragraph": ("Which label fits?\n\nI was charged twice", "I was charged twice"),
    "instruction after": ("Ticket: I was charged twice\n\nAnswer:", "I was charged twice"),
    "bare": ("I was charged twice", "I was charged twice"),
}


@pytest.mark.parametrize(("prompt", "ticket"), PROMPTS.values(), ids=PROMPTS)
def test_ticket_is_found(prompt, ticket):
    """The ticket is found in the shapes in which people put it into prompts."""
    assert find_ticket(prompt) == ticket


LISTS = {
    "commas": ("Classify as one of: billing, bug, access", ["billing", "bug", "access"]),
    "or": ("into one of billing, bug or other.", ["billing", "bug", "other"]),
    "pipes": ("Labels: billing | shipping", ["billing", "shipping"]),
    "bullets": ("Categories:\n- billing: money\n- bug: defects\n- access", ["billing", "bug", "access"]),
    "quoted": ('one of "billing", "bug", "other"', ["billing", "bug", "other"]),
    "none": ("Write a poem about the sea", []),
}


@pytest.mark.parametrize(("prompt", "labels"), LISTS.values(), ids=LISTS)
def test_labels_are_found(prompt, labels):
    """The labels are found in the shapes in which people list them."""
    assert find_labels(prompt) == labels


def test_simulated_provider_needs_no_scikit_learn():
    """Answering loads neither scikit-learn nor numpy: people without them can use the provider."""
    code = (
        "import sys; from prodkit.testing.classifier import classify; classify('x', 'y')\n"
        "import prodkit.testing.provider\nprint(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "prodkit" in loaded
    assert not loaded & {"sklearn", "numpy", "pandas"}


def test_draft_follows_from_the_ticket():
    """A reply that is asked for names the ticket's own words and what its team does, and says that it is simulated."""
    system = "You draft short, friendly replies to support tickets."
    lost = answer(Question("gpt-4o", system, "My parcel never came. It is urgent."))
    wrong = answer(Question("gpt-4o", system, "The invoice shows the wrong amount."))
    assert "parcel" in lost
    assert "carrier" in lost
    assert "today" in lost
    assert "invoices" in wrong
    assert "simulated" in lost
