"""Which tables a statement names."""

from __future__ import annotations

import pytest

from prodkit.capture.lineage.sql import Tables, places_in, tables_of

CASES = {
    "SELECT * FROM tickets": (("tickets",), ()),
    "select a from shop.tickets t join users u on t.id = u.id": (("shop.tickets", "users"), ()),
    'SELECT * FROM "Odd Name"."Tickets", b AS c, d': (("Odd Name.Tickets", "b", "d"), ()),
    "SELECT * FROM `proj.set.tab`": (("proj.set.tab",), ()),
    "SELECT * FROM [dbo].[Orders] o": (("dbo.Orders",), ()),
    "WITH x AS (SELECT * FROM a), y AS (SELECT * FROM x) SELECT * FROM y": (("a",), ()),
    "SELECT * FROM a JOIN b ON a.x = b.x WHERE 1": (("a", "b"), ()),
    "SELECT * FROM a GROUP BY x": (("a",), ()),
    "INSERT INTO b (x) SELECT x FROM a": (("a",), ("b",)),
    "INSERT OR REPLACE INTO b VALUES ('from c')": ((), ("b",)),
    "UPDATE a SET x = 1 FROM b WHERE a.id = b.id": (("b",), ("a",)),
    "DELETE FROM a WHERE x IN (SELECT x FROM b)": (("b",), ("a",)),
    "CREATE TABLE IF NOT EXISTS c AS SELECT * FROM a": (("a",), ("c",)),
    "MERGE INTO a USING b ON a.id = b.id": (("b",), ("a",)),
    "COPY a FROM STDIN": ((), ("a",)),
    "COPY a TO STDOUT": (("a",), ()),
    "SELECT extract(year FROM day) FROM a": (("a",), ()),
    "SELECT * FROM a -- FROM b\n/* JOIN c */": (("a",), ()),
    "SELECT 'it''s FROM b' FROM a": (("a",), ()),
    "SELECT * FROM generate_series(1, 10)": ((), ()),
    "SELECT 1": ((), ()),
    "SELECT a IS DISTINCT FROM b FROM c": (("c",), ()),
    "PRAGMA table_info(a)": ((), ()),
    "not SQL at all": ((), ()),
    "SELECT * FROM sqlite_master": ((), ()),
    "SELECT * FROM a LEFT JOIN LATERAL (SELECT * FROM b) x ON true": (("a", "b"), ()),
    "SELECT * FROM a, (SELECT * FROM b) AS x": (("a", "b"), ()),
}


@pytest.mark.parametrize("statement", CASES)
def test_tables(statement):
    """Tables that are read and written are told apart, in each dialect's way to write names."""
    assert tables_of(statement) == Tables(*CASES[statement])


PLACES = {
    "SELECT * FROM 'a b.csv' -- 'c.csv'": [("a b.csv", False)],
    "SELECT * FROM read_parquet(['a.parquet', 'b.parquet'], hive_partitioning = true)": [
        ("a.parquet", False),
        ("b.parquet", False),
    ],
    "COPY (SELECT * FROM 'in.csv' WHERE x = 'some.value') TO 'out.csv'": [("in.csv", False), ("out.csv", True)],
    "ATTACH 'other.db' AS other": [("other.db", False)],
    "CREATE SECRET s (TYPE s3, KEY_ID 'canary.1', SECRET 'canary.2')": [],
    "SELECT * FROM t WHERE x IN ('canary.1', 'canary.2')": [],
}


@pytest.mark.parametrize("statement", PLACES)
def test_places(statement):
    """The literals by which DuckDB reads and writes files are told from values, which are nobody's business."""
    assert places_in(statement) == PLACES[statement]


def test_a_long_statement():
    """A statement of a megabyte takes no time."""
    assert tables_of("SELECT * FROM a WHERE x IN (" + "'v', " * 200_000).read == ("a",)
