"""The bridge to the browser: a widget with its script inline, and the same content as HTML and text beside it."""

from __future__ import annotations

import functools
import importlib.util
import threading
import time
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from IPython.display import display

from prodkit.errors import ProdkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.notebook.cells import CellRuns
    from prodkit.notebook.tables import Table

TICK = 0.25  # seconds between two updates, at least
_EFFORT = 20  # an update may take a twentieth of the time


class Face:
    """Something that is shown as a widget, with a static twin that stays; all of it works without a browser.

    A subclass says what is drawn (`state`), what is left without a kernel (`to_table`) and what a message of the script
    does (`act`). `problem` and `said` are shown by every script: the last error, and what was done last.
    """

    script = ""

    def __init__(self) -> None:
        self.problem, self.said = "", ""
        self._lock = threading.RLock()
        self._shown: list[Shown] = []
        self._widget: Any = make_widget(self.script, self._drawn(), self.receive)

    def state(self) -> dict[str, Any]:
        """What the script draws; texts and numbers only."""
        raise NotImplementedError

    def to_table(self) -> Table:
        """What stays in the notebook's file."""
        raise NotImplementedError

    def act(self, message: dict[str, Any]) -> None:
        """Do what was asked for in the browser."""
        raise NotImplementedError

    def receive(self, message: dict[str, Any]) -> None:
        """Do what the script asks for, and draw what came of it; an error is shown and nothing is lost.

        May be called from any thread: messages come while a cell is running.
        """
        with self._lock:
            self.problem, self.said = "", ""
            try:
                self.act(message)
            except ProdkitError as error:
                self.problem = str(error)
            except Exception as error:  # the notebook must go on, and the person must see that nothing was done
                self.problem = f"That didn't work: {type(error).__name__}."
            self.refresh()

    def refresh(self) -> None:
        """Draw anew."""
        if self._widget is not None:
            with self._lock:
                self._widget.state = self._drawn()

    def settle(self) -> None:
        """Bring the static twins up to date; each time is written into the notebook's file, so do it seldom."""
        for shown in self._shown:
            shown.refresh()

    def tell(self, content: dict[str, Any]) -> None:
        """Send something to the browser that is stored nowhere."""
        if self._widget is not None:
            self._widget.send(content)

    def _drawn(self) -> dict[str, Any]:
        return {"problem": self.problem, "said": self.said, **self.state()}

    def _ipython_display_(self) -> None:
        self._shown.append(Shown(self._widget, self.to_table))

    def __repr__(self) -> str:
        """The plain form."""
        return self.to_table().to_text()


class Follower:
    """Redraws a face at most four times a second while a run is open, and once when none is left."""

    def __init__(self, face: Face, runs: CellRuns) -> None:
        self._face, self._runs = face, runs
        self._lock = threading.Lock()
        self._following = False
        runs.listeners.append(self._heard)

    def _heard(self) -> None:
        with self._lock:
            if self._following:
                return
            self._following = True
        threading.Thread(target=self._follow, name="prodkit-panel", daemon=True).start()

    def _follow(self) -> None:
        while True:
            began = time.monotonic()
            self._face.refresh()
            with self._lock:
                if not self._runs.open_runs:
                    self._following = False
                    break
            time.sleep(max(TICK, _EFFORT * (time.monotonic() - began)))
        self._face.refresh()
        self._face.settle()


class Shown:
    """A widget on the page, with a static twin above it that is what is left without a kernel.

    The twin is an output of its own, because nbconvert shows a widget's output as nothing at all. While the widget is
    alive its script hides the twin.
    """

    def __init__(self, widget: Any, twin: Callable[[], Table]) -> None:
        self._widget, self._twin = widget, twin
        self._stored = self._static()
        self._handle: Any = display(self._stored, display_id=True)
        if widget is not None:
            display(_Live(widget))

    def refresh(self) -> None:
        """Bring the twin up to date; do it seldom, each time is written into the notebook's file."""
        twin = self._static()
        if self._handle is not None and twin != self._stored:
            self._stored = twin
            self._handle.update(twin)

    def _static(self) -> Table:
        return replace(self._twin(), anchor=_twin_of(self._widget) if self._widget is not None else "")


class _Live:
    """The widget's view alone."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget

    def _repr_mimebundle_(self, **_wanted: object) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self._widget._repr_mimebundle_()  # where Colab finds what draws it is in the metadata
        return {**data, "text/plain": ""}, metadata


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
    parts = [static.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in ("common", script)]

    class ProdkitWidget(anywidget.AnyWidget):
        """One card in the browser."""

        _esm = "".join(parts)
        _css = static.joinpath("card.css").read_text(encoding="utf-8")
        state = traitlets.Dict().tag(sync=True)
        twin = traitlets.Unicode().tag(sync=True)

    return ProdkitWidget
