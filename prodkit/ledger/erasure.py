"""A person's words outside of the journal: found by what the journal still knows of them, and taken out.

Before the keys are destroyed the person's prompts and answers can still be read. What of them is theirs alone (no
template, nobody else's words) is searched for in MLflow's artifacts and in the files under `.prodkit`, and replaced.
What can't be rewritten is removed, and what isn't ours to change is named.
"""

from __future__ import annotations

import html
import json
import os
import re
import string
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.records import CallRecord

ERASED = "[erased]"
SHORTEST = 12
"""Shorter pieces of text aren't searched for: they say too little to be somebody's."""

_MARKER = re.compile(r"\[[a-z_]+(?::[0-9a-f]+)?\]")  # what a redactor has left
_NOT_SAID = frozenset({"role", "type", "id", "name", "model", "object", "finish_reason", "tool_call_id", "call_id"})
_ANSWERED = frozenset(
    {"content", "text", "arguments", "refusal", "input", "reasoning", "reasoning_content", "thinking"}
)
_OF_THE_SYSTEM = frozenset({"system", "developer"})
_OWN = frozenset({"journal", "keys", "checkpoints", "replay", "artifacts"})  # below `.prodkit`: seen to elsewhere
_OWN_SUFFIXES = (".db", ".db-wal", ".db-shm", ".db-journal", ".lock", ".sock")
_MOST_BYTES = 256 * 2**20


@dataclass(slots=True)
class Scrubbed:
    """What was done about a person's words outside of the journal: one line each."""

    rewritten: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def words_of(calls: Iterable[tuple[CallRecord, bool]], templates: Sequence[str]) -> frozenset[str]:
    """The pieces of text that one person alone has sent or got.

    Args:
        calls: all calls whose content can be read, each with whether it is that person's.
        templates: prompt templates, whose constant parts are nobody's.
    """
    constants = sorted({one for text in templates for one in _literals(text) if len(one.strip()) > 2}, key=len)[::-1]  # noqa: PLR2004  a comma and a blank divide nothing
    mine: set[str] = set()
    others: set[str] = set()
    for call, own in calls:
        (mine if own else others).update(_pieces(call, constants))
    return frozenset(mine - others)


def _literals(template: str) -> list[str]:
    try:
        return [text for text, *_ in string.Formatter().parse(template) if text]
    except ValueError:
        return [template]


def _pieces(call: CallRecord, constants: Sequence[str]) -> Iterator[str]:
    for text in (*_asked(call.prompt), *_answered(call.response)):
        for constant in constants:
            text = text.replace(constant, "\n")  # noqa: PLW2901  cut up step by step
        for piece in _MARKER.sub("\n", text).splitlines():
            if len(piece.strip()) >= SHORTEST:
                yield piece.strip()


def _asked(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _asked(inner)
    elif isinstance(value, dict) and value.get("role") not in _OF_THE_SYSTEM:
        for key, inner in value.items():
            if key not in _NOT_SAID and key not in {"system", "instructions"}:
                yield from _asked(inner)


def _answered(value: Any, *, said: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if said:
            yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _answered(inner, said=said)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _answered(inner, said=(said and key not in _NOT_SAID) or key in _ANSWERED)


class Scrubber:
    """Takes words out of files.

    Args:
        words: as `words_of` gives them.
        user: the person's id; a row that holds it in one of its cells is that person's.
    """

    def __init__(self, words: frozenset[str], user: str) -> None:
        self._user = user
        self._words = sorted(words, key=len, reverse=True)  # a piece that holds another one goes first
        self.done = Scrubbed()

    def clean(self, data: bytes, name: str) -> bytes | None:
        """The content without the words: the same where they don't stand in it, None where it can't be kept."""
        if name.endswith(".parquet"):
            from prodkit.contracts.quarantine import without_rows

            return without_rows(data, self._is_theirs)  # rows in which a cell is the person's id or holds their words
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return None if any(word.encode() in data for word in self._words) else data
        if name.endswith((".ipynb", ".json")):
            try:
                opened = json.loads(text)
            except ValueError:
                return self._text(text).encode()
            cleaned = self._inside(opened)
            return data if cleaned == opened else json.dumps(cleaned, indent=1, ensure_ascii=False).encode()
        return self._text(text).encode()

    def _text(self, text: str) -> str:
        for word in self._words:
            for form in dict.fromkeys(
                (word, html.escape(word), json.dumps(word)[1:-1], html.escape(json.dumps(word)[1:-1]))
            ):
                if form in text:
                    text = text.replace(form, ERASED)
        return text

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._inside(inner) for inner in value]
        if isinstance(value, dict):
            return {self._text(key): self._inside(inner) for key, inner in value.items()}
        return value

    def _is_theirs(self, cell: Any) -> bool:
        return cell == self._user or (isinstance(cell, str) and any(word in cell for word in self._words))

    def folder(self, state: Path) -> None:
        """Clean the files below `.prodkit` that hold content: quarantine, kept variables, executed notebooks."""
        for path in sorted(path for path in state.rglob("*") if path.is_file() and not path.is_symlink()):
            inner = path.relative_to(state)
            if inner.parts[0] in _OWN or path.name.endswith(_OWN_SUFFIXES):
                continue
            try:
                self._file(path, str(Path(state.name) / inner))
            except OSError as error:
                self.done.left.append(f"{Path(state.name) / inner}: {error.strerror}")

    def _file(self, path: Path, shown: str) -> None:
        if path.stat().st_size > _MOST_BYTES:
            self.done.left.append(f"{shown}: too large to be looked through")
            return
        data = path.read_bytes()
        cleaned = self.clean(data, path.name)
        if cleaned is None:
            path.unlink()
            self.done.removed.append(shown)
        elif cleaned != data:
            _replace(path, cleaned)
            self.done.rewritten.append(shown)

    def notebooks(self, root: Path) -> None:
        """Name the project's own notebooks that hold the words: they aren't ours to change."""
        for path in sorted(root.rglob("*.ipynb")):
            inner = path.relative_to(root)
            if not any(part.startswith(".") for part in inner.parts[:-1]):
                data = path.read_bytes()
                if self.clean(data, path.name) != data:
                    self.done.left.append(f"{inner}: your own notebook holds words of this user; clear its outputs")

    def artifacts(self, mlflow: Mlflow, run_ids: Iterable[str]) -> None:
        """Clean the artifacts of some runs, in MLflow."""
        for run_id in run_ids:
            try:
                files = mlflow.list_artifacts(run_id)
            except RejectedError:
                continue  # the run was deleted
            for path in files:
                self._artifact(mlflow, run_id, path)

    def _artifact(self, mlflow: Mlflow, run_id: str, path: str) -> None:
        shown = f"MLflow run {run_id}, artifact {path}"
        try:
            data = mlflow.read_artifact(run_id, path)
            cleaned = self.clean(data, path)
            if cleaned == data:
                return
            folder, _, name = path.rpartition("/")
            with tempfile.TemporaryDirectory() as place:
                file = Path(place) / name
                file.write_bytes(cleaned if cleaned is not None else ERASED.encode())
                mlflow.log_artifact(run_id, file, folder)
        except (RejectedError, UncertainError, UnreachableError, OSError) as error:
            self.done.left.append(f"{shown}: {error}")
            return
        (self.done.removed if cleaned is None else self.done.rewritten).append(shown)


def _replace(path: Path, data: bytes) -> None:
    """Other content in the same place, whole or not at all, and as private as before."""
    spare = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, path.stat().st_mode & 0o777)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    spare.replace(path)
