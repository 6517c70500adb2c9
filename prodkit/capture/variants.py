"""One variant of a comparison: another model or prompt than the code asks for, put in while its run is open."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ParameterError, nearest

if TYPE_CHECKING:
    from prodkit.capture.prompts import Prompt
    from prodkit.capture.runs import OpenRun

_VERSION = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)@)?v?(?P<version>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs from the code as it is written; an empty part is left as written.

    Args:
        model: the model that text calls are made with.
        prompt: what is filled in for the code's registered prompt: `v2` or `2` (that version of it), `triage@2`
            (that version of `triage`), or the name of another registered prompt, whose newest version is taken.
    """

    model: str = ""
    prompt: str = ""

    @property
    def label(self) -> str:
        """`gpt-4o-mini, v2`."""
        return ", ".join(part for part in (self.model, self.prompt) if part)

    @property
    def params(self) -> dict[str, str]:
        """As parameters of its run in MLflow."""
        return {name: value for name, value in (("model", self.model), ("prompt", self.prompt)) if value}


class Stead:
    """What stands in for the code's prompt in one open run. The first prompt that is filled in is the one that's meant.

    Two prompts in one cell need `NAME@VERSION`: which of them is compared is not guessed.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.replaced = ""  # name of the prompt that was stood in for
        self.prompt: Prompt | None = None  # what was filled in instead

    def of(self, asked: Prompt, run: OpenRun) -> Prompt:
        """The prompt to fill in where the code fills in `asked`.

        Raises:
            ParameterError: `compare.which-prompt`, `compare.no-version`.
        """
        wanted = self.variant.prompt
        match = _VERSION.fullmatch(wanted)
        named = (match["name"] or "") if match else ""
        if not wanted or (named and named != asked.name):
            return asked
        if self.replaced and self.replaced != asked.name:
            raise ParameterError(
                "compare.which-prompt",
                f"The code fills in two prompts, `{self.replaced}` and `{asked.name}`.",
                where=f"prompt={wanted}",
                fix=f"say which one is meant, e.g. prompt={self.replaced}@1",
            )
        if self.prompt is None:
            name = asked.name if match else wanted
            self.prompt = find_prompt(run, name, int(match["version"]) if match else None)
        self.replaced = asked.name
        return self.prompt

    def check_used(self) -> None:
        """Refuse figures of a variant whose prompt was never filled in: they would be another prompt's.

        Raises:
            ParameterError: `compare.prompt-unused`.
        """
        if self.variant.prompt and self.prompt is None:
            raise ParameterError(
                "compare.prompt-unused",
                f"The code filled in no prompt that `{self.variant.prompt}` could stand in for.",
                where=f"prompt={self.variant.prompt}",
                fix='make the text with `p = prodkit.prompt("name", "...")` and `p.format(...)` inside the cell',
            )


def find_prompt(run: OpenRun, name: str, version: int | None) -> Prompt:
    """A version of a registered prompt, the newest by default: this process's own text, else the registry's.

    Raises:
        ParameterError: `compare.no-version` with the versions that there are, or the nearest name.
    """
    from prodkit.capture.prompts import Prompt, made_here
    from prodkit.ledger.review import registered_prompt, registered_prompts

    known = made_here(name, version)
    if known is not None:
        return known
    found = registered_prompt(run.project, name, version)
    if found is not None:
        return Prompt(found, found.template)
    versions = registered_prompts(run.project).get(name)
    if versions:
        what, fix = f"The prompt `{name}` has no version {version}.", f"its versions are 1 to {versions}"
    else:
        what, fix = f"There is no registered prompt `{name}`.", nearest(name, registered_prompts(run.project))
    raise ParameterError("compare.no-version", what, where="prompt=", fix=fix or 'register one: prodkit.prompt("...")')
