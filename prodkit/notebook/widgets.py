"""The bridge to the browser: a widget with its script inline, and the same content as HTML and text beside it."""

from __future__ import annotations

import functools
import importlib.util
from importlib import resources
from typing import TYPE_CHECKING, Any

from prodkit.notebook.tables import bundle

if TYPE_CHECKING:
    from collections.abc import Callable


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
    made.on_msg(lambda _widget, content, _buffers: on_message(content))
    _hear_while_busy(made.comm)
    return made


def with_widget(widget: Any, html: str, text: str) -> dict[str, Any]:
    """A mimebundle: the widget where a front end can draw it, HTML and text where none can."""
    found = bundle(html, text)
    if widget is None:
        return found
    view: Any = widget._repr_mimebundle_()
    view = view[0] if isinstance(view, tuple) else view
    return {**{kind: data for kind, data in (view or {}).items() if kind not in found}, **found}


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

    return ProdkitWidget
