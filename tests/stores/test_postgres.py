"""PostgreSQL as the place of state: races of processes, kills, a server that goes away, versions and rights."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest

from prodkit.budget import Budgets, Scopes
from prodkit.errors import BudgetError, ConfigError, TransientError
from prodkit.manifest.model import Budget
from prodkit.stores.budget_tables import SCHEMA, BudgetTables
from prodkit.stores.database import Schema
from prodkit.stores.postgres import PostgresDatabase

CENT = Decimal("0.01")
RUN = Scopes(run="r")
OPEN = """
import sys, time
from decimal import Decimal
from prodkit.budget import Budgets, Scopes
from prodkit.errors import BudgetError
from prodkit.manifest.model import Budget
from prodkit.stores.budget_tables import SCHEMA, BudgetTables
from prodkit.stores.postgres import PostgresDatabase

def budgets(lease=900.0):
    store = BudgetTables(PostgresDatabase(sys.argv[1], sys.argv[2], SCHEMA))
    return Budgets(store, Budget(per_run=1, per_day=1), lease=lease)
"""
SPENDER = """
money, passed = budgets(), 0
sys.stdin.readline()
for _ in range(50):
    try:
        reservation = money.reserve(Scopes(run="r"), Decimal("0.01"))
    except BudgetError:
        continue
    money.settle(reservation, Decimal("0.01"))
    passed += 1
print(passed)
"""
HOLDER = """
budgets(lease=float(sys.argv[3])).reserve(Scopes(run="r"), Decimal("0.90"))
print("held", flush=True)
time.sleep(60)
"""


def database(server, namespace, schema=SCHEMA, **options):
    return PostgresDatabase(server.url(), namespace, schema, **options)


def budgets(server, namespace, **options):
    return Budgets(BudgetTables(database(server, namespace, **options)), Budget(per_run=1, per_day=1))


def spent(money):
    return next((one.spent, one.reserved) for one in money.balances(RUN) if one.scope == "run")


def test_no_race_overspends(shared_postgres, namespace):
    """Eight processes that try 400 calls at once, of which 100 fit, make 100 and spend the limit to the cent."""
    command = [sys.executable, "-c", OPEN + SPENDER, shared_postgres.url(), namespace]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    passed = [int(process.communicate(timeout=170)[0]) for process in started]
    assert sum(passed) == 100
    assert spent(budgets(shared_postgres, namespace)) == (1, 0)


def test_a_reserver_of_another_machine_is_killed(shared_postgres, namespace, elsewhere):
    """What a killed process of another machine had reserved stays reserved until its lease is over, and no longer."""
    money = budgets(shared_postgres, namespace)
    holder = elsewhere(OPEN + HOLDER, shared_postgres.url(), namespace, 2.0)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    with pytest.raises(BudgetError, match="reserved by running calls"):
        money.reserve(RUN, 20 * CENT)
    deadline = time.monotonic() + 120
    while spent(money)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    money.release(money.reserve(RUN, 20 * CENT))


def test_projects_do_not_mix(shared_postgres, namespace):
    """Two services in one database have budgets of their own."""
    one, other = (budgets(shared_postgres, f"{namespace}-{name}") for name in ("a", "b"))
    one.settle(one.reserve(RUN, 90 * CENT), 90 * CENT)
    other.settle(other.reserve(RUN, 50 * CENT), 50 * CENT)
    assert (spent(one), spent(other)) == ((90 * CENT, 0), (50 * CENT, 0))


def test_long_names_do_not_mix(shared_postgres, namespace):
    """Names of services that PostgreSQL would cut to the same schema stay apart."""
    long = namespace.ljust(62, "x")
    names = {database(shared_postgres, long + end).namespace for end in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 63 for name in names)


def test_a_restart_in_the_middle(shared_postgres, namespace):
    """A server that is restarted while calls go on refuses none of them, and every cent is booked once."""
    money, settled = budgets(shared_postgres, namespace, patience=60.0), []

    def call(_):
        reservation = money.reserve(RUN, CENT)
        money.settle(reservation, CENT)
        settled.append(reservation)

    def restart():
        while len(settled) < 10:
            time.sleep(0.005)
        shared_postgres.stop(signal.SIGQUIT)  # as a crash: nothing is finished
        shared_postgres.start()

    thread = threading.Thread(target=restart)
    thread.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(80)))
    thread.join()
    assert spent(money) == (80 * CENT, 0)


def test_a_server_that_is_away(shared_postgres, namespace):
    """While the server is away a limited call is refused as transient, an unlimited one passes, and no cost is lost."""
    money = budgets(shared_postgres, namespace, patience=0.3)
    reservation = money.reserve(RUN, CENT)
    free = Budgets(money.store, Budget())
    shared_postgres.stop()
    try:
        for act in (lambda: money.reserve(RUN, CENT), lambda: money.settle(reservation, CENT)):
            with pytest.raises(TransientError) as caught:
                act()
            assert (caught.value.code, caught.value.exit_code) == ("budget.unavailable", 75)
            assert caught.value.where == shared_postgres.url()
        assert free.reserve(RUN, CENT)
        assert money.balances(RUN) == ()
    finally:
        shared_postgres.start()
    money.release(money.reserve(RUN, CENT))
    assert spent(money) == (CENT, 0)  # the cost that couldn't be booked, with the next call


def test_a_frozen_writer_keeps_nobody_out(shared_postgres, namespace, elsewhere):
    """A process that is paused in the middle of a transaction loses it, and the others wait for seconds only."""
    paused = elsewhere(
        OPEN + "def pause(book):\n    book.expire()\n    print('inside', flush=True)\n    time.sleep(600)\n"
        "budgets().store.write(pause)\n",
        shared_postgres.url(),
        namespace,
    )
    assert paused.stdout.readline() == "inside\n"
    paused.send_signal(signal.SIGSTOP)
    money = budgets(shared_postgres, namespace)
    money.settle(money.reserve(RUN, CENT), CENT)
    assert spent(money) == (CENT, 0)


def test_a_later_version_is_refused(shared_postgres, namespace):
    """Tables of a later version are left alone, with one error that says which versions they are."""
    database(shared_postgres, namespace).write(lambda db: db.change("UPDATE versions SET version = 99"))
    shared_postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'prodkit'")
    with pytest.raises(ConfigError) as caught:
        database(shared_postgres, namespace).write(lambda db: db.rows("SELECT 1"))
    assert caught.value.code == "state.newer"
    assert "version 99; this prodkit knows them up to 1" in caught.value.what


def test_an_earlier_version_is_brought_up_to_date_once(shared_postgres, namespace):
    """Tables of an earlier version get what is missing, by one of the processes that open them at once."""
    first = Schema("things", ("CREATE TABLE things (name TEXT)",))
    second = Schema(
        "things", (*first.versions, "ALTER TABLE things ADD COLUMN size BIGINT; CREATE INDEX i ON things (name)")
    )
    database(shared_postgres, namespace, first).write(lambda db: db.change("INSERT INTO things VALUES (?)", ("old",)))
    code = (
        "import sys\nfrom prodkit.stores.database import Schema\nfrom prodkit.stores.postgres import PostgresDatabase\n"
        "db = PostgresDatabase(sys.argv[1], sys.argv[2], Schema('things', tuple(sys.argv[3:])))\n"
        "print(db.write(lambda db: db.rows('SELECT name, size FROM things')))\n"
    )
    command = [sys.executable, "-c", code, shared_postgres.url(), namespace, *second.versions]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=120)[0] for process in started] == ["[('old', None)]\n"] * 4


@pytest.mark.parametrize(("user", "name"), [("nobody-there", "postgres"), ("prodkit", "nothing-there")])
def test_a_wrong_address_is_said_at_once(shared_postgres, namespace, user, name):
    """A user or database that isn't there is a configuration error, without waiting for the server to come back."""
    with pytest.raises(ConfigError) as caught:
        PostgresDatabase(shared_postgres.url(name, user), namespace, SCHEMA).read(lambda db: db.rows("SELECT 1"))
    assert (caught.value.code, caught.value.exit_code) == ("state.refused", 78)


def test_a_user_without_rights(shared_postgres, namespace):
    """A user that may not make the schema is told so, and works in one that it was given."""
    user = f"weak_{namespace.replace('-', '_')}"
    shared_postgres.execute(f"CREATE ROLE {user} LOGIN")
    weak = PostgresDatabase(shared_postgres.url(user=user), namespace, SCHEMA)
    with pytest.raises(ConfigError) as caught:
        weak.write(lambda db: db.rows("SELECT 1"))
    assert caught.value.code == "state.refused"
    assert f"the schema prodkit_{namespace}" in caught.value.fix
    shared_postgres.execute(f'CREATE SCHEMA "prodkit_{namespace}" AUTHORIZATION {user}')
    assert weak.write(lambda db: db.rows("SELECT count(*) FROM totals")) == [(0,)]


def test_the_day_is_the_servers(shared_postgres, namespace):
    """Which day a call is charged to is said by the server's clock, in UTC."""
    money = budgets(shared_postgres, namespace)
    money.settle(money.reserve(RUN, CENT), CENT)
    ((day,),) = shared_postgres.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
    keys = database(shared_postgres, namespace).read(lambda db: db.rows("SELECT key FROM totals"))
    assert (f"day:{day}",) in keys


def test_a_missing_extra_is_one_sentence(monkeypatch, namespace):
    """Without psycopg the error names the extra and the line that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as caught:
        PostgresDatabase("postgresql://127.0.0.1:9/x", namespace, SCHEMA).read(lambda db: db.rows("SELECT 1"))
    assert (caught.value.code, "psycopg" in caught.value.fix) == ("package.missing", True)


def test_a_sessions_own_settings_do_not_matter(shared_postgres, namespace):
    """A user whose sessions are serializable by default loses no sum to another's."""
    shared_postgres.execute("CREATE ROLE strict LOGIN SUPERUSER")
    shared_postgres.execute("ALTER ROLE strict SET default_transaction_isolation = 'serializable'")
    url = shared_postgres.url(user="strict")
    stores = [
        BudgetTables(PostgresDatabase(url, namespace, SCHEMA)),
        BudgetTables(database(shared_postgres, namespace)),
    ]

    def spend(number):
        money = Budgets(stores[number % 2], Budget(per_run=1))
        money.settle(money.reserve(RUN, CENT), CENT)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spend, range(40)))
    assert spent(Budgets(stores[0], Budget(per_run=1))) == (40 * CENT, 0)
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
