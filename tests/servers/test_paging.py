"""All that MLflow is asked for in numbers goes through one helper, which knows what a server allows."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import pytest

from prodkit.ledger import client as pager
from prodkit.ledger.client import newest_versions, open_client, pages, search_runs, search_traces, search_versions


class Page(list):
    """A page as MLflow gives it: a list with the token of the next one."""

    def __init__(self, items, token):
        super().__init__(items)
        self.token = token


class Shelf:
    """Numbers in pages; refuses a page that is larger than it allows, as a server does."""

    def __init__(self, count, allowed):
        self.count, self.allowed, self.asked = count, allowed, []

    def __call__(self, *, max_results, page_token):
        assert max_results <= self.allowed
        self.asked.append(max_results)
        begin = int(page_token or 0)
        end = min(begin + max_results, self.count)
        return Page(range(begin, end), str(end) if end < self.count else None)


@pytest.mark.parametrize(
    ("count", "most", "calls"),
    [(0, None, 1), (5, None, 1), (1234, None, 3), (1234, 700, 2), (1234, 1, 1), (500, 500, 1)],
)
def test_pages_are_followed_to_the_end_or_to_the_bound(count, most, calls):
    """Every entry comes once and in order, as far as asked for, with no page above the server's limit."""
    shelf = Shelf(count, 500)
    assert list(pages(shelf, size=500, most=most)) == list(range(count if most is None else min(count, most)))
    assert len(shelf.asked) == calls


def test_a_server_that_repeats_its_token_ends_the_search():
    """A token that doesn't move is followed once and not for ever."""
    assert list(pages(lambda **_: Page([1], "same"), size=10)) == [1, 1]


def test_nothing_else_asks_mlflow_for_a_number_of_things(repository):
    """No file but the client's calls a search of MLflow, lists artifacts or says a page's size."""
    found = []
    for path in sorted((repository / "prodkit").rglob("*.py")):
        if path.name == "client.py" and path.parent.name == "ledger":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            listed = name == "list_artifacts" and len(node.args) != 1  # with one argument it is the adapter's own
            sized = any(keyword.arg in {"max_results", "page_token"} for keyword in node.keywords)
            if name.startswith("search_") or listed or sized or name == "MlflowClient":
                found.append(f"{path.relative_to(repository)}:{node.lineno}")
    assert found == []


def test_pages_are_no_larger_than_the_servers_own_limits():
    """What MLflow's server checks is read out of its source, so that a new limit fails here first."""
    import inspect
    import re

    from mlflow.server import handlers

    def limit(name):
        source = inspect.getsource(inspect.unwrap(getattr(handlers, name)))
        return int(re.search(r"_assert_less_than_or_equal\(int\(x\), ([\d_]+)\)", source)[1])

    assert limit("_search_runs") >= pager.RUNS
    assert limit("_search_traces_v3") >= pager.TRACES
    assert limit("_search_model_versions") >= pager.VERSIONS


def test_a_store_is_read_past_its_first_page(tmp_path, mlflow_template, monkeypatch):
    """Runs, traces, prompts and their versions are all found, however small the pages are."""
    import shutil

    import mlflow

    database = tmp_path / "mlflow.db"
    shutil.copy(mlflow_template, database)
    monkeypatch.setattr(pager, "RUNS", 2)
    monkeypatch.setattr(pager, "TRACES", 2)
    monkeypatch.setattr(pager, "VERSIONS", 2)
    client = open_client(f"sqlite:///{database}")
    experiment = client.create_experiment("e", artifact_location=tmp_path.as_uri())
    runs = [client.create_run(experiment, start_time=number).info.run_id for number in range(1, 6)]
    for number in range(5):
        client.register_prompt("many", f"text {number}")
    client.register_prompt("one", "text")
    for _ in range(5):
        mlflow.set_tracking_uri(f"sqlite:///{database}")
        mlflow.set_experiment("e")
        span = mlflow.start_span_no_context("s")
        span.end()
    mlflow.flush_trace_async_logging()
    assert [run.info.run_id for run in search_runs(client, [experiment])] == runs
    assert [run.info.run_id for run in search_runs(client, [experiment], newest=True, most=3)] == runs[:1:-1]
    assert len(list(search_traces(client, [experiment], ""))) == 5
    assert [int(one.version) for one in search_versions(client, "many")] == [5, 4, 3, 2, 1]
    assert search_versions(client, "none") == []
    assert newest_versions(client) == {"many": 5, "one": 1}


def test_many_parents_are_asked_for_at_once(monkeypatch):
    """The runs below a fan-out's items come with one search, not with one for each item."""
    from prodkit.ledger import review

    asked = []
    children = [SimpleNamespace(data=SimpleNamespace(tags={"mlflow.parentRunId": str(n)})) for n in range(40)]

    def search(_client, _place, condition, **_):
        asked.append(condition)
        return children

    monkeypatch.setattr(review, "search_runs", search)
    root = SimpleNamespace(info=SimpleNamespace(experiment_id="1", start_time=10_000_000, end_time=20_000_000))
    found = review._children(None, root, [str(number) for number in range(20)])
    assert found == children[:20]
    assert len(asked) == 1
    assert "IS NOT NULL" in asked[0]
