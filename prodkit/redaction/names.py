"""Names of people and places, which have no form that a rule could find: by presidio, from the extra `pii`.

It needs a language model of spaCy's that you install yourself, and takes milliseconds a prompt where the rules take
microseconds. Only the classes that the rules don't have are asked of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, missing_extra
from prodkit.redaction.text import MARKER_STARTS, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.redaction.text import Finder, Text

_CLASSES = {"PERSON": "person", "LOCATION": "location"}


def finder(*, language: str = "en", score: float = 0.5, analyzer: Any = None) -> Finder:
    """A finder for `Redactor(..., finders=[finder()])`.

    Args:
        language: of the texts, as presidio writes it.
        score: findings below this certainty (0 to 1) are left alone.
        analyzer: a presidio `AnalyzerEngine` of your own; by default one with spaCy's small model of the language.

    Raises:
        ConfigError: `package.missing` without the extra, `redaction.no-model` without the language's model.
    """
    engine = analyzer if analyzer is not None else _engine(language)

    def find(text: Text) -> Iterator[Span]:
        for found in engine.analyze(text.raw, language=language, entities=list(_CLASSES), score_threshold=score):
            piece = text.raw[max(0, found.start - 12) : found.end + 1]
            if not any(marker in piece for marker in MARKER_STARTS):
                yield Span(found.start, found.end, _CLASSES[found.entity_type])

    return find


def _engine(language: str) -> Any:
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError:
        raise missing_extra("pii", "Finding names of people") from None
    model = f"{language}_core_web_sm" if language == "en" else f"{language}_core_news_sm"
    if not spacy.util.is_package(model):  # presidio would download it
        raise ConfigError(
            "redaction.no-model",
            f"The language model `{model}` isn't installed.",
            fix=f"python -m spacy download {model}",
        )
    settings = {"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    return AnalyzerEngine(
        nlp_engine=NlpEngineProvider(nlp_configuration=settings).create_engine(), supported_languages=[language]
    )
