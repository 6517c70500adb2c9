"""Runs whose process was killed before it could say how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.audit import Audit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.manifest import Project


def open_below(project: Project, keys: Iterable[str]) -> tuple[str, ...]:
    """The keys of the runs below some runs, at any depth, that have begun and not ended; the innermost first.

    It reads through the whole journal, so ask only when something has gone wrong.
    """
    audit = Audit(project)
    parents = {entry.public["key"]: entry.public.get("parent_key", "") for entry in audit.entries(events.RUN_START)}
    ended = {entry.public["run_key"] for entry in audit.entries(events.RUN_END)}
    depths = dict.fromkeys(keys, 0)
    unknown = set(parents) - set(depths)
    while found := {key for key in unknown if parents[key] in depths}:  # a child's stream may come before its parent's
        depths |= {key: depths[parents[key]] + 1 for key in found}
        unknown -= found
    below = sorted((key for key, depth in depths.items() if depth), key=depths.__getitem__, reverse=True)
    return tuple(key for key in below if key not in ended)
