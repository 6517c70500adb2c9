"""The simulated models' judgement: a TF-IDF and logistic-regression classifier that scikit-learn has fitted.

scikit-learn fits it (`python -m prodkit.testing.classifier` writes `model.json`, and a test refits and compares);
predicting needs the standard library only. That keeps a provider's start below a second, where importing scikit-learn
alone takes five, and lets people without scikit-learn use the simulated provider.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.testing.corpus import LABELS, tickets

if TYPE_CHECKING:
    from collections.abc import Iterable

MODEL_FILE = Path(__file__).with_name("model.json")
SIZES = {"large": 900, "small": 150}
"""How many features a model of this size knows. The small one errs more."""

_SMALL_NAMES = re.compile(r"mini|small|nano|haiku|lite|flash|tiny|turbo|\b[1-9]b\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z][a-z'-]+")  # one tokenizer for fitting and predicting
_STOP = frozenset(
    "the and for is of to in it my on we our with this that are was you your have has be not at but please".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Weights:
    """One fitted model: a term's inverse document frequency and its weight for each of `LABELS`."""

    idf: dict[str, float]
    weights: dict[str, tuple[float, ...]]
    intercept: tuple[float, ...]

    def probabilities(self, text: str) -> dict[str, float]:
        """Label -> probability; they add up to 1."""
        counts = Counter(term for term in terms(text) if term in self.idf)
        tfidf = {term: (1 + math.log(count)) * self.idf[term] for term, count in counts.items()}
        norm = math.sqrt(sum(value * value for value in tfidf.values())) or 1.0
        scores = list(self.intercept)
        for term, value in tfidf.items():
            for position, weight in enumerate(self.weights[term]):
                scores[position] += weight * value / norm
        return dict(zip(LABELS, _softmax(scores), strict=True))


def terms(text: str) -> list[str]:
    """The words of a text and their neighbouring pairs, as the classifier sees them."""
    words = [word for word in _WORD.findall(text.lower()) if word not in _STOP]
    return words + [f"{left} {right}" for left, right in itertools.pairwise(words)]


def size_of(model: str) -> str:
    """`small` for names such as gpt-4o-mini or claude-haiku, else `large`."""
    return "small" if _SMALL_NAMES.search(model) else "large"


def classify(text: str, model: str) -> dict[str, float]:
    """Label -> probability, as the simulated model of this name sees the text."""
    return _load()[size_of(model)].probabilities(text)


@cache
def digest() -> str:
    """Eight hex digits that change when the fitted weights do."""
    return hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()[:8]


def fit(features: int, vocabulary: Iterable[str] | None = None) -> Weights:
    """Fit with scikit-learn on 1,500 made-up tickets.

    Args:
        features: keep so many of the most frequent terms; which of equally frequent ones depends on the processor.
        vocabulary: keep these terms instead.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    corpus = tickets(1500, seed=7)
    kept = None if vocabulary is None else sorted(vocabulary)
    vectorizer = TfidfVectorizer(analyzer=terms, max_features=features, vocabulary=kept, sublinear_tf=True)
    matrix = vectorizer.fit_transform([ticket.text for ticket in corpus])
    regression = LogisticRegression(C=20.0, max_iter=2000, tol=1e-8)
    with threadpool_limits(1):  # for a matrix this small, threads spend ten times its time on waiting for each other
        regression.fit(matrix, [LABELS.index(ticket.label) for ticket in corpus])
    columns = regression.coef_.T.tolist()
    found = sorted(vectorizer.vocabulary_.items())
    return Weights(
        idf={term: round(float(vectorizer.idf_[at]), 4) for term, at in found},
        weights={term: tuple(round(weight, 3) for weight in columns[at]) for term, at in found},
        intercept=tuple(round(value, 3) for value in regression.intercept_.tolist()),
    )


@cache
def _load() -> dict[str, Weights]:
    stored: dict[str, dict[str, Any]] = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    return {
        size: Weights(
            idf={term: row[0] for term, row in model["terms"].items()},
            weights={term: tuple(row[1:]) for term, row in model["terms"].items()},
            intercept=tuple(model["intercept"]),
        )
        for size, model in stored.items()
    }


def _softmax(scores: list[float]) -> list[float]:
    peak = max(scores)
    powers = [math.exp(score - peak) for score in scores]
    return [power / sum(powers) for power in powers]


def _write() -> None:
    stored = {}
    for size, features in SIZES.items():
        model = fit(features)
        rows = {term: [model.idf[term], *model.weights[term]] for term in model.idf}
        stored[size] = {"intercept": list(model.intercept), "terms": rows}
    text = json.dumps(stored, separators=(",", ":")).replace("],", "],\n")
    MODEL_FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write()
