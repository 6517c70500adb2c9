"""`%prodkit panel NAME`: which widget a name opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError, nearest
from prodkit.notebook.cells import notebook_path
from prodkit.notebook.panel import RunPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.notebook.cells import CellRuns
    from prodkit.notebook.widgets import Face

PANELS = {
    "runs": "panel [runs]",
    "costs": "panel costs",
    "requests": "panel requests",
    "contract": "panel contract NAME [--to FILE]",
    "owners": "panel owners",
    "export": "panel export [NOTEBOOK] [--to FOLDER]",
}
"""Panel -> how it is opened."""


def open_panel(words: Sequence[str], runs: CellRuns, namespace: Mapping[str, Any]) -> Face:
    """The widget that the words ask for; the run panel without any.

    Raises:
        ParameterError: `notebook.unknown-panel` or `notebook.words`; and what the widget itself raises.
    """
    name, *rest = words or ("runs",)
    if name not in PANELS:
        what = f"There is no panel `{name}`."
        raise ParameterError("notebook.unknown-panel", what, fix=nearest(name, PANELS))
    plain, to = _split(rest, name)
    makers: dict[str, tuple[int, int, Callable[[], Face]]] = {
        "runs": (0, 0, lambda: RunPanel(runs)),
        "costs": (0, 0, lambda: _costs(runs)),
        "requests": (0, 0, lambda: _requests(runs)),
        "contract": (1, 1, lambda: _contract(plain[0], namespace, to)),
        "owners": (0, 0, _owners),
        "export": (0, 1, lambda: _export(plain, dict(namespace), to)),
    }
    least, most, make = makers[name]
    if not least <= len(plain) <= most or (to and name not in {"contract", "export"}):
        what = f"`panel {name}` was given {len(plain)} words{' and --to' if to else ''}."
        raise ParameterError("notebook.words", what, fix=f"write `%prodkit {PANELS[name]}`")
    return make()


def _split(words: Sequence[str], name: str) -> tuple[list[str], str]:
    match list(words):
        case [*plain, "--to", to]:
            return plain, to
        case plain if not any(word.startswith("-") for word in plain):
            return plain, ""
    raise ParameterError("notebook.words", "The words aren't understood.", fix=f"write `%prodkit {PANELS[name]}`")


def _costs(runs: CellRuns) -> Face:
    from prodkit.notebook.meter import CostMeter

    return CostMeter(runs)


def _requests(runs: CellRuns) -> Face:
    from prodkit.notebook.requests import RequestBrowser

    return RequestBrowser(runs)


def _contract(name: str, namespace: Mapping[str, Any], to: str) -> Face:
    from prodkit.notebook.contract_editor import ContractEditor

    return ContractEditor(name, namespace, to=to)


def _owners() -> Face:
    from prodkit.notebook.raci import RaciEditor

    return RaciEditor()


def _export(words: Sequence[str], namespace: dict[str, Any], to: str) -> Face:
    from prodkit.notebook.wizard import ExportWizard

    return ExportWizard(Path(words[0]) if words else notebook_path(namespace), Path(to) if to else None)
