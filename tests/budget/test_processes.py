"""Budgets over processes: two at once, forked ones, killed ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prodkit.budget import Budgets, Scopes
from prodkit.errors import BudgetError
from prodkit.manifest.model import Budget
from prodkit.stores.opening import budget_file
from prodkit.stores.owners import is_gone, me
from tests.budget.conftest import OPEN, open_store

CENT = Decimal("0.01")
RUN = Scopes(run="r")
SPENDER = """
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from prodkit.budget import Budgets, Scopes
from prodkit.errors import BudgetError
from prodkit.manifest.model import Budget

budgets = Budgets(store, Budget(per_run=1))

def call(_):
    try:
        reservation = budgets.reserve(Scopes(run="r"), Decimal("0.01"))
    except BudgetError:
        return 0
    budgets.settle(reservation, Decimal(sys.argv[2]))
    return 1

with ThreadPoolExecutor(25) as pool:
    print(sum(pool.map(call, range(100))))
"""
HOLDER = """
import time
from decimal import Decimal
from prodkit.budget import Budgets, Scopes
from prodkit.manifest.model import Budget

Budgets(store, Budget(per_run=1)).reserve(Scopes(run="r"), Decimal("0.90"))
print("held", flush=True)
time.sleep(60)
"""


def start(code, path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(path), *arguments], stdout=subprocess.PIPE, text=True
    )


def spent(budgets):
    return next((one.spent, one.reserved) for one in budgets.balances(RUN) if one.scope == "run")


def calls_of_two_processes(path, cost):
    processes = [start(SPENDER, path, cost) for _ in range(2)]
    return sum(int(process.communicate(timeout=60)[0]) for process in processes)


def test_two_processes(place):
    """Two processes with 25 threads each never overspend when no call costs more than was reserved for it."""
    calls = calls_of_two_processes(place, "0.009")
    total, held = spent(Budgets(open_store(place), Budget(per_run=1)))
    assert total == calls * Decimal("0.009")
    assert (held, total <= 1, total > Decimal("0.98")) == (0, True, True)


def test_two_processes_with_bad_estimates(place):
    """When each call costs more than was reserved, what goes over the limit is the error of the calls in flight."""
    calls = calls_of_two_processes(place, "0.012")
    total, held = spent(Budgets(open_store(place), Budget(per_run=1)))
    assert total == calls * Decimal("0.012")
    assert held == 0
    assert 1 - CENT <= total <= 1 + 50 * Decimal("0.002")


def test_one_at_a_time_overspends_by_one_error(place):
    """One call after the other goes over a limit by at most one estimate's error."""
    budgets = Budgets(open_store(place), Budget(per_run=1))
    for _ in range(200):
        try:
            budgets.settle(budgets.reserve(RUN, CENT), Decimal("0.012"))
        except BudgetError:
            break
    assert spent(budgets)[0] <= 1 + Decimal("0.002")


def test_killed_process(place):
    """What a killed process had reserved is free again at once."""
    budgets = Budgets(open_store(place), Budget(per_run=1))
    with start(HOLDER, place) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BudgetError):
            budgets.reserve(RUN, 20 * CENT)
        holder.kill()
        holder.wait()
    budgets.reserve(RUN, 20 * CENT)
    assert spent(budgets) == (0, 20 * CENT)


def test_lease(place):
    """A reservation that nobody settles is released when its lease has run out, and still booked when it is settled."""
    budgets = Budgets(open_store(place), Budget(per_run=1), lease=0.05)
    late = budgets.reserve(RUN, 90 * CENT)
    time.sleep(0.1)
    budgets.reserve(RUN, 50 * CENT)
    budgets.settle(late, 90 * CENT)
    assert spent(budgets)[0] == 90 * CENT


def _in_child(place, results):
    budgets = Budgets(open_store(place), Budget(per_run=1))
    budgets.settle(budgets.reserve(RUN, 10 * CENT), 10 * CENT)
    results.put(me())


def test_fork(place):
    """A forked process spends from the same budget as its own owner, also when a thread was in the middle of a call."""
    budgets = Budgets(open_store(place), Budget(per_run=1))
    stop = threading.Event()

    def spend():
        while not stop.is_set():
            budgets.settle(budgets.reserve(Scopes(), CENT), Decimal(0))

    thread = threading.Thread(target=spend)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()
        children = [context.Process(target=_in_child, args=(place, results)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
    finally:
        stop.set()
        thread.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert spent(budgets)[0] == 30 * CENT
    owners = {results.get() for _ in children}
    assert len(owners | {me()}) == 4
    assert all(is_gone(owner) for owner in owners)
    assert not is_gone(me())


def test_another_host():
    """A process of another host can't be looked at, so only its lease counts."""
    assert not is_gone("elsewhere.example|1|0.00")


def test_locked_database(tmp_path, monkeypatch):
    """A database that stays locked refuses limited calls instead of letting them through."""
    monkeypatch.setattr("prodkit.stores.sqlite.BUSY_SECONDS", 0.2)
    path = tmp_path / "budget.db"
    budgets = Budgets(budget_file(path), Budget(per_run=1))
    budgets.balances(RUN)
    other = Budgets(budget_file(tmp_path / "other" / ".." / "budget.db"), Budget(per_run=1))
    (tmp_path / "other").mkdir()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(BudgetError) as caught:
            other.reserve(RUN, CENT)
        assert caught.value.code == "budget.unavailable"
    finally:
        blocker.close()
    other.reserve(RUN, CENT)


def test_broken_database(tmp_path):
    """A file that is no database refuses limited calls, and says where it lies."""
    path = tmp_path / "budget.db"
    path.write_text("this is no database, but it is long enough to be read as one" * 100)
    with pytest.raises(BudgetError) as caught:
        Budgets(budget_file(path), Budget(per_run=1)).reserve(RUN, CENT)
    assert caught.value.code == "budget.unavailable"
    assert str(path) in caught.value.where


def test_removed_database(tmp_path):
    """When the file is removed, spending begins anew in a new one."""
    path = tmp_path / "budget.db"
    budgets = Budgets(budget_file(path), Budget(per_run=1))
    budgets.settle(budgets.reserve(RUN, 90 * CENT), 90 * CENT)
    for file in tmp_path.glob("budget.db*"):
        file.unlink()
    budgets.reserve(RUN, 90 * CENT)
    assert path.exists()


def _reserve_until_interrupted(budgets, delay):
    left = threading.Event()

    def interrupt():
        wait = delay
        while not left.wait(wait):
            os.kill(os.getpid(), signal.SIGINT)
            wait = 2.0  # once more, if the interrupt fell into a destructor, where Python drops it

    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        while True:
            budgets.release(budgets.reserve(RUN, CENT))
    except KeyboardInterrupt:
        left.set()
    thread.join()


def test_interrupts_leave_no_lock(place):
    """An interrupt in the middle of a reservation leaves neither a lock nor money reserved."""
    budgets = Budgets(open_store(place), Budget(per_run=1))
    budgets.release(budgets.reserve(RUN, CENT))  # makes the file and imports: Python may swallow an interrupt there
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests before this one have left
    try:
        for delay in (0.0002, 0.001, 0.003):
            _reserve_until_interrupted(budgets, delay)
    finally:
        signal.signal(signal.SIGINT, before)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: budgets.release(budgets.reserve(RUN, CENT)), range(20)))
    assert spent(budgets)[0] == 0
