"""Names of people, with the extra `pii`."""

from __future__ import annotations

import importlib.util

import pytest

from prodkit.errors import ConfigError
from prodkit.redaction import Redactor
from prodkit.redaction.names import finder

has_presidio = importlib.util.find_spec("presidio_analyzer") is not None


@pytest.mark.skipif(has_presidio, reason="the extra `pii` is installed")
def test_missing_extra():
    """Without the extra the error says how to install it."""
    with pytest.raises(ConfigError) as caught:
        finder()
    assert caught.value.code == "package.missing"
    assert caught.value.fix.startswith("pip install")


def engine():
    """A real presidio engine without a language model: it knows two names by heart."""
    presidio = pytest.importorskip("presidio_analyzer")
    spacy = pytest.importorskip("spacy")
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Blank(SpacyNlpEngine):
        def __init__(self):
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

    registry = presidio.RecognizerRegistry(supported_languages=["en"])
    registry.add_recognizer(presidio.PatternRecognizer("PERSON", deny_list=["Ana Ruiz", "Ben Okafor"]))
    return presidio.AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])


def test_names():
    """Names that presidio finds are taken out beside what the rules find, and the policy holds for them."""
    engine_of_two = engine()
    redactor = Redactor({}, None, finders=[finder(analyzer=engine_of_two)])
    cleaned = redactor.clean({"text": "Ana Ruiz <ana@example.org> met Ben Okafor"})
    assert cleaned.value == {"text": "[redacted:person] <[redacted:email]> met [redacted:person]"}
    assert cleaned.counts == {"person": 2, "email": 1}
    kept = Redactor({"person": "keep"}, None, finders=[finder(analyzer=engine_of_two)])
    assert kept.clean("Ana Ruiz").value == "Ana Ruiz"


@pytest.mark.skipif(not has_presidio, reason="needs the extra `pii`")
def test_missing_model():
    """Without a language model the error says which one to install, and nothing is downloaded."""
    with pytest.raises(ConfigError) as caught:
        finder(language="xx")
    assert caught.value.code == "redaction.no-model"
