from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from prodkit.contracts import Contract, validate
from prodkit.errors import DataError, ParameterError

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = {
    "created_at.required": 1,
    "channel.enum": 2,
    "priority.enum": 3,
    "ticket_id.unique": 4,
    "body.minLength": 5,
    "amount_eur.minimum": 6,
    "customer_email.format": 7,
}


def test_clean_tickets_pass(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Clean data has no finding, and goes on as the very frame that was passed."""
    result = validate(tickets, tickets_contract)
    assert result.ok
    assert result.findings == ()
    assert result.valid is tickets
    assert (result.checked, result.failed) == (200, 0)


@pytest.mark.parametrize("kind", ["pandas", "pandas-object", "polars", "lazy", "arrow"])
@pytest.mark.parametrize("engine", ["arrow", "pandera"])
def test_every_fault_is_found_at_its_row(
    bad_tickets: pd.DataFrame, tickets_contract: Contract, kind: str, engine: str
) -> None:
    """Both engines find each fault at its row, in every kind of frame, lazy ones too, all at once."""
    result = validate(as_kind(bad_tickets, kind), tickets_contract, "quarantine", engine=engine)
    found = {finding.rule: finding.rows for finding in result.findings}
    assert found == {rule: (row,) for rule, row in FAULTS.items()} | {"body.pattern": (5,)}
    assert result.failed == 7


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow"])
def test_quarantine_splits_the_rows(bad_tickets: pd.DataFrame, tickets_contract: Contract, kind: str) -> None:
    """Bad rows are set aside with their reason and position, the rest goes on in a frame of the same kind."""
    frame = as_kind(bad_tickets, kind)
    result = validate(frame, tickets_contract, "quarantine")
    assert type(result.valid) is type(frame)
    aside = to_pandas(result.quarantined)
    assert list(aside["prodkit_row"]) == [1, 2, 3, 4, 5, 6, 7]
    assert list(aside["prodkit_reason"])[:2] == ["created_at.required", "channel.enum"]
    assert list(to_pandas(result.valid)["ticket_id"])[:2] == ["T-10000", "T-10008"]
    assert len(to_pandas(result.valid)) == 193


def test_refuse_keeps_the_data_back(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """In mode refuse the rows can't be had by accident: `.valid` raises the refusal."""
    result = validate(bad_tickets, tickets_contract)
    with pytest.raises(DataError, match="7 of 200 rows") as caught:
        _ = result.valid
    assert caught.value.code == "contract.broken"
    assert caught.value.exit_code == 65


def test_warn_lets_everything_go_on(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """In mode warn everything goes on, and what was found is still told."""
    result = validate(bad_tickets, tickets_contract, "warn")
    assert result.valid is bad_tickets
    assert not result.ok


def test_no_value_leaves_the_data(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Findings, reports and errors hold no value of a column that isn't classified public."""
    result = validate(bad_tickets, tickets_contract, "quarantine")
    said = "".join(
        [
            str(result.findings),
            result.to_html(),
            result.to_markdown(),
            str(result.refuse_error()),
            repr(result),
            str(result.metrics()),
        ]
    )
    assert "not-an-address-secret" not in said
    assert "777.77" not in said
    assert "T-10000" not in said
    assert "fax-secret" in said  # `channel` is public


def test_nothing_is_changed(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Checking changes no value, type, index or name of the frame."""
    before = bad_tickets.copy(deep=True)
    validate(bad_tickets, tickets_contract, "quarantine", engine="pandera")
    validate(bad_tickets, tickets_contract, "quarantine")
    assert_frame_equal(before, bad_tickets)


def test_a_missing_required_column_is_named(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """A required column that isn't there is one error with the column, the contract and the nearest name."""
    with pytest.raises(DataError) as caught:
        validate(tickets.rename(columns={"body": "boddy"}), tickets_contract, "warn")
    assert caught.value.code == "contract.missing-column"
    assert "`body`" in caught.value.what
    assert "`tickets`" in caught.value.what
    assert "`boddy`" in caught.value.fix
    assert caught.value.where == "tickets.odcs.yaml"


def test_columns_beside_the_contract(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """A missing optional column breaks the contract as a whole; one more column than agreed is a warning."""
    result = validate(tickets.drop(columns="subject").assign(note="x"), tickets_contract, "quarantine")
    assert [(finding.rule, finding.severity) for finding in result.findings] == [
        ("subject.present", "error"),
        ("note.unknown", "warning"),
    ]
    with pytest.raises(DataError, match=r"subject\.present"):
        _ = result.valid


def test_metrics_name_each_broken_rule(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """The figures for a run are rows checked, rows failed and one for each broken rule."""
    figures = validate(bad_tickets, tickets_contract).metrics()
    assert figures["rows_checked"] == 200
    assert figures["rows_failed"] == 7
    assert figures["failed.channel.enum"] == 1


def test_quarantine_file_is_private_and_readable(
    bad_tickets: pd.DataFrame, tickets_contract: Contract, tmp_path: Path
) -> None:
    """The set-aside rows lie in a Parquet file that only its owner can read, each with its reason."""
    path = validate(bad_tickets, tickets_contract, "quarantine").save_quarantined(tmp_path / "q" / "tickets")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert pq.read_table(path).column("prodkit_reason").to_pylist()[4] == "body.minLength; body.pattern"


def test_quarantine_file_holds_mixed_objects(tickets: pd.DataFrame, tickets_contract: Contract, tmp_path: Path) -> None:
    """Rows that Parquet has no type for are written as JSON lines, not lost."""
    tickets["channel"] = tickets["channel"].astype(object)
    tickets.loc[0, "channel"] = 5
    tickets["mixed"] = pd.Series([1, "x"] * 100, dtype=object)
    tickets.loc[1, "body"] = ""
    path = validate(tickets, tickets_contract, "quarantine").save_quarantined(tmp_path / "tickets")
    assert path is not None
    assert path.suffix == ".jsonl"
    assert len(path.read_text().splitlines()) == 2


def test_no_quarantine_file_without_bad_rows(tickets: pd.DataFrame, tickets_contract: Contract, tmp_path: Path) -> None:
    """Clean data leaves no file behind."""
    assert validate(tickets, tickets_contract, "quarantine").save_quarantined(tmp_path / "x") is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_is_refused(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """A mode that doesn't exist is one clear error with the nearest one."""
    with pytest.raises(ParameterError, match="quarantine"):
        validate(tickets, tickets_contract, "quarantin")  # type: ignore[arg-type]


def test_what_is_no_frame_is_refused(tickets_contract: Contract) -> None:
    """A list isn't checked as if it were a table."""
    with pytest.raises(DataError) as caught:
        validate([1, 2], tickets_contract)
    assert caught.value.code == "contract.no-frame"


def test_odd_indexes_dont_move_the_rows(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Positions are positions, whatever the index is, doubled labels too."""
    bad_tickets.index = [7] * 200
    result = validate(bad_tickets, tickets_contract, "quarantine")
    assert {finding.rule: finding.rows for finding in result.findings}["channel.enum"] == (2,)
    assert len(result.valid) == 193


def as_kind(frame: pd.DataFrame, kind: str) -> object:
    if kind == "pandas-object":
        return frame.astype({name: object for name in frame.columns if frame[name].dtype == "str"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    makers = {
        "pandas": lambda: frame,
        "polars": lambda: pl.DataFrame(table),
        "lazy": lambda: pl.DataFrame(table).lazy(),
        "arrow": lambda: table,
    }
    return makers[kind]()


def to_pandas(frame: object) -> pd.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    return (
        frame
        if isinstance(frame, pd.DataFrame)
        else frame.to_pandas()
        if isinstance(frame, pa.Table)
        else frame.to_arrow().to_pandas()
    )


def test_imports_are_light() -> None:
    """The room's name costs nothing: pandera, pyarrow and pandas come with the first use."""
    import subprocess

    code = "import prodkit.contracts, sys; print([m for m in ('pandas', 'pyarrow', 'pandera', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decimals_are_exact(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Decimals are compared exactly, and stay what they are."""
    tickets["amount_eur"] = [Decimal("1.10")] * 199 + [Decimal("-0.01")]
    result = validate(tickets, tickets_contract, "quarantine")
    assert [(finding.rule, finding.rows) for finding in result.findings] == [("amount_eur.minimum", (199,))]
    assert result.valid["amount_eur"].iloc[0] == Decimal("1.10")


def test_nan_in_polars_is_missing(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """NaN in a polars or Arrow column is a missing value, as it is in pandas."""
    frame = pl.DataFrame(pa.Table.from_pandas(tickets)).with_columns(pl.lit(float("nan")).alias("amount_eur"))
    assert validate(frame, tickets_contract).ok
    assert np.isnan(frame["amount_eur"][0])
