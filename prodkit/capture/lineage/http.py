"""Requests over HTTP: which are reads of data, and which are calls of a model, of MLflow, or of nothing at all."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from prodkit.capture.lineage import places, sight

_MODEL_PATHS = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|messages|images/(?:generations|edits)|audio/\w+|moderations|"
    r"rerank|models|converse|invoke|generate|chat|batches|files|assistants|threads|realtime)(?:[/:]|$)|"
    r":(?:generateContent|streamGenerateContent|countTokens|predict|rawPredict|embedContent)|"
    r"/model/[^/]+/(?:invoke|converse)"
)
_MODEL_HOSTS = re.compile(
    r"(?:^|\.)(?:openai\.com|openai\.azure\.com|anthropic\.com|generativelanguage\.googleapis\.com|mistral\.ai|cohere\.(?:ai|com)|"
    r"groq\.com|together\.xyz|fireworks\.ai|deepseek\.com|perplexity\.ai|x\.ai|openrouter\.ai|replicate\.com)$|"
    r"^(?:bedrock-runtime\.|aiplatform\.|[a-z0-9\-]+-aiplatform\.)"
)
_MLFLOW = re.compile(
    r"/(?:api|ajax-api)/\d\.\d/(?:preview/)?mlflow|/v1/traces$|/(?:health|version)$|/mlflow-artifacts/"
)
_OURS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PRODKIT_SIMULATED_URL", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL")


def see_request(method: str, url: str, kind: str = "http") -> None:
    """Tell of one request: what is got is read, what is put is written. Posts are calls of services, not data."""
    context = {"GET": "input", "PUT": "output"}.get(method.upper())
    if context is None or not url.lower().startswith(("http://", "https://")) or is_service(url):
        return
    sight.see(sight.Access(places.normalise(url), context, kind))


def is_service(url: str) -> bool:
    """Whether a URL is a model's endpoint, MLflow's, or one of a package index."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _MODEL_HOSTS.search(host) or _MODEL_PATHS.search(parts.path) or _MLFLOW.search(parts.path):
        return True
    return any(base and url.startswith(base.rstrip("/") + "/") for base in map(os.environ.get, _OURS))
