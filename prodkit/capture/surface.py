"""`with prodkit.run(...)`: the surface that scripts, exported jobs and notebooks share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prodkit.capture import code
from prodkit.capture.faces import faces
from prodkit.capture.opening import close_run, open_run
from prodkit.capture.options import RunOptions, check_budget

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from types import FrameType, TracebackType

    from prodkit.capture.options import Mode
    from prodkit.capture.runs import OpenRun


class run:  # noqa: N801  it is used as a function: `with run("classify"):`
    """Capture every model call inside: who sent what to which model, what came back, and what it cost.

    Works as `with` and as `async with`; gives the open run with `.inputs`, `.outputs`, `.calls`, `.cost`, `.url` and
    `.summary()`.

    Args:
        name: what the run is called in MLflow and on its card.
        budget: hard limit in US dollars, e.g. `"0.50"`; the call that would break it raises `BudgetError`.
        inputs: dataframes to check against their contracts first: names of variables, or a mapping of name to frame.
        mode: `quarantine` sets bad rows aside, `refuse` doesn't start, `warn` goes on with them.
        strict: refuse to start when the code inside uses dataframes that weren't checked.
        user: id of the person on whose behalf the calls are made.
        source: where the content comes from: `user_input`, `crm`, `docs`, ...
        session: id of the conversation or batch.
        purpose: what the answers are for.
        outputs: names of dataframes that the run makes.
        tags: labels of the run in MLflow.
        params: parameters of the run in MLflow.

    Checked inputs take the place of their variables where these are global; inside of a function read them from
    `.inputs`.

    Raises:
        ParameterError: an argument is wrong (`capture.bad-budget`, `capture.bad-mode`, `capture.unknown-source`,
            `capture.unknown-input`).
        DataError: the data breaks its contract, or unchecked data is used in a strict run.
    """

    def __init__(
        self,
        name: str,
        *,
        budget: str | float | Decimal | None = None,
        inputs: str | Sequence[str] | Mapping[str, Any] = (),
        mode: Mode = "quarantine",
        strict: bool = False,
        user: str | None = None,
        source: str | None = None,
        session: str | None = None,
        purpose: str | None = None,
        outputs: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self._options = partial(
            RunOptions,
            name=name,
            budget=check_budget(budget),
            inputs=_named(inputs),
            mode=mode,
            strict=strict,
            user=user or "",
            source=source or "",
            session=session or "",
            purpose=purpose or "",
            outputs=tuple(outputs),
            tags=dict(tags or {}),
            params=dict(params or {}),
        )
        self._options()  # a wrong argument is said where it is written
        self._run: OpenRun | None = None

    def __enter__(self) -> OpenRun:
        return self._open(sys._getframe(1))  # noqa: SLF001  the caller's names are its inputs

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)

    async def __aenter__(self) -> OpenRun:
        return self._open(sys._getframe(1))  # noqa: SLF001  the caller's names are its inputs

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)

    def _open(self, caller: FrameType) -> OpenRun:
        local = caller.f_locals is not caller.f_globals
        namespace = {**caller.f_globals, **caller.f_locals} if local else caller.f_globals
        around = faces[-1].surroundings() if faces else {}
        self._run = open_run(self._options(namespace=namespace, code=code.body_at(caller), **around))
        for face in faces:
            face.opened(self._run)
        return self._run

    def _close(self, error: BaseException | None) -> None:
        if self._run is not None:
            summary = close_run(self._run, error)
            for face in faces:
                face.closed(self._run, summary)


def _named(inputs: str | Sequence[str] | Mapping[str, Any]) -> tuple[str, ...] | dict[str, Any]:
    if isinstance(inputs, str):
        return (inputs,)
    return dict(inputs) if isinstance(inputs, Mapping) else tuple(inputs)
