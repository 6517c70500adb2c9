from __future__ import annotations

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest

from prodkit.contracts import Contract, validate
from prodkit.errors import ConfigError, DataError

FRAME = pd.DataFrame({"id": [1, 2, 3, 3], "name": ["a", "b", None, "dd"], "x": [0.5, -1.0, 2.0, 1.5]})
SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column("int64", pa.Check.ge(1), unique=True),
        "name": pa.Column(str, pa.Check.str_length(1, 1)),
        "x": pa.Column(float, [pa.Check.in_range(0, 1.5), pa.Check.notin([9.0])], nullable=True),
    },
    strict=True,
    name="things",
)


class Model(pa.DataFrameModel):
    id: int = pa.Field(ge=1, unique=True)
    name: str = pa.Field(str_length={"min_value": 1, "max_value": 1})
    x: float = pa.Field(in_range={"min_value": 0, "max_value": 1.5}, nullable=True)


class PolarsModel(pap.DataFrameModel):
    id: int = pap.Field(ge=1, unique=True)
    x: float = pap.Field(ge=0)


@pytest.mark.parametrize("schema", [SCHEMA, Model, Model.to_schema()], ids=["schema", "model", "model's schema"])
def test_pandera_schemas_are_taken_as_they_are(schema: object) -> None:
    """A pandera schema or model is checked by pandera, and its report has positions and no values."""
    result = validate(FRAME, schema, "quarantine")
    found = {finding.rule: finding.rows for finding in result.findings}
    assert found["id.unique"] == (2, 3)
    assert found["name.required"] == (2,)
    assert found["name.str_length"] == (3,)
    assert found["x.in_range"] == (1, 2)
    assert result.engine == "pandera"
    assert "-1.0" not in str(result.findings)
    assert list(result.valid["id"]) == [1]


def test_polars_models_check_the_data_of_lazy_frames() -> None:
    """A polars model checks a LazyFrame's data, not only its schema."""
    frame = pl.DataFrame({"id": [1, 2, 2], "x": [1.0, -1.0, 1.0]})
    for kind in (frame, frame.lazy(), frame.to_arrow(), frame.to_pandas()):
        found = {finding.rule: finding.rows for finding in validate(kind, PolarsModel, "warn").findings}
        assert found["x.greater_than_or_equal_to"] == (1,)
        assert found["id.unique"] == (1, 2)


def test_coercion_is_switched_off_and_said() -> None:
    """A schema that coerces is checked without, so 1.9 isn't taken for 1 and nothing changes; the report says so."""
    schema = pa.DataFrameSchema({"n": pa.Column(int)}, coerce=True)
    result = validate(pd.DataFrame({"n": [1.9]}), schema)
    assert not result.ok
    assert any("coerce" in entry for entry in result.unchecked)
    assert schema.coerce


def test_dropping_schemas_dont_drop() -> None:
    """A schema that would drop invalid rows reports them instead."""
    schema = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.ge(0))}, drop_invalid_rows=True)
    result = validate(pd.DataFrame({"n": [1, -1]}), schema, "quarantine")
    assert result.failed == 1


def test_parsers_are_refused() -> None:
    """A schema whose parsers change values is refused, with what to do."""
    schema = pa.DataFrameSchema({"n": pa.Column(int, parsers=pa.Parser(lambda s: s + 1))})
    with pytest.raises(ConfigError) as caught:
        validate(pd.DataFrame({"n": [1]}), schema)
    assert caught.value.code == "contract.changes-values"


def test_a_missing_column_of_a_schema_is_named() -> None:
    """A schema's missing column is the same clear error as a contract's."""
    with pytest.raises(DataError, match="`name`") as caught:
        validate(FRAME.rename(columns={"name": "nam"}), SCHEMA)
    assert caught.value.code == "contract.missing-column"


def test_what_is_no_contract_is_refused() -> None:
    """A number is no contract."""
    with pytest.raises(ConfigError) as caught:
        validate(FRAME, 5)
    assert caught.value.code == "contract.no-contract"


@pytest.mark.parametrize("schema", [SCHEMA, Model], ids=["schema", "model"])
def test_an_exported_schema_finds_the_same_rows(schema: object) -> None:
    """A schema written as a contract file and read again breaks on the same rules and rows."""
    contract = Contract.from_yaml(Contract.from_pandera(schema, name="things").to_yaml())
    direct, exported = validate(FRAME, schema, "warn"), validate(FRAME, contract, "warn")
    rows = {finding.rule: set(finding.rows) for finding in exported.findings}
    for finding in direct.findings:
        if finding.rule != "id.unique":  # pandera counts the first of a pair, too
            assert rows[finding.rule] == set(finding.rows)
    assert rows["id.unique"] == {3}
    assert direct.ok == exported.ok


def test_exported_types_are_exact() -> None:
    """An exported schema still tells int64 from int32, as pandera does."""
    contract = Contract.from_pandera(SCHEMA)
    clean = FRAME.iloc[:1].assign(x=0.5)
    assert validate(clean, contract).ok
    narrow = validate(clean.astype({"id": "int32"}), contract)
    assert [finding.rule for finding in narrow.findings] == ["id.dtype"]


def test_panderas_yaml_is_taken(tmp_path: object) -> None:
    """A schema in pandera's own YAML is read like a contract file."""
    path = tmp_path / "schema.yaml"  # type: ignore[operator]
    path.write_text(pa.DataFrameSchema({"id": pa.Column("int64", pa.Check.ge(2))}, name="old").to_yaml())
    found = {finding.rule for finding in validate(FRAME[["id"]], path, "warn").findings}
    assert found == {"id.greater_than_or_equal_to"}


REFUSED = {
    "a lambda": pa.DataFrameSchema({"a": pa.Column(int, pa.Check(lambda s: s > 0))}),
    "coercion": pa.DataFrameSchema({"a": pa.Column(int, coerce=True)}),
    "coercion of all": pa.DataFrameSchema({"a": pa.Column(int)}, coerce=True),
    "a default": pa.DataFrameSchema({"a": pa.Column(int, default=1)}),
    "a pattern for names": pa.DataFrameSchema({"a.*": pa.Column(int, regex=True)}),
    "an index": pa.DataFrameSchema({"a": pa.Column(int)}, index=pa.Index(int)),
    "order": pa.DataFrameSchema({"a": pa.Column(int)}, ordered=True),
    "filter": pa.DataFrameSchema({"a": pa.Column(int)}, strict="filter"),
    "parsers": pa.DataFrameSchema({"a": pa.Column(int)}, parsers=pa.Parser(lambda df: df)),
    "dropping": pa.DataFrameSchema({"a": pa.Column(int)}, drop_invalid_rows=True),
    "a type for all": pa.DataFrameSchema({"a": pa.Column()}, dtype=int),
    "rich metadata": pa.DataFrameSchema({"a": pa.Column(int, metadata={"x": object()})}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_cant_say_is_refused(name: str) -> None:
    """What a contract file can't say without loss is refused by name, never dropped."""
    with pytest.raises(ConfigError) as caught:
        Contract.from_pandera(REFUSED[name])
    assert caught.value.code == "contract.not-portable"
    assert caught.value.fix


def test_compiled_schemas_never_coerce(tickets_contract: Contract) -> None:
    """The pandera schema of a contract coerces nowhere."""
    schema = tickets_contract.to_pandera()
    assert not schema.coerce
    assert not any(column.coerce for column in schema.columns.values())
