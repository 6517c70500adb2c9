"""What a run is opened with, as the three surfaces (header, comment, `with`) say it alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from prodkit.capture.context import check_source
from prodkit.errors import ParameterError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from pathlib import Path

    from prodkit.capture.variants import Variant
    from prodkit.manifest import Project

Mode = Literal["quarantine", "refuse", "warn"]
MODES = ("quarantine", "refuse", "warn")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run. Values are checked when the object is made.

    Args:
        name: what the run is called in MLflow, on cards and in the journal.
        kind: `cell` below a notebook's session, `session` for that itself, `job` and so on.
        budget: hard limit in US dollars for this run alone.
        inputs: names of dataframes in `namespace`, or the dataframes themselves by name.
        outputs: names of dataframes that the run leaves in `namespace`.
        mode: what happens to rows that break their contract.
        strict: refuse to start when the code uses dataframes that weren't checked.
        user, source, session, purpose: stamped on the calls, where `request(...)` says nothing else.
        namespace: where names are looked up, and where checked dataframes are put back (`user_ns`).
        code: the cell's source.
        cell: the cell's id or number, for people to find it.
        notebook: path of the notebook's file.
        in_session: open the notebook's session run above, once per process and notebook.
        project: found from the current directory by default.
        variant: another model or prompt than the code asks for, as one of a comparison's.

    Raises:
        ParameterError: `capture.no-name`, `capture.bad-budget`, `capture.bad-mode`, `capture.unknown-source`.
    """

    name: str
    kind: Literal["session", "cell", "compare", "job", "attempt", "item", "review"] = "cell"
    budget: Decimal | None = None
    inputs: tuple[str, ...] | Mapping[str, Any] = ()
    outputs: tuple[str, ...] = ()
    mode: Mode = "quarantine"
    strict: bool = False
    user: str = ""
    source: str = ""
    session: str = ""
    purpose: str = ""
    namespace: MutableMapping[str, Any] | None = None
    code: str = ""
    cell: str = ""
    notebook: Path | None = None
    in_session: bool = False
    project: Project | None = None
    variant: Variant | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ParameterError("capture.no-name", "A run needs a name.", where="name=", fix='e.g. run("classify")')
        if self.mode not in MODES:
            raise ParameterError(
                "capture.bad-mode", f"`{self.mode}` is not a mode.", where="mode=", fix=nearest(str(self.mode), MODES)
            )
        object.__setattr__(self, "budget", check_budget(self.budget))
        object.__setattr__(self, "source", check_source(self.source))


def check_budget(value: object) -> Decimal | None:
    """An amount in US dollars from a number or its text; None is no limit.

    Raises:
        ParameterError: `capture.bad-budget`.
    """
    if value is None or value == "":
        return None
    try:
        # a float's shortest repr is what its author wrote
        amount = Decimal(repr(value) if isinstance(value, float) else str(value).strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise ParameterError(
            "capture.bad-budget",
            "The budget is not an amount of money.",
            where="budget=",
            fix="write US dollars as a number of 0 or more, e.g. 0.50",
        )
    return amount
