"""Which prompt was this: templates that the user registers, and those that are recognised across a run's calls."""

from __future__ import annotations

import re
import string
import threading
from typing import TYPE_CHECKING, Any

from prodkit.capture import payload
from prodkit.capture.context import current_run
from prodkit.errors import ParameterError, nearest
from prodkit.ledger import Ledger
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.capture.runs import OpenRun
    from prodkit.records import CallRecord, PromptVersion

_EARLY = 3  # calls after which the first guess is made; it is looked at again when the run ends
_KEPT = 256  # texts of a run, to find their constant part in
_SHORTEST = 12  # letters of constant text that say enough to know a template by
_known: dict[str, Prompt] = {}  # name -> the newest prompt of that name in this process
_made: dict[tuple[str, int | None], Prompt] = {}  # (name, version) -> what was registered in this process


class Prompt:
    """A version of a prompt in MLflow's registry. `format` fills it in, as `str.format` does.

    Calls whose messages hold the filled template are linked to the version, wherever they are made.
    """

    def __init__(self, version: PromptVersion, template: str) -> None:
        # the registry's text has been cleaned; what is filled in and sent is the user's own
        self.version, self.template = version, template
        self.literals = tuple(text for text, *_ in string.Formatter().parse(template) if text)
        self.fields = tuple(
            dict.fromkeys(name for _, name, *_ in string.Formatter().parse(template) if name is not None)
        )
        said = sum(map(len, self.literals)) >= _SHORTEST  # fewer letters could stand in any text
        self._longest = max(self.literals, key=len) if said else ""
        self._pattern = re.compile(".*?".join(map(re.escape, self.literals)), re.DOTALL)

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.version.name

    @property
    def uri(self) -> str:
        """`prompts:/NAME/VERSION`."""
        return self.version.uri

    def format(self, **values: object) -> str:
        """The text for these values; inside of a comparison, of the version that is compared.

        Raises:
            ParameterError: `capture.prompt-values`: a value is missing or isn't of the template.
        """
        run = current_run()
        stead = run.stead if run is not None else None
        if run is not None and stead is not None:
            return stead.of(self, run).fill(values)
        return self.fill(values)

    def fill(self, values: Mapping[str, object]) -> str:
        """This very version's text. Raises as `format` does."""
        wanted = {re.split(r"[.\[]", name, maxsplit=1)[0] for name in self.fields}
        missing, foreign = sorted(wanted - set(values)), sorted(set(values) - wanted)
        if missing or foreign:
            word = missing[0] if missing else foreign[0]
            what = f"The value `{word}` is missing" if missing else f"The template has no place for `{word}`"
            raise ParameterError(
                "capture.prompt-values",
                f"{what}.",
                where=f"prompt `{self.name}`",
                fix=f"pass {word}=..." if missing else nearest(word, wanted),
            )
        return self.template.format(**values)

    def made(self, text: str) -> bool:
        """Whether this text was made with the template: its constant parts are there, in their order."""
        return bool(self._longest) and self._longest in text and self._pattern.search(text) is not None

    def __repr__(self) -> str:
        return f"Prompt({self.uri}, fields={list(self.fields)})"


def prompt(name: str, template: str, **parameters: object) -> Prompt:
    """Register a template; a version is new only when its text or its parameters are.

    Args:
        name: letters, digits, `.`, `_` and `-`.
        template: the text, with `{placeholders}`; write `{{` and `}}` for braces.
        parameters: the model's parameters that belong to the version, such as `temperature=0`.

    Raises:
        ParameterError: `capture.prompt-template`: the braces don't match, or a placeholder has no name.
        ConfigError: the name isn't one, or the journal can't be written.
    """
    _check_template(name, template)
    run = current_run()
    ledger = run.ledger if run is not None else Ledger.open(find_project())
    handle = run.handle if run is not None and run.options.kind != "session" else None
    made = Prompt(ledger.register_prompt(name, template, parameters=parameters, run=handle), template)
    _known[name] = _made[name, made.version.version] = made
    return made


def made_here(name: str, version: int | None) -> Prompt | None:
    """What this process has registered under a name: that version, or the newest; None when it is another's."""
    return _known.get(name) if version is None else _made.get((name, version))


def names_here() -> tuple[str, ...]:
    """Names of the prompts that this process has registered."""
    return tuple(_known)


def _check_template(name: str, template: str) -> None:
    try:
        fields = [field for _, field, *_ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        problem = str(error)
    else:
        bare = [field for field in fields if not field or field.isdigit()]
        problem = "a placeholder has no name" if bare else ""
    if problem:
        raise ParameterError(
            "capture.prompt-template",
            f"The template can't be filled in: {problem}.",
            where=f"prompt `{name}`",
            fix="name each placeholder, {like_this}, and write {{ and }} for braces that are meant as they are",
        )


def matching(content: Any, recognised: Sequence[Prompt] = (), stead: Prompt | None = None) -> list[PromptVersion]:
    """The prompts that a request's messages were made with: the registered ones, else those recognised so far.

    `stead` is what stands in for one of them in a comparison; it is looked for first.
    """
    texts = [text for _, text in payload.texts(content)] if _known or recognised or stead else []
    registered = [known for name, known in _known.items() if stead is None or name != stead.name]
    for prompts in ([stead, *registered] if stead is not None else registered, recognised):
        found = [known.version for known in prompts if any(known.made(text) for text in texts)]
        if found:
            return found
    return []


class Recogniser:
    """Collects the messages of a run's calls that no registered prompt explains, and finds their constant part."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}  # role -> texts
        self._parameters: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._seen = 0
        self.known: tuple[Prompt, ...] = ()

    @property
    def uris(self) -> tuple[str, ...]:
        """The versions that were made of what was recognised."""
        return tuple(known.uri for known in self.known)

    def add(self, call: CallRecord, run: OpenRun) -> None:
        """Look at one call. After a few, what they share is registered, so that later calls can be linked to it."""
        explained = set(call.prompts) - set(self.uris)
        if explained or call.prompt is None:
            return
        self._collect(call)
        with self._lock:
            self._seen += 1
            now = self._seen == _EARLY
        if now:
            self.register(run)

    def _collect(self, call: CallRecord) -> None:
        said: dict[str, list[str]] = {}
        for role, text in payload.texts(call.prompt):
            said.setdefault(role, []).append(text)
        with self._lock:
            self._parameters = {key: call.parameters[key] for key in _MODEL_PARAMETERS if key in call.parameters}
            for role in ("system", "developer", "user"):
                texts = self._texts.setdefault("system" if role == "developer" else role, [])
                if role in said and len(texts) < _KEPT:
                    texts.append(said[role][0])

    def templates(self) -> dict[str, str]:
        """Part (`system` or `user`) -> the template that its texts were made with."""
        from prodkit.capture.recognition import common_template

        found = {}
        with self._lock:
            for role, texts in self._texts.items():
                template = common_template(texts, whole_if_alone=role == "system") if texts else ""
                if template:
                    found[role] = template
        return found

    def register(self, run: OpenRun) -> None:
        """Make versions of what was recognised, under the run's name."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-") or "cell"
        made = []
        for role, template in self.templates().items():
            called = f"{name}.system" if role == "system" else name
            tags = {"prodkit.recognised": "true", "prodkit.role": role}
            version = run.ledger.register_prompt(
                called, template, parameters=self._parameters, tags=tags, run=run.handle
            )
            made.append(Prompt(version, template))
        self.known = tuple(made)


_MODEL_PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "response_format", "seed", "stop")
