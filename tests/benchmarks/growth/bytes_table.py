"""Where the bytes of a captured call go: journal, MLflow's tables, artifacts and the rest. Prints a table in Markdown.

    python tests/benchmarks/growth/bytes_table.py                       # about three minutes
    python tests/benchmarks/growth/bytes_table.py --calls 200 --sizes 200

Each row is a process of its own on a fresh project: the real openai SDK with answers from memory, prompts of words that
are drawn anew for every call. Calls stand alone, or go through three spans of the user's own (a request, a look-up and
the call). Everything is shipped before it is measured, and what the project weighs before the first call is taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path

SCRIPT = r"""
import json, random, sys, warnings
warnings.simplefilter("ignore")
import httpx2, mlflow, prodkit
from openai import OpenAI

shape, calls, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(7)
letters = "etaoinshrdlucmfwypvbgk"
WORDS = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(4000)]

def text(length):
    words, so_far = [], 0
    while so_far < length:
        words.append(draw.choice(WORDS))
        so_far += len(words[-1]) + 1
    return " ".join(words)[:length]

def answer(request):
    said = {"role": "assistant", "content": text(120)}
    return httpx2.Response(200, json={
        "id": f"chatcmpl-{draw.getrandbits(64):x}", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "system_fingerprint": "fp-1", "choices": [{"index": 0, "finish_reason": "stop", "message": said}],
        "usage": {"prompt_tokens": size // 4, "completion_tokens": 30, "total_tokens": size // 4 + 30}})

http = httpx2.Client(transport=httpx2.MockTransport(answer))
client = OpenAI(api_key="x", base_url="http://127.0.0.1:9/v1", http_client=http)

def ask(question):
    messages = [{"role": "system", "content": "Classify the ticket."}, {"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4o-mini", temperature=0, messages=messages)

@mlflow.trace(span_type="RETRIEVER")
def look_up(question):
    return [question[:40]]

@mlflow.trace(span_type="CHAIN")
def handle(question):
    look_up(question)
    return ask(question).choices[0].message.content

with prodkit.run("growth"):
    for number in range(calls):
        with prodkit.request(user=f"user-{number % 50}", session=f"s-{number // 10}", source="user_input"):
            (ask if shape == "alone" else handle)(text(size))
"""
PARTS = ("journal", "mlflow.db", "artifacts", "checkpoints", "other")


def weigh(state: Path) -> dict[str, int]:
    """Bytes by part; those of MLflow's database by table, indices with their table."""
    found: dict[str, int] = defaultdict(int)
    for path in state.rglob("*"):
        if path.is_file() and not path.name.startswith("mlflow.db"):
            part = path.relative_to(state).parts[0]
            found[part if part in PARTS else "other"] += path.stat().st_size
    with closing(sqlite3.connect(state / "mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = (
            "SELECT m.tbl_name, m.type, sum(d.pgsize) FROM dbstat d JOIN sqlite_master m USING (name) GROUP BY 1, 2"
        )
        for name, kind, size in database.execute(tables):
            found[f"  {name}{' (indices)' if kind == 'index' else ''}"] += size
    found["mlflow.db"] = sum(path.stat().st_size for path in state.glob("mlflow.db*"))
    return dict(found)


def run(shape: str, calls: int, size: int, template: Path) -> dict[str, float]:
    """Bytes a call."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / ".prodkit").mkdir()
        (folder / "prodkit.yaml").write_text("service: {name: growth}\n")
        shutil.copy(template, folder / ".prodkit" / "mlflow.db")
        weights = []
        environment = {**os.environ, "PRODKIT_PROJECT": str(folder), "PRODKIT_SHIPPER": "inline", "DO_NOT_TRACK": "1"}
        for count in (1, calls):  # the first makes what each project has once
            script = [sys.executable, "-c", SCRIPT, shape, str(count), str(size)]
            for command in (script, [sys.executable, "-m", "prodkit", "audit", "sync"]):
                subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
            weights.append(weigh(folder / ".prodkit"))
        before, after = weights
        return {name: (value - before.get(name, 0)) / calls for name, value in after.items()}


def make_template(folder: Path) -> Path:
    """A database that MLflow has prepared."""
    path = folder / "mlflow.db"
    code = "from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store\n"
    with contextlib.suppress(ImportError):  # versions before had no file of their own making
        from prodkit.ledger.mlflow_file import make_file

        make_file(path)
    subprocess.run([sys.executable, "-c", f"{code}Store('sqlite:///{path}', '{folder}')"], check=True)
    return path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 2000], help="characters of a prompt")
    parser.add_argument("--shapes", nargs="+", default=["alone", "spans"])
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        template = make_template(Path(place))
        for shape in options.shapes:
            for size in options.sizes:
                for calls in options.calls:
                    rows[f"{shape}, {size} B, {calls} calls"] = run(shape, calls, size, template)
    names = [name for name in PARTS if any(name in row for row in rows.values())]
    tables = {name for row in rows.values() for name, value in row.items() if name.startswith("  ") and value >= 1}
    ordered = sorted(tables, key=lambda name: -max(row.get(name, 0) for row in rows.values()))
    at = names.index("mlflow.db") + 1
    names[at:at] = ordered
    print("| bytes a call | " + " | ".join(rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for name in names:
        print(f"| {name} | " + " | ".join(f"{row.get(name, 0):,.0f}" for row in rows.values()) + " |")
    print(
        "| **all** | " + " | ".join(f"{sum(row.get(name, 0) for name in PARTS):,.0f}" for row in rows.values()) + " |"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
