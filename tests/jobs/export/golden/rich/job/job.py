"""rich: the script twin of job.ipynb, made from rich.ipynb.

It takes the job's parameters as `python job.py -p NAME=VALUE` and does what the notebook does, captured alike.
source sha256:ae7ba294cc1ae7b6bb0b08731b53f181278f3cfba6e930894bf3effdf22d4fad
"""

import asyncio

from IPython.display import display

import prodkit
from prodkit.jobs.twin import Twin

_job = Twin(__file__)
_loop = asyncio.Runner()

# %% [markdown]
# # Tickets
#
# Sorts them; "quoted" and ünïcode.

# %% c2 (parameters)
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Literal


class Size(Enum):
    S = 1
    L = 2


# what to sort
day: date = date(2026, 11, 1)  # first day
mode: Literal["fast", "slow"] = "fast"  # a | b
limit: int | None = None
price: Decimal = Decimal("0.50")
place: Path = Path("data") / "out"
size: Size = Size.L
needed: str
_job.set_parameters(globals())

# %% c3
import asyncio



async def stream():
    yield 1


tickets = None

# %% classify
with prodkit.run("classify", budget="0.50"):
    text = """two
  lines"""
    if limit:
        print(text, day, mode, price, place, size, needed)

# %% draft
async def _cell_5():
    global _run, answer, part, tickets
    async with prodkit.run("draft", source="crm", user="agent-7", inputs=["tickets"]) as _run:
        tickets = _run.inputs["tickets"]
        answer = await asyncio.sleep(0, 42)
        async for part in stream():
            print(f"""{part}
  {answer}""")


_loop.run(_cell_5())

# %% c7
total = sum(range(answer))
display(total)
files = __import__("subprocess").run('ls', shell=True, capture_output=True, text=True).stdout.splitlines()

_loop.close()
