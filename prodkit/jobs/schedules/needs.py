"""What a job needs around it wherever it is run: names of secrets, folders with data, a machine's size, an owner."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs.requirements import imports_of
from prodkit.manifest.model import Resources
from prodkit.ownership import Contact, resolve

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable

    from prodkit.jobs.folder import Need
    from prodkit.manifest import Manifest
    from prodkit.manifest.model import ModelSpec

MLFLOW_SECRETS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""What a tracking server may ask for; all optional."""

_KEYS = {
    "anthropic": "ANTHROPIC_API_KEY",
    "cohere": "CO_API_KEY",
    "google.genai": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "huggingface_hub": "HF_TOKEN",
    "langchain_anthropic": "ANTHROPIC_API_KEY",
    "langchain_openai": "OPENAI_API_KEY",
    "mistralai": "MISTRAL_API_KEY",
    "openai": "OPENAI_API_KEY",
    "together": "TOGETHER_API_KEY",
}
"""Module of an SDK -> the environment variable that its clients read their key from."""

_UNDER_OTHER_NAMES = frozenset({"OPENAI_API_KEY"})
"""Keys of SDKs that also serve other providers: with models in the manifest, those say whose key is needed."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job needs around it.

    `secrets` are names of environment variables, never values. `data` are absolute paths in the image, where the job
    lies in `/job`, each with its path in a volume. `accountable` answers for it when it fails.
    """

    secrets: tuple[str, ...] = ()
    data: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)
    tracking_uri: str = ""
    service: str = ""
    accountable: Contact | None = None


def needs_of(manifest: Manifest, code: Iterable[ast.Module], data: Iterable[Need]) -> Needs:
    """What a notebook needs as a job.

    Args:
        manifest: of its project, or the job's own copy.
        code: its cells and modules; their imports tell which SDKs are used.
        data: what it reads that isn't in the job folder.
    """
    modules = imports_of(code)
    return Needs(
        secrets=tuple(sorted({*_keys(manifest.models, modules), *re.findall(r"\$\{(\w+)\}", manifest.state)})),
        data=tuple(sorted({_mount(need.path) for need in data if need.path not in {"", "."}})),
        resources=manifest.job.resources,
        tracking_uri=manifest.job.tracking_uri,
        service=manifest.service.name,
        accountable=_accountable(manifest),
    )


def _keys(models: tuple[ModelSpec, ...], modules: tuple[str, ...]) -> tuple[str, ...]:
    named = {model.key_variable for model in models}
    imported = {key for sdk, key in _KEYS.items() for module in modules if f"{module}.".startswith(f"{sdk}.")}
    return tuple(sorted(named | (imported - _UNDER_OTHER_NAMES if named else imported)))


def _mount(path: str) -> tuple[str, str]:
    """Where a path of the project is in the image, and its path in a volume."""
    place = posixpath.normpath(posixpath.join("/job", path))
    return place, place.removeprefix("/job/").strip("/")


def _accountable(manifest: Manifest) -> Contact | None:
    try:
        return resolve(manifest, "incident")
    except ConfigError:
        return None
