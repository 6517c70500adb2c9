"""`%%prodkit --matrix`: one cell over models and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.ledger import Ledger
from prodkit.ledger.review import run_tree

if TYPE_CHECKING:
    from prodkit.manifest import Project

SETUP = '''
import pandas as pd
import prodkit
tickets = pd.DataFrame({
    "body": ["I was charged twice", "the parcel is late", "I can't log in"],
    "queue": ["billing", "shipping", "access"],
})
prodkit.prompt("triage", "Where does this go? {body}")
triage = prodkit.prompt("triage", """You sort support tickets. Answer with one word, the queue: billing, bug, access, shipping or other.

Ticket: {body}""")
def ask(body, model="gpt-4o-mini"):
    said = client.chat.completions.create(
        model=model, max_tokens=5, messages=[{"role": "user", "content": triage.format(body=body)}]
    )
    return said.choices[0].message.content.strip().lower()
'''


@pytest.fixture
def tickets(notebook: Any, client: Any) -> Any:
    """The notebook with a few tickets, two versions of a prompt, and a function that asks."""
    assert notebook.run(SETUP).error is None
    return notebook


def table_of(ran: Any) -> str:
    """The comparison's text."""
    (text,) = [o.data["text/plain"] for o in ran.outputs if "prodkit-compare" in o.data.get("text/html", "")]
    return text


def test_each_variant_is_a_run_with_its_figures(tickets: Any, project: Project) -> None:
    """Two models times two prompts are four runs below one, with model, prompt, quality, cost and latency."""
    ran = tickets.run(
        "%%prodkit --matrix model=gpt-4o-mini,gpt-4o prompt=v1,v2 --name queues --expect tickets.queue --budget 0.50 --into found\n"
        "answers = [ask(body) for body in tickets['body']]\nanswers"
    )
    assert ran.error is None, ran.errors
    text = table_of(ran)
    assert "queues: 4 variants compared (simulated provider)" in text
    assert "quality is exact match" in text
    found = tickets.shell.user_ns["found"]
    assert ran.result.result is found
    assert [one.label for one in found] == [
        "gpt-4o-mini, v1", "gpt-4o-mini, v2", "gpt-4o, v1", "gpt-4o, v2",
    ]  # fmt: skip
    assert found["gpt-4o", "v2"].summary.models == ("gpt-4o",)
    assert found["gpt-4o", "v1"].summary.prompts == ("prompts:/triage/1",)
    assert found["gpt-4o", "v2"].quality == 1.0
    assert found.best is found["gpt-4o", "v2"] or found.best.quality == 1.0
    assert "12 calls" in ran.cards[0], "the card sums the variants"

    Ledger.open(project).flush()
    parent, below = run_tree(project, found.run_id)
    assert parent.tags["prodkit.kind"] == "compare"
    assert parent.tags["prodkit.best"] == found.best.label
    assert {(run.params["model"], run.params["prompt"]) for run in below} == {
        (model, prompt) for model in ("gpt-4o-mini", "gpt-4o") for prompt in ("v1", "v2")
    }
    for run, outcome in zip(below, found, strict=True):
        assert run.metrics["quality"] == pytest.approx(outcome.quality)
        assert run.metrics["llm_calls"] == 3
        assert run.metrics["cost_usd"] > 0
        assert run.metrics["p50_seconds"] <= run.metrics["p95_seconds"]
    assert parent.metrics["cost_usd"] == pytest.approx(sum(run.metrics["cost_usd"] for run in below))


def test_function_and_cell_go_together(tickets: Any) -> None:
    """After a compared cell `prodkit.compare` is still the function: no module of that name takes its place."""
    tickets.run("%%prodkit --matrix model=gpt-4o\n1")
    tickets.shell.user_ns["prodkit"].__dict__.pop("compare", None)  # as before its first use
    ran = tickets.run("found = prodkit.compare(lambda: ask('the parcel is late'), model='gpt-4o')\nlen(found)")
    assert ran.error is None, ran.errors
    assert ran.result.result == 1


def test_variables_of_the_notebook_stay_as_they_were(tickets: Any) -> None:
    """Each variant starts from the same names; what it sets is kept in its outcome and nowhere else."""
    tickets.run("seen = 0")
    ran = tickets.run(
        "#| prodkit: matrix model=gpt-4o-mini,gpt-4o into=found\nseen = seen + 1\nanswer = ask('I was charged twice')"
    )
    assert ran.error is None, ran.errors
    space = tickets.shell.user_ns
    assert space["seen"] == 0
    assert "answer" not in space
    assert [one.variables["seen"] for one in space["found"]] == [1, 1]
    assert [one.value for one in space["found"]] == [one.variables["answer"] for one in space["found"]]


def test_one_failure_leaves_the_others(tickets: Any) -> None:
    """A variant that fails says why in the table; the rest is compared, and the cell goes on."""
    ran = tickets.run("%%prodkit --matrix prompt=v1,v7 --into found\nanswers = [ask(body) for body in tickets['body']]")
    assert ran.error is None, ran.errors
    good, bad = tickets.shell.user_ns["found"]
    assert good.ok
    assert getattr(bad.error, "code", "") == "compare.no-version"
    assert "The prompt `triage` has no version 7." in table_of(ran)
    assert bad.summary.calls == 0


def test_when_nothing_runs_the_cell_fails(tickets: Any) -> None:
    """A comparison without any result is an error output, not a table to overlook."""
    ran = tickets.run("%%prodkit --matrix model=gpt-4o-mini,gpt-4o\n1 / 0")
    assert isinstance(ran.error, ZeroDivisionError)


def test_variants_share_the_budget(tickets: Any) -> None:
    """What one variant spends the next one can't; the refused one is shown as refused."""
    ran = tickets.run(
        "%%prodkit --matrix model=gpt-4o-mini,gpt-4o --budget 0.0003 --into found\n"
        "answers = [ask(body) for body in tickets['body']]"
    )
    assert ran.error is None, ran.errors
    found = tickets.shell.user_ns["found"]
    assert found["gpt-4o-mini"].ok
    assert getattr(found["gpt-4o"].error, "code", "") == "budget.exceeded"
    assert sum(one.summary.cost_usd for one in found) <= 0.0003
    assert "refused" in table_of(ran)


def test_a_prompt_that_nothing_fills_in_is_no_result(tickets: Any) -> None:
    """Figures of a prompt that was never used would be another prompt's: the variant fails and says how to use it."""
    ran = tickets.run(
        "%%prodkit --matrix prompt=v1,v2\nclient.chat.completions.create(model='gpt-4o-mini', "
        "messages=[{'role': 'user', 'content': 'hello'}])"
    )
    assert getattr(ran.error, "code", "") == "compare.prompt-unused"
    assert "prodkit.prompt(" in ran.errors[0]


def test_a_scorer_of_the_users_judges(tickets: Any) -> None:
    """`--score` names a function; one that fails leaves the quality unknown and everything else there."""
    tickets.run("def brevity(answers):\n    return [1 / len(answer) for answer in answers]")
    ran = tickets.run("%%prodkit --matrix model=gpt-4o --score brevity --into found\n['a', 'bb']")
    assert tickets.shell.user_ns["found"][0].quality == 0.75
    assert "quality is brevity" in table_of(ran)
    ran = tickets.run("%%prodkit --matrix model=gpt-4o --score len --into found\n3")
    assert tickets.shell.user_ns["found"][0].quality is None
    assert "TypeError" in table_of(ran)


def test_cells_that_await_are_compared_too(tickets: Any) -> None:
    """Top-level await works in a compared cell as in any other, in both spellings."""
    for header in (
        "%%prodkit --matrix model=gpt-4o-mini,gpt-4o --into found",
        "#| prodkit: matrix model=gpt-4o-mini,gpt-4o into=found",
    ):
        ran = tickets.run(f"{header}\nimport asyncio\nawait asyncio.sleep(0)\nask('the parcel is late')")
        assert ran.error is None, ran.errors
        assert [one.summary.models for one in tickets.shell.user_ns["found"]] == [("gpt-4o-mini",), ("gpt-4o",)]
        assert table_of(ran)


def test_errors_point_at_the_cells_own_lines(tickets: Any) -> None:
    """The traceback shows the line of the cell as it was written, header included."""
    ran = tickets.run("%%prodkit --matrix model=gpt-4o\nx = 1\n1 / 0")
    assert "line 3" in ran.errors[0] or "----> 3" in ran.errors[0]


@pytest.mark.parametrize(
    ("header", "code", "hint"),
    [
        ("--matrix modl=a,b", "notebook.unknown-option", "did you mean `model`"),
        ("--matrix", "compare.no-variants", "--matrix model="),
        ("--matrix model=", "notebook.no-value", "model=A,B"),
        ("--model a,b", "notebook.unknown-option", "write `--matrix model=...`"),
        ("--matrix model=a --expect tickts.queue", "notebook.unknown-name", "did you mean `tickets`"),
        ("--matrix model=a --expect tickets.(", "notebook.bad-value", "tickets.queue"),
        ("--matrix model=a --into 7up", "notebook.bad-value", "--into compared"),
        ("--matrix model=a --budget much", "capture.bad-budget", "US dollars"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tickets: Any, header: str, code: str, hint: str) -> None:
    """A wrong axis, name or expression is one error with the nearest name, and no line of the cell has run."""
    ran = tickets.run(f"%%prodkit {header}\nran = True")
    assert getattr(ran.error, "code", None) == code, ran.errors
    assert hint in ran.errors[0]
    assert "ran" not in tickets.shell.user_ns


def test_a_stop_ends_the_whole_comparison(tickets: Any) -> None:
    """Ctrl-C in one variant is meant for all of them, and leaves the notebook's variables in order."""
    ran = tickets.run("%%prodkit --matrix model=gpt-4o-mini,gpt-4o\ndone = True\nraise KeyboardInterrupt")
    assert isinstance(ran.error, KeyboardInterrupt)
    assert "done" not in tickets.shell.user_ns


def test_the_picture_is_an_output_of_its_own(tickets: Any) -> None:
    """Table and picture survive where HTML is cleaned: the picture is SVG, without script, link or foreign address."""
    ran = tickets.run("%%prodkit --matrix model=gpt-4o-mini,gpt-4o\nask('the parcel is late')")
    (picture,) = [o.data["image/svg+xml"] for o in ran.outputs if "image/svg+xml" in o.data]
    assert picture.startswith("<svg")
    assert "gpt-4o-mini" in picture
    assert "<script" not in picture
    assert picture.count("http") == 1, "the name space alone"
