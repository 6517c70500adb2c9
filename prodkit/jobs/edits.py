"""Hand edits in an exported folder: what is marked survives the next export, what isn't stops it.

A marked block stands between two comment lines, in whatever comment the file knows:

```
# prodkit:keep alerts-of-ours
...
# prodkit:end
```

In job.ipynb a cell tagged `keep` is one. The block goes back below the line (or cell) that it stood below.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from prodkit.errors import ConfigError

KEEP = "keep"
_BEGIN = re.compile(r"\s*(?:#|//|<!--)\s*prodkit:keep\b.*")
_END = re.compile(r"\s*(?:#|//|<!--)\s*prodkit:end\b.*")


@dataclass(frozen=True, slots=True)
class Block:
    """A marked block and the line above it ("" at the top of the file); `nth` counts equal lines."""

    lines: tuple[str, ...]
    anchor: str
    nth: int


def split_edits(name: str, text: str) -> tuple[str, list[Any]]:
    """A file's text without its marked edits, and the edits.

    Raises:
        ConfigError: `export.open-block`: a block has no end.
    """
    return _split_notebook(text) if name.endswith(".ipynb") else _split_text(name, text)


def put_edits(name: str, text: str, edits: list[Any]) -> str:
    """A new text with marked edits put back.

    Raises:
        ConfigError: `export.lost-anchor`: the place of an edit is gone.
    """
    if not edits:
        return text
    return _put_notebook(text, edits) if name.endswith(".ipynb") else _put_text(name, text, edits)


def _split_text(name: str, text: str) -> tuple[str, list[Any]]:
    plain: list[str] = []
    blocks: list[Any] = []
    block: list[str] | None = None
    for line in text.split("\n"):
        if block is None and _BEGIN.fullmatch(line):
            block = [line]
        elif block is None:
            plain.append(line)
        else:
            block.append(line)
            if _END.fullmatch(line):
                anchor = plain[-1] if plain else ""
                blocks.append(Block(tuple(block), anchor, plain.count(anchor)))
                block = None
    if block is not None:
        what = "A `prodkit:keep` block has no `prodkit:end`."
        raise ConfigError("export.open-block", what, where=name, fix="add the line `prodkit:end` below the block")
    return "\n".join(plain), blocks


def _put_text(name: str, text: str, blocks: list[Block]) -> str:
    lines: list[str] = []
    waiting = list(blocks)
    count: dict[str, int] = {}
    for block in [block for block in waiting if not block.anchor and not block.nth]:
        lines += block.lines
        waiting.remove(block)
    for line in text.split("\n"):
        lines.append(line)
        count[line] = count.get(line, 0) + 1
        for block in [block for block in waiting if (block.anchor, block.nth) == (line, count[line])]:
            lines += block.lines
            waiting.remove(block)
    if waiting:
        first = waiting[0].lines[0].strip()
        raise ConfigError(
            "export.lost-anchor",
            f"The line above the block `{first}` isn't written any more, so its place is unknown.",
            where=name,
            fix="move the block below a line that is still there (see `prodkit export --check`), then export again",
        )
    return "\n".join(lines)


def _split_notebook(text: str) -> tuple[str, list[Any]]:
    notebook = json.loads(text)
    plain: list[dict[str, Any]] = []
    edits: list[Any] = []
    for cell in notebook["cells"]:
        if KEEP in cell.get("metadata", {}).get("tags", ()):
            edits.append((plain[-1]["id"] if plain else "", cell))
        else:
            plain.append(cell)
    if not edits:
        return text, []
    return dump_notebook({**notebook, "cells": plain}), edits


def _put_notebook(text: str, edits: list[Any]) -> str:
    notebook = json.loads(text)
    cells = [cell for anchor, cell in edits if not anchor]
    for cell in notebook["cells"]:
        cells.append(cell)
        cells += [kept for anchor, kept in edits if anchor == cell["id"]]
    if len(cells) < len(notebook["cells"]) + len(edits):
        what = "The cell above a cell tagged `keep` isn't exported any more, so its place is unknown."
        raise ConfigError("export.lost-anchor", what, where="job.ipynb", fix="move the kept cell, then export again")
    return dump_notebook({**notebook, "cells": cells})


def dump_notebook(notebook: dict[str, Any]) -> str:
    """A notebook's JSON as Jupyter writes it: keys sorted, one space of indentation, a newline at the end."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
