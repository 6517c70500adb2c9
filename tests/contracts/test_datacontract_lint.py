"""Every kind of contract file that prodkit writes, read by `datacontract lint`, which others wrote.

The tool lies in an environment of its own, as its dependencies aren't ours: `make test-datacontract` installs it.
It brings the standard's schemas along and reads them from there; its way to the network leads nowhere here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from pyarrow import Table

from prodkit.cli import cli
from prodkit.contracts import Contract, infer
from prodkit.contracts.editing import ContractDraft
from prodkit.contracts.formats import FORMATS
from prodkit.notebook.contract_editor import ContractEditor

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest import Project

pytestmark = pytest.mark.slow
ROWS = 400
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody answers
DAYS = pd.Series(pd.date_range("2026-01-05", periods=ROWS, freq="7h"))


@pytest.fixture(scope="module")
def tool() -> str:
    """The tool from the environment beside ours, else from the path."""
    beside = Path(sys.prefix) / "datacontract" / ("Scripts" if os.name == "nt" else "bin")
    found = shutil.which("datacontract", path=beside) or shutil.which("datacontract")
    if found is None:
        pytest.skip("datacontract-cli isn't installed: run `make test-datacontract`")
    return found


def lint(tool: str, path: Path) -> list[dict[str, Any]]:
    """Each finding that isn't `passed`, warnings too."""
    report = path.with_suffix(".json")
    said = subprocess.run(
        [tool, "lint", str(path), "--all-errors", "--output-format", "json", "--output", str(report)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE},
    )
    assert report.is_file(), said.stdout + said.stderr
    checks = json.loads(report.read_text(encoding="utf-8"))["checks"]
    assert checks
    found = [check for check in checks if check["result"] != "passed"]
    assert bool(said.returncode) == any(check["result"] != "warning" for check in found)
    return found


def repeat(*values: object) -> list[object]:
    return [values[place % len(values)] for place in range(ROWS)]


TEXTS = {
    "contact": repeat("ada@example.org", "bob@example.com"),
    "token": repeat("3b241101-e2bb-4255-8caf-4136c566a962", "9b2c1101-e2bb-4255-8caf-4136c566a963"),
    "day": repeat("2026-01-31", "2025-12-01"),
    "seen": repeat("2026-01-31T10:00:00Z", "2025-12-01T00:00:01Z"),
    "host": repeat("10.0.0.1", "192.168.1.254"),
    "call": repeat("+4930123456", "+33612345678"),
    "home": repeat("https://a.example/x", "https://b.example/y?z=1"),
    "currency": repeat("EUR", "USD"),
    "country": repeat("DE", "FR"),
    "price": repeat("12.50 EUR", "1,299.00 EUR"),
    "zip": [f"{place * 977 % 100_000:05d}" for place in range(ROWS)],
    "part": [f"A{place}" if place % 2 else f"BB-{place}" for place in range(ROWS)],
    "status": repeat("open", "closed: yes", "# no", "null", "ja"),
    "switch": repeat("yes", "no", "on", "off", "1.0"),
    "remark": [" ".join(["please"] * (1 + place % 90)) for place in range(ROWS)],
}


def numbers() -> pd.DataFrame:
    """Keys, codes, ratings, gaps, money, skew, signs, truth, and two columns in order."""
    random = np.random.default_rng(0)
    low = np.round(random.gamma(2.0, 30.0, ROWS), 2)
    return pd.DataFrame(
        {
            "order_id": range(1, ROWS + 1),
            "code": repeat(200, 404, 500),
            "rating": repeat(1, 2, 3, 4, 5),
            "gaps": pd.Series(repeat(1.0, None, 7.0), dtype="float64"),
            "money": [Decimal(place) / 100 for place in range(ROWS)],
            "balance": random.normal(0, 1e9, ROWS),
            "tiny": random.random(ROWS) * 1e-9,
            "endless": [np.inf, *range(1, ROWS)],
            "net_low": low,
            "gross_high": low + random.integers(0, 9, ROWS),
            "truth": repeat(True, False),
            "big": np.full(ROWS, 2**63, dtype="uint64") + np.arange(ROWS, dtype="uint64"),
        },
    )


def times() -> pd.DataFrame:
    """Moments with and without a zone, days, times of day, spans, and two columns in order."""
    return pd.DataFrame(
        {
            "opened_at": DAYS,
            "closed_at": DAYS + pd.to_timedelta(np.arange(ROWS) % 9, unit="h"),
            "utc": DAYS.dt.tz_localize("UTC"),
            "local": DAYS.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
            "day": DAYS.dt.date,
            "time": DAYS.dt.time,
            "span": DAYS - DAYS[0],
            "month": DAYS.dt.to_period("M").astype(str),
        },
    )


def odd() -> pd.DataFrame:
    """Nested, mixed, empty, binary and categorical cells, under names that YAML and the standard could trip over."""
    return pd.DataFrame(
        {
            "address": repeat({"city": "Bonn", "zip": "53111"}, {"city": "Ulm", "zip": None}),
            "tags": repeat(["a"], [], ["b", "c"]),
            "mixed": repeat(1, "a", True, 2.5),
            "void": pd.Series([None] * ROWS, dtype=object),
            "raw": repeat(b"\x00", b"\xff"),
            "kind": pd.Categorical(repeat("x", "y")),
            "yes": repeat("on", "off"),
            "1.5": range(ROWS),
            "größe: in cm": repeat(1.5, 2.5),
            "a.b[0]": range(ROWS),
            " ": repeat("x", "y"),
            "- {a}": repeat("x", "y"),
        },
    )


def dirty() -> pd.DataFrame:
    """A few rows of each column are wrong: drafted as warnings."""
    frame = pd.DataFrame(
        {
            "order_id": [f"ORD-{place}" for place in range(40_000, 40_000 + ROWS)],
            "status": repeat("open", "paid"),
            "email": [f"c{place}@shop.example.com" for place in range(ROWS)],
            "amount": np.linspace(1, 90, ROWS),
        },
    )
    frame.loc[[3, 50], "status"] = ["PAID", "lost"]
    frame.loc[[4, 51], "email"] = ["nobody", "x@"]
    frame.loc[[5, 52], "order_id"] = ["17", "ORD-40001"]
    frame.loc[6, "amount"] = -5.0
    return frame


def polars_types() -> pl.DataFrame:
    """Types that only polars has, and nested ones."""
    return pl.DataFrame(
        {
            "small": pl.Series(repeat(1, 2, 3), dtype=pl.Int8),
            "exact": pl.Series([Decimal(place) / 4 for place in range(ROWS)], dtype=pl.Decimal(12, 2)),
            "level": pl.Series(repeat("low", "high"), dtype=pl.Enum(["low", "high"])),
            "kind": pl.Series(repeat("x", "y"), dtype=pl.Categorical),
            "day": DAYS.dt.date.to_list(),
            "at": pl.Series(DAYS.to_list()).cast(pl.Datetime("ns", "Europe/Berlin")),
            "time": DAYS.dt.time.to_list(),
            "span": (DAYS - DAYS[0]).to_list(),
            "where": repeat({"city": "Bonn", "at": {"x": 1}}, {"city": "Ulm", "at": {"x": 2}}),
            "tags": repeat(["a"], ["b", "c"]),
            "pair": pl.Series(repeat([1, 2], [3, 4]), dtype=pl.Array(pl.Int64, 2)),
            "void": pl.Series([None] * ROWS, dtype=pl.Null),
        },
    )


SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column("int64", pa.Check.ge(1), unique=True, title="Number", description="counts: up"),
        "small": pa.Column("Int8", pa.Check.isin([1, 2, 3]), required=False, nullable=True),
        "name": pa.Column(
            str,
            [pa.Check.str_length(1, 9), pa.Check.str_matches("^a"), pa.Check.str_startswith("a")],
            nullable=True,
        ),
        "x": pa.Column(float, [pa.Check.in_range(0, 1.5), pa.Check.notin([9.0]), pa.Check.lt(2, raise_warning=True)]),
        "at": pa.Column("datetime64[ns, UTC]", pa.Check.ge(pd.Timestamp("2026-01-01", tz="UTC"))),
        "day": pa.Column("datetime64[ns]", pa.Check.le(pd.Timestamp("2026-01-01")), metadata={"source": "crm", "n": 1}),
        "span": pa.Column("timedelta64[ns]"),
        "truth": pa.Column(bool, pa.Check.eq(True)),
        "kind": pa.Column(pa.Category, pa.Check.unique_values_eq(["x", "y"])),
        "any": pa.Column(),
    },
    strict=True,
    unique=["id", "name"],
    name="things",
    title="Things",
    description="all of them",
)


class Model(pa.DataFrameModel):
    """A pandera model for pandas."""

    id: int = pa.Field(ge=1, unique=True)
    name: str = pa.Field(str_length={"min_value": 1, "max_value": 9}, nullable=True)
    x: float = pa.Field(in_range={"min_value": 0, "max_value": 1.5}, isin=[0.5, 1.0])


class PolarsModel(pap.DataFrameModel):
    """A pandera model for polars."""

    id: int = pap.Field(ge=1, unique=True)
    name: str = pap.Field(str_matches="^a", nullable=True)
    x: pl.Float32 = pap.Field(in_range={"min_value": 0, "max_value": 1.5})
    level: pl.Categorical
    at: pl.Datetime = pap.Field(nullable=True)
    tags: pl.List(pl.Utf8)


VALUES = {  # one that each type has, as a person types it
    "string": "no",
    "date": "2026-01-01",
    "timestamp": "2026-01-01T10:00:00",
    "time": "10:00:00",
    "number": "2.5",
    "integer": "3",
    "boolean": "true",
}


def described(columns: dict[str, str]) -> ContractDraft:
    """A contract of columns of these types, without rules."""
    document = yaml.safe_load(infer(pd.DataFrame({"a": [1]}), "t").to_yaml())
    document["schema"][0]["properties"] = [{"name": name, "logicalType": kind} for name, kind in columns.items()]
    return ContractDraft(yaml.safe_dump(document, sort_keys=False))


def edited() -> str:
    """A contract to which each rule was added that the editor offers for each type, in a column of its own."""
    offered = described({logical: logical for logical in VALUES} | {"array": "array", "object": "object"}).columns
    cases = [
        (logical, kind, value) for logical in offered for kind in offered[logical] for value in typed(kind, logical)
    ]
    draft = described({f"c{number}": logical for number, (logical, _, _) in enumerate(cases)})
    for number, (_, kind, value) in enumerate(cases):
        draft = draft.put(f"c{number}", kind, value)
    assert len(cases) > 60
    return draft.text


def typed(kind: str, logical: str) -> list[str]:
    """What a person types for a rule."""
    if kind == "format":
        return {"string": [*FORMATS], "integer": ["i32"], "number": ["f64"]}.get(
            logical, ["%Y" if logical != "time" else "%H:%M"]
        )
    if kind == "pattern":
        return ["10:20", r"^\d+$"]
    if kind == "enum" or kind.endswith(("imum", "multipleOf")):
        return [VALUES.get(logical, "[1]")]
    return ["3"]


EMITTED: dict[str, Callable[[], str]] = {
    "a draft of texts": lambda: infer(pd.DataFrame(TEXTS), "texts", owner="shop").to_yaml(),
    "a draft of numbers": lambda: infer(numbers(), "numbers").to_yaml(),
    "a draft of times": lambda: infer(times(), "times").to_yaml(),
    "a draft of odd columns": lambda: infer(odd(), "ödd: täble/1").to_yaml(),
    "a draft of dirty data": lambda: infer(dirty(), "dirty").to_yaml(),
    "a draft of no rows": lambda: infer(pd.DataFrame({"a": pd.Series([], dtype="int64")}), "none").to_yaml(),
    "a draft of texts in polars": lambda: infer(pl.DataFrame(TEXTS), "texts").to_yaml(),
    "a draft of numbers in polars": lambda: infer(pl.from_pandas(numbers()), "numbers").to_yaml(),
    "a draft of polars' types": lambda: infer(polars_types(), "types").to_yaml(),
    "a draft of a lazy frame": lambda: infer(polars_types().lazy(), "lazy").to_yaml(),
    "a draft of Arrow data": lambda: infer(Table.from_pydict(TEXTS), "arrow").to_yaml(),
    "a DataFrameSchema": lambda: Contract.from_pandera(SCHEMA).to_yaml(),
    "a DataFrameModel": lambda: Contract.from_pandera(Model, name="things").to_yaml(),
    "a polars model": lambda: Contract.from_pandera(PolarsModel).to_yaml(),
    "a polars schema": lambda: Contract.from_pandera(PolarsModel.to_schema(), name="things").to_yaml(),
    "pandera's YAML": lambda: Contract.from_yaml(Model.to_schema().to_yaml()).to_yaml(),
    "every rule that the editor offers": edited,
}


@pytest.mark.parametrize("kind", EMITTED)
def test_emitted_files_pass(kind: str, tool: str, tmp_path: Path) -> None:
    """Each kind of contract that is drafted, exported or edited passes without an error or a warning."""
    path = tmp_path / "contract.odcs.yaml"
    path.write_text(EMITTED[kind](), encoding="utf-8")
    assert lint(tool, path) == []


def test_the_command_writes_a_file_that_passes(tool: str, tmp_path: Path) -> None:
    """What `prodkit contract infer` writes from a file passes."""
    dirty().to_csv(tmp_path / "orders.csv", index=False)
    path = tmp_path / "orders.odcs.yaml"
    done = CliRunner().invoke(cli, ["contract", "infer", str(tmp_path / "orders.csv"), "--out", str(path)])
    assert done.exit_code == 0, done.output
    assert lint(tool, path) == []


def test_the_editor_saves_a_file_that_passes(
    tool: str,
    example: Project,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The example's contract passes as it comes, read and written again, and after rules were changed in the editor."""
    monkeypatch.chdir(example.root)
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    editor = ContractEditor("tickets", {})
    assert lint(tool, editor.path) == []
    again = tmp_path / "again.odcs.yaml"
    again.write_text(Contract.load(editor.path).to_yaml(), encoding="utf-8")
    assert lint(tool, again) == []
    editor.put("channel", "enum", "email, chat, phone, web, letter")
    editor.put("amount_eur", "maximum", "5000")
    editor.weigh("channel.enum", "warning")
    editor.remove("ticket_id.pattern")
    assert lint(tool, editor.save()) == []
    drafted = ContractEditor("inbox", {"inbox": dirty()})
    drafted.put("status", "enum", "open, paid, lost")
    assert lint(tool, drafted.save()) == []


def test_a_wrong_file_fails(tool: str, tmp_path: Path) -> None:
    """The tool does look: a rule that the standard doesn't have is an error, an unknown key a warning at least."""
    document = yaml.safe_load(Contract.from_pandera(Model, name="things").to_yaml())
    document["schema"][0]["properties"][0]["logicalType"] = "int"
    path = tmp_path / "wrong.odcs.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert any("'int'" in finding["reason"] for finding in lint(tool, path))
    document["schema"][0]["properties"][0] = {"name": "id", "requierd": True}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert any("requierd" in finding["reason"] for finding in lint(tool, path))
