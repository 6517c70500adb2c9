from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

import pytest
import yaml

from prodkit.contracts import Contract, infer
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: t
    properties:
"""


def with_column(*lines: str) -> str:
    return HEAD + "      - name: a\n" + "".join(f"        {line}\n" for line in lines)


BAD = {
    "no yaml": ("a: [1\nb: 2", "contract.yaml", 2, ""),
    "a list": ("- 1\n", "contract.yaml", 1, "apiVersion"),
    "empty": ("", "contract.yaml", 1, "apiVersion"),
    "an object tag": (
        HEAD + "      - name: !!python/object/apply:os.system ['id']\n",
        "contract.unsafe-tag",
        9,
        "remove the tag",
    ),
    "an own tag": (HEAD + "      - name: !thing x\n", "contract.unsafe-tag", 9, "remove the tag"),
    "a doubled key": (with_column("required: true", "required: false"), "contract.duplicate-key", 11, "keep one"),
    "no kind": (HEAD.replace("kind: DataContract\n", ""), "contract.missing-key", 1, "kind"),
    "another kind": (
        HEAD.replace("DataContract", "DataProduct") + "      - name: a\n",
        "contract.version",
        2,
        "DataContract",
    ),
    "an unknown version": (HEAD.replace("v3.1.0", "v9.9.9") + "      - name: a\n", "contract.version", 1, "v3.1.0"),
    "no columns": (HEAD.replace("    properties:\n", ""), "contract.missing-key", 7, "properties"),
    "a column without a name": (HEAD + "      - logicalType: string\n", "contract.missing-key", 9, "name"),
    "a column twice": (HEAD + "      - name: a\n      - name: a\n", "contract.contradiction", 10, "keep one"),
    "a misspelt key": (with_column("requierd: true"), "contract.unknown-key", 10, "`required`"),
    "a wrong type of value": (with_column("required: perhaps"), "contract.invalid", 10, "correct"),
    "a number for a text": (HEAD.replace("1.0.0", "1.0") + "      - name: a\n", "contract.invalid", 4, "quotes"),
    "an unknown type": (with_column("logicalType: integr"), "contract.unknown-type", 10, "`integer`"),
    "an unknown rule": (
        with_column("logicalType: string", "logicalTypeOptions: {minLenght: 1}"),
        "contract.unknown-rule",
        11,
        "`minLength`",
    ),
    "a rule for another type": (
        with_column("logicalType: string", "logicalTypeOptions: {minimum: 1}"),
        "contract.contradiction",
        11,
        "integer",
    ),
    "a bound that is none": (
        with_column("logicalType: integer", "logicalTypeOptions: {minimum: few}"),
        "contract.invalid",
        11,
        "number",
    ),
    "a date that is none": (
        with_column("logicalType: date", "logicalTypeOptions: {minimum: '2026-13-40'}"),
        "contract.invalid",
        11,
        "2024-01-31",
    ),
    "bounds that cross": (
        with_column("logicalType: integer", "logicalTypeOptions: {minimum: 5, maximum: 4}"),
        "contract.contradiction",
        9,
        "one of them",
    ),
    "lengths that cross": (
        with_column("logicalType: string", "logicalTypeOptions: {minLength: 5, maxLength: 4}"),
        "contract.contradiction",
        9,
        "one of them",
    ),
    "a negative length": (
        with_column("logicalType: string", "logicalTypeOptions: {minLength: -1}"),
        "contract.invalid",
        11,
        "whole number",
    ),
    "a broken pattern": (
        with_column("logicalType: string", "logicalTypeOptions: {pattern: '['}"),
        "contract.invalid",
        11,
        "correct",
    ),
    "an unknown metric": (
        with_column("quality: [{metric: rowCounts, mustBe: 0}]"),
        "contract.unknown-rule",
        10,
        "`rowCount`",
    ),
    "a metric without a comparison": (
        with_column("quality: [{metric: nullValues}]"),
        "contract.missing-key",
        10,
        "mustBe",
    ),
    "a metric with two": (
        with_column("quality: [{metric: nullValues, mustBe: 0, mustBeLessThan: 5}]"),
        "contract.contradiction",
        10,
        "one of",
    ),
    "values without values": (
        with_column("quality: [{metric: invalidValues, mustBe: 0}]"),
        "contract.missing-key",
        10,
        "validValues",
    ),
    "an unknown pandera check": (
        with_column("quality: [{type: custom, engine: pandera, implementation: {check: str_match, pattern: x}}]"),
        "contract.unknown-rule",
        10,
        "`str_matches`",
    ),
    "a check without a name": (
        with_column("quality: [{type: custom, engine: pandera, implementation: {x: 1}}]"),
        "contract.invalid",
        10,
        "check",
    ),
    "text for numbers": (
        with_column(
            "logicalType: integer", "quality: [{metric: invalidValues, arguments: {validValues: [one]}, mustBe: 0}]"
        ),
        "contract.contradiction",
        9,
        "correct",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_contract_is_one_clear_error(name: str) -> None:
    """Whatever is wrong with a contract file, the error names its kind, the line, and what to do."""
    text, code, line, fix = BAD[name]
    with pytest.raises(ConfigError) as caught:
        Contract.from_yaml(text, name="t.yaml")
    assert caught.value.code == code
    assert caught.value.where.split(" ")[0] == f"t.yaml:{line}"
    assert fix in caught.value.fix


def test_aliases_that_explode_are_refused() -> None:
    """A file whose aliases expand to billions of values is refused at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="expands"):
        Contract.from_yaml("\n".join(lines))
    with pytest.raises(ConfigError, match="itself"):
        Contract.from_yaml("a: &a [*a]")


def test_a_missing_file_names_its_neighbours(tickets_path: Path) -> None:
    """A contract that isn't there is one clear error that names the nearest file."""
    with pytest.raises(ConfigError) as caught:
        Contract.load(tickets_path.with_name("ticket.odcs.yaml"))
    assert caught.value.code == "contract.missing"
    assert "tickets.odcs.yaml" in caught.value.fix


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A binary file is no contract."""
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError) as caught:
        Contract.load(tmp_path / "c.yaml")
    assert caught.value.code == "contract.unreadable"


def test_a_contract_is_found_from_a_notebooks_folder(tickets_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is looked for here, then from the project's root; a data source's name means its contract."""
    monkeypatch.chdir(tickets_path.parents[1] / "notebooks")
    monkeypatch.delenv("PRODKIT_PROJECT", raising=False)
    assert Contract.load("contracts/tickets.odcs.yaml").name == "tickets"
    assert Contract.load("tickets").source == "tickets.odcs.yaml"
    assert repr(Contract.load("tickets")).startswith("Contract('tickets', version 1.0.0, 9 columns")


def test_several_tables_need_a_choice() -> None:
    """A file with several tables asks which one is meant, and takes the name."""
    text = HEAD + "      - name: a\n  - name: u\n    properties:\n      - name: b\n"
    with pytest.raises(ConfigError, match="several") as caught:
        Contract.from_yaml(text)
    assert "t, u" in caught.value.fix
    assert Contract.from_yaml(text, table="u").columns[0].name == "b"


def test_a_contract_survives_its_yaml(tickets_contract: Contract) -> None:
    """Written and read again, a contract has the same rules and keeps what isn't a rule."""
    again = Contract.from_yaml(tickets_contract.to_yaml())
    assert again.rules == tickets_contract.rules
    assert again.document == tickets_contract.document
    assert (again.owner, again.retention, again.residency) == ("support-data", "365 d", "eu")


def test_personal_and_public_columns_are_told_apart(tickets_contract: Contract) -> None:
    """Classification and personal data are read from where the standard puts them."""
    columns = {column.name: column for column in tickets_contract.columns}
    assert columns["customer_email"].pii
    assert not columns["customer_email"].public
    assert columns["channel"].public
    assert columns["ticket_id"].classification == "internal"


def test_files_conform_to_the_standards_schema(tickets_contract: Contract, tickets: pd.DataFrame) -> None:
    """The demo's contract and a drafted one are valid against the standard's own JSON Schema."""
    import jsonschema

    schema = json.loads(
        resources.files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    )
    for contract in (tickets_contract, infer(tickets, "tickets")):
        jsonschema.Draft201909Validator(schema).validate(yaml.safe_load(contract.to_yaml()))
