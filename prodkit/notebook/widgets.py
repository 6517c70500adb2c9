"""The bridge to the browser: a widget with its script inline, and the same content as HTML and text beside it."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from IPython.display import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.notebook.tables import Table


def make_widget(script: str, state: dict[str, Any], on_message: Callable[[dict[str, Any]], None]) -> Any:
    """A widget whose script (a file of `static/`) draws `state` and sends messages; None where anywidget isn't there.

    Args:
        script: name of the script without its ending.
        state: what is drawn; set `.state` anew to have it redrawn.
        on_message: gets what the script sends. It may come from another thread while a cell is running.
    """
    if importlib.util.find_spec("anywidget") is None:
        return None
    made = _widget_class(script)(state=state)
    made.twin = _twin_of(made)
    made.on_msg(lambda _widget, content, _buffers: on_message(content))
    _hear_while_busy(made.comm)
    return made


class Shown:
    """A widget on the page, with a static twin above it that is what is left without a kernel.

    The twin is an output of its own, because nbconvert shows a widget's output as nothing at all. While the widget is
    alive its script hides the twin.
    """

    def __init__(self, widget: Any, twin: Callable[[], Table]) -> None:
        self._widget, self._twin = widget, twin
        self._handle: Any = display(self._static(), display_id=True)
        if widget is not None:
            display(_Live(widget))

    def refresh(self) -> None:
        """Bring the twin up to date; do it seldom, each time is written into the notebook's file."""
        if self._handle is not None:
            self._handle.update(self._static())

    def _static(self) -> Table:
        return replace(self._twin(), anchor=_twin_of(self._widget) if self._widget is not None else "")


class _Live:
    """The widget's view alone."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": ""}


def _twin_of(widget: Any) -> str:
    """The class by which the script finds the static twin."""
    return f"prodkit-twin-{widget.model_id}"


def _hear_while_busy(comm: Any) -> None:
    """Let messages of the browser take the subshell that it chose, so that they arrive while a cell is running.

    ipykernel 7 sends them to the shell that spoke last on this comm, which is the busy one.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, chosen: chosen  # noqa: SLF001  the one place to say so


@functools.cache
def _widget_class(script: str) -> Any:
    import anywidget
    import traitlets

    static = resources.files("prodkit.notebook").joinpath("static")

    class ProdkitWidget(anywidget.AnyWidget):
        """One card in the browser."""

        _esm = static.joinpath(f"{script}.js").read_text(encoding="utf-8")
        _css = static.joinpath("card.css").read_text(encoding="utf-8")
        state = traitlets.Dict().tag(sync=True)
        twin = traitlets.Unicode().tag(sync=True)

    return ProdkitWidget
