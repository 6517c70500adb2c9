"""Calls of a run that are made in child processes: forked ones, and those of a pool."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from prodkit.capture import run
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit


def ask_there(options: dict[str, str], number: int) -> None:
    """Ask with a client of the process's own, as everybody does who forks."""
    from openai import OpenAI

    with OpenAI(**options) as client:
        message = {"role": "user", "content": f"Ticket {number}: My invoice is wrong."}
        client.chat.completions.create(model="gpt-4o-mini", messages=[message])


def recorded(project, opened):
    """The tickets of the run's calls in the journal, and of its traces in MLflow."""
    from mlflow import MlflowClient

    assert Ledger.open(project).flush(60).pending == 0
    audit = Audit(project)
    assert audit.verify().ok
    calls = [call for _, call, _ in audit.calls()]
    assert {call.run_key for call in calls} == {opened.key}
    traces = MlflowClient(project.tracking_uri).search_traces(
        locations=["1"], filter_string=f"metadata.`mlflow.sourceRun` = '{opened.handle.run_id}'"
    )
    tickets = sorted(call.prompt[0]["content"].split(":")[0] for call in calls)
    assert len(traces) == len(tickets)
    return tickets


def test_a_forked_childs_calls_are_recorded(here, provider, client, ask):
    """A child that was forked inside of a run, and its parent beside it, lose no call and share the run."""
    project = here()
    with run("forked") as opened:
        ask(client, "Ticket 0: My invoice is wrong.")
        pid = os.fork()
        if pid == 0:
            try:
                ask_there(provider.openai_options(), 1)
                os._exit(0)
            except BaseException:
                os._exit(1)
        ask(client, "Ticket 2: My invoice is wrong.")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert recorded(project, opened) == ["Ticket 0", "Ticket 1", "Ticket 2"]


@pytest.mark.parametrize("budget", [None, "1"])
def test_a_pools_calls_are_recorded(here, provider, client, ask, budget):
    """Calls of a pool of processes belong to the run in which the pool was made, under its budget, too."""
    project = here()
    with run("pooled", budget=budget) as opened:
        ask(client, "Ticket 0: My invoice is wrong.")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.starmap(ask_there, [(provider.openai_options(), number) for number in range(1, 7)])
            pool.close()
            pool.join()
    assert recorded(project, opened) == [f"Ticket {number}" for number in range(7)]
