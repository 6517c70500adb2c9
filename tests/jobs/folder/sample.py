"""A project whose job needs everything that a folder can bring: a module, a text, a contract, data, a picture."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import nbformat

from prodkit.records import now

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
service: {{name: sorting, purpose: Counts tickets by queue.}}
owners:
  people:
    ana: {{name: Ana Ruiz, email: ana@northwind.test, backup: ben}}
    ben: {{name: Ben Okafor, email: ben@northwind.test, backup: ana}}
  raci:
    default: {{R: [ben], A: ana}}
  escalation: [ana, ben]
  review_by: {review_by}
data_sources:
  tickets: {{kind: csv, location: 'data/tickets-{{month}}.csv', contract: rules/tickets.yaml, owner: ana}}
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: tickets
name: tickets
version: 1.0.0
status: active
schema:
  - name: tickets
    properties:
      - {name: ticket, logicalType: string, required: true, unique: true}
      - {name: queue, logicalType: string, required: true}
"""
CELLS = (
    'month: str = "2026-11"  # which tickets\nwait: float = 0.0  # seconds',
    "import time\n\nimport queues\nfrom pathlib import Path\n\nimport matplotlib.pyplot as plt\nimport prodkit",
    'words = Path("texts/words.txt").read_text().split()\nsites = Path("sites.csv")',
    'tickets = prodkit.read("tickets", month=month)',
    "%%prodkit name=count --input tickets\ncounts = queues.count(tickets, words)",
    "time.sleep(wait)",
    'plt.bar(list(counts), list(counts.values()))\nprint("counted", counts, "at", len(sites.read_text().split()), "sites")',
)


def make_project(root: Path) -> Path:
    """Write the project; its notebook's path."""
    place = root / "work shop"
    for folder in (place / "texts", root / "data", root / "rules", root / "tools"):
        folder.mkdir(parents=True)
    (root / "prodkit.yaml").write_text(MANIFEST.format(review_by=now().date() + timedelta(days=90)))
    (root / "rules" / "tickets.yaml").write_text(CONTRACT)
    (root / "data" / "tickets-2026-11.csv").write_text("ticket,queue\na1,billing\na2,returns\na3,billing\n")
    (place / "sites.csv").write_text("Wien\nGraz\n")
    (place / "texts" / "words.txt").write_text("billing\nreturns\n")
    (place / "queues.py").write_text(
        "from tools.counting import tally\n\n\ndef count(frame, words):\n    return tally(list(frame['queue']), words)\n"
    )
    (root / "tools" / "__init__.py").touch()
    (root / "tools" / "counting.py").write_text(
        "def tally(values, words):\n    return {word: values.count(word) for word in words}\n"
    )
    cells = [nbformat.v4.new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(CELLS, 1)]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = place / "sorting.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path
