"""Where runs are shown: a notebook puts itself here, so that a `with` block is captured and shown as a cell is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prodkit.capture.runs import OpenRun
    from prodkit.records import RunSummary


class Face(Protocol):
    """Somebody who shows runs."""

    def surroundings(self) -> dict[str, Any]:
        """Keywords for `RunOptions` that say where the block stands: notebook, cell, session."""

    def opened(self, run: OpenRun) -> None:
        """The block has begun."""

    def closed(self, run: OpenRun, summary: RunSummary) -> None:
        """The block is over."""


faces: list[Face] = []
