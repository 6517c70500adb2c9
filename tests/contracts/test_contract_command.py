from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from prodkit.cli import cli
from prodkit.contracts import Contract
from prodkit.errors import ProdkitError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["contract", *map(str, arguments)])


@pytest.fixture
def bad_file(bad_tickets: pd.DataFrame, tmp_path: Path) -> Path:
    bad_tickets.to_parquet(tmp_path / "tickets.parquet")
    return tmp_path / "tickets.parquet"


@pytest.fixture
def good_file(tickets: pd.DataFrame, tmp_path: Path) -> Path:
    tickets.to_parquet(tmp_path / "good.parquet")
    return tmp_path / "good.parquet"


def test_infer_writes_a_contract(good_file: Path, tmp_path: Path) -> None:
    """`infer` drafts a contract that the same data keeps, and never writes over one."""
    out = tmp_path / "contracts" / "drafted.odcs.yaml"
    done = call("infer", good_file, "--owner", "support", "--out", out)
    assert done.exit_code == 0
    assert Contract.load(out).owner == "support"
    assert call("validate", good_file, out).exit_code == 0
    assert isinstance(call("infer", good_file, "--out", out).exception, ProdkitError)
    assert "apiVersion: v3.1.0" in call("infer", good_file).output


def test_validate_says_what_is_broken(bad_file: Path, tickets_path: Path, tmp_path: Path) -> None:
    """`validate` shows every broken rule, writes report and bad rows, and ends with 65."""
    done = call("validate", bad_file, tickets_path, "--html", tmp_path / "r.html", "--quarantine", tmp_path / "q")
    assert done.exit_code == 65
    assert "channel.enum" in done.output
    assert "not-an-address-secret" not in done.output
    assert "<!doctype html>" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "q.parquet").exists()


def test_modes_decide_the_exit_code(bad_file: Path, good_file: Path, tickets_path: Path) -> None:
    """Bad rows that are set aside, or only warned about, don't end in an error; clean data never does."""
    assert call("validate", bad_file, tickets_path, "--mode", "quarantine").exit_code == 0
    assert call("validate", bad_file, tickets_path, "--mode", "warn").exit_code == 0
    assert call("validate", good_file, tickets_path, "--engine", "pandera").exit_code == 0


def test_diff_ends_with_one_on_a_breaking_change(tickets_path: Path, tmp_path: Path) -> None:
    """`diff` ends with 1 when somebody is broken, and asks for one side only when told so."""
    newer = tmp_path / "new.yaml"
    newer.write_text(tickets_path.read_text().replace("maximum: 10000", "maximum: 5000"))
    assert call("diff", tickets_path, tickets_path).exit_code == 0
    broken = call("diff", tickets_path, newer)
    assert broken.exit_code == 1
    assert "amount_eur: was: must be at most 10000; now: must be at most 5000 (writers)" in broken.output
    assert call("diff", tickets_path, newer, "--for", "readers").exit_code == 0


def test_test_tells_the_share(good_file: Path, tickets_path: Path) -> None:
    """`test --mutate` tells what share of corruption is noticed, and fails below what was asked."""
    done = call("test", good_file, tickets_path, "--mutate", "--at-least", "0.9")
    assert done.exit_code == 0
    assert "missed in customer_email" in done.output
    assert call("test", good_file, tickets_path, "--mutate", "--at-least", "1").exit_code == 1
    assert call("test", good_file, tickets_path).exit_code == 2


def test_lint_checks_the_file_itself(tickets_path: Path, tmp_path: Path) -> None:
    """`lint` accepts a sound contract, and names the line of a broken one."""
    assert call("lint", tickets_path).exit_code == 0
    (tmp_path / "bad.yaml").write_text(tickets_path.read_text().replace("logicalType: number", "logicalType: nmber"))
    done = call("lint", tmp_path / "bad.yaml")
    assert isinstance(done.exception, ProdkitError)
    assert done.exception.where.startswith("bad.yaml:")
    assert "`number`" in done.exception.fix


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("absent.csv", None, "contract.no-data"),
        ("notes.docx", b"x", "contract.unknown-file"),
        ("broken.parquet", b"not a parquet file", "contract.unreadable-data"),
        ("broken.xlsx", b"not a workbook", "contract.unreadable-data"),
    ],
)
def test_data_that_cant_be_read_is_one_error(
    name: str, content: bytes | None, code: str, tickets_path: Path, tmp_path: Path
) -> None:
    """A file that is missing, of an unknown kind or broken is one clear error."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    error = call("validate", tmp_path / name, tickets_path).exception
    assert isinstance(error, ProdkitError)
    assert error.code == code


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "feather", "xlsx"])
def test_files_of_each_kind_are_read(tickets: pd.DataFrame, suffix: str, tmp_path: Path) -> None:
    """Each kind of file that the help names can be drafted from."""
    path = tmp_path / f"t.{suffix}"
    writers = {
        "csv": lambda: tickets.to_csv(path, index=False),
        "tsv": lambda: tickets.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: tickets.to_json(path, orient="records", lines=True, date_format="iso"),
        "json": lambda: tickets.to_json(path, orient="records", date_format="iso"),
        "feather": lambda: tickets.to_feather(path),
        "xlsx": lambda: tickets.to_excel(path, index=False),
    }
    writers[suffix]()
    done = call("infer", path)
    assert done.exit_code == 0, done.output
    assert "ticket_id" in done.output


def test_without_a_contract_the_way_is_told(good_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Data that no source maps needs the contract's file, and the error says so."""
    monkeypatch.setenv("PRODKIT_PROJECT", str(tmp_path))
    error = call("validate", good_file).exception
    assert isinstance(error, ProdkitError)
    assert error.code == "contract.none"
