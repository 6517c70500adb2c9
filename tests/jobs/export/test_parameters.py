"""The typed interface: read from text, published as JSON Schema, enforced before a run."""

from __future__ import annotations

import ast
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, strategies as st

from prodkit.errors import ConfigError, ParameterError
from prodkit.jobs.parameters import (
    Parameter,
    as_code,
    as_json,
    check_parameters,
    from_schema,
    read_parameters,
    to_schema,
)

EVERYTHING = '''\
# What the job takes
"""A text may stand here."""
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Optional
import datetime as dt


class Priority(StrEnum):
    LOW = "low"
    HIGH = "high"


batch: str = "2026-11"  # month to sort
limit: int = 60 * 3
share: float = 1 / 4
flag = False
# the day to begin with
day: date = date(2026, 1, 2)
moment: dt.datetime = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.timezone.utc)
place: Path = Path("data") / "tickets"
price: Decimal = Decimal("0.50")
numbers: list[int] | None = None
pairs: list[tuple[str, int]] = [("a", 1)]
options: dict = dict(k=1)
weights: dict[str, float] = {"a": 0.5}
mode: Literal["fast", "slow"] = "fast"
priority: Priority = Priority.HIGH
either: int | str = "x"
names: set[str] = {"b", "a"}
point: tuple[int, int] = (1, -2)
maybe: Optional[str] = None
anything: Any = None
days: list[date] = [date(2026, 1, 2)]
needed: float
also_needed: str = ...
'''


def schema_of(source: str) -> dict:
    return to_schema(read_parameters(source), title="sample")


def refused(source: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_parameters(source, where="n.ipynb, cell 1")
    return caught.value


def test_everything_is_read():
    """Annotations, defaults, comments, choices and what is required are read from the text alone."""
    found = {parameter.name: parameter for parameter in read_parameters(EVERYTHING)}
    assert found["batch"] == Parameter("batch", "str", "2026-11", "month to sort")
    assert found["limit"].default == 180
    assert found["share"].default == 0.25
    assert found["flag"].annotation == "bool"
    assert found["day"] == Parameter("day", "date", "2026-01-02", "the day to begin with")
    assert found["moment"].default == "2026-01-02T03:04:00+00:00"
    assert found["place"].default == "data/tickets"
    assert found["price"].default == "0.50"
    assert found["numbers"] == Parameter("numbers", "list[int] | None", None)
    assert found["options"].default == {"k": 1}
    assert found["mode"].choices == ("fast", "slow")
    assert (found["priority"].choices, found["priority"].default) == (("LOW", "HIGH"), "HIGH")
    assert found["names"].default == ["a", "b"]
    assert found["point"].default == [1, -2]
    assert [name for name, parameter in found.items() if parameter.required] == ["needed", "also_needed"]
    assert len(found) == 22


def test_schema_gives_the_same_parameters_back():
    """What is published as JSON Schema reads back as the same parameters."""
    parameters = read_parameters(EVERYTHING)
    schema = json.loads(json.dumps(to_schema(parameters, title="sample")))
    assert from_schema(schema) == parameters


def test_schema_is_valid_and_takes_what_the_check_gives():
    """The schema is valid JSON Schema, and the checked values as JSON fit it."""
    schema = schema_of(EVERYTHING)
    jsonschema.Draft202012Validator.check_schema(schema)
    values = check_parameters(schema, {"needed": "1.5", "also_needed": "x"})
    jsonschema.Draft202012Validator(schema).validate(as_json(schema, values))


def test_code_sets_the_same_values():
    """The injected lines set exactly the checked values, without an import of their own."""
    schema = schema_of(EVERYTHING)
    values = check_parameters(schema, {"needed": "1.5", "also_needed": 'it\'s "quoted"\n', "priority": "LOW"})
    names: dict = {}
    exec(EVERYTHING.partition("batch:")[0], names)  # noqa: S102  that the code runs is what is tested
    exec(as_code(schema, values), names)  # noqa: S102  that the code runs is what is tested
    priority = names.pop("Priority")
    assert names["priority"] is priority.LOW
    assert {name: names[name] for name in values if name != "priority"} == {
        name: value for name, value in values.items() if name != "priority"
    }


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("str", "01234", "01234"),
        ("str", "", ""),
        ("int", "-7", -7),
        ("float", "3", 3.0),
        ("float", "1e-3", 0.001),
        ("bool", "False", False),
        ("bool", "true", True),
        ("date", "2026-02-03", date(2026, 2, 3)),
        ("datetime", "2026-02-03T04:05:06+00:00", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("Path", "a/b", Path("a/b")),
        ("Decimal", "0.10", Decimal("0.10")),
        ("list[int]", "[1, 2]", [1, 2]),
        ("list[date]", '["2026-01-02"]', [date(2026, 1, 2)]),
        ("tuple[int, str]", '[1, "a"]', (1, "a")),
        ("dict[str, int]", '{"a": 1}', {"a": 1}),
        ("set[str]", '["a"]', {"a"}),
        ("int | None", "null", None),
        ("int | None", "5", 5),
        ("int | str", "5", 5),
        ("int | str", "five", "five"),
        ("Literal[1, 2]", "2", 2),
        ("Literal['a', 'b']", "b", "b"),
        ("Any", '{"a": [1]}', {"a": [1]}),
        ("Any", "plain", "plain"),
    ],
)
def test_text_is_parsed_by_type(annotation: str, text: str, value: object):
    """A `-p` line's text becomes the value that its type says."""
    assert check_parameters(schema_of(f"x: {annotation}"), {"x": text}) == {"x": value}
    assert type(check_parameters(schema_of(f"x: {annotation}"), {"x": text})["x"]) is type(value)


@pytest.mark.parametrize(
    ("annotation", "given_"),
    [
        ("int", "01234"),
        ("int", "1_000"),
        ("int", "1.0"),
        ("int", "1٢"),
        ("int", ""),
        ("int", " 1"),
        ("int", True),
        ("int", 1.5),
        ("float", "nan"),
        ("float", "inf"),
        ("float", float("nan")),
        ("float", "1,5"),
        ("bool", "1"),
        ("bool", "yes"),
        ("bool", 0),
        ("str", 5),
        ("str", None),
        ("date", "2026-2-3"),
        ("date", "2026-02-30"),
        ("date", datetime(2026, 1, 2, tzinfo=UTC)),
        ("datetime", "yesterday"),
        ("Decimal", "NaN"),
        ("Decimal", "ten"),
        ("Path", ""),
        ("Path", "a\0b"),
        ("list[int]", "1, 2"),
        ("list[int]", '["a"]'),
        ("list[int]", "{}"),
        ("tuple[int, int]", "[1]"),
        ("dict[str, int]", "[1]"),
        ("Literal['a', 'b']", "c"),
        ("Literal[1, 2]", True),
        ("int | None", "Nichts"),
    ],
)
def test_what_is_not_sure_is_refused(annotation: str, given_: object):
    """A value that isn't certainly of its type is refused, and the error holds no value."""
    with pytest.raises(ParameterError, match="`x` has the wrong type") as caught:
        check_parameters(schema_of(f"x: {annotation}"), {"x": given_})
    assert caught.value.code == "parameters.type"
    assert caught.value.exit_code == 65
    if isinstance(given_, str) and len(given_) > 2:
        assert given_ not in str(caught.value)


def test_all_findings_come_at_once():
    """Unknown, missing and wrongly typed parameters are said together, the unknown one with its nearest name."""
    schema = schema_of("batch: str\nlimit: int = 1\nday: date = date(2026, 1, 2)")
    with pytest.raises(ParameterError) as caught:
        check_parameters(schema, {"bach": "x", "limit": "many", "day": "soon"})
    text = str(caught.value)
    assert caught.value.code == "parameters.invalid"
    assert "4 parameters are wrong" in text
    assert "did you mean `batch`?" in text
    assert "`batch` is missing" in text
    assert "a day, e.g. 2026-11-01" in text
    assert "soon" not in text


def test_numbers_of_numpy_are_numbers():
    """A scalar of numpy's counts as the plain value that it stands for."""
    schema = schema_of("limit: int\nshare: float")
    values = check_parameters(schema, {"limit": np.int64(5), "share": np.float32(0.5)})
    assert [type(value) for value in values.values()] == [int, float]


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("x: int = os.environ['X']", "parameters.default", "computed"),
        ("x = f'{y}'", "parameters.default", "computed"),
        ("x: int = 'a'", "parameters.default", "isn't of its type"),
        ("x = 2 ** 100000", "parameters.default", "computed"),
        ("x: bytes = b'a'", "parameters.default", "computed"),
        ("x: DataFrame", "parameters.type", "can't be given from outside"),
        ("x: OpenAI = None", "parameters.type", "can't be given from outside"),
        ("x = None", "parameters.type", "has no type"),
        ("x, y = 1, 2", "parameters.statement", "sets no single parameter"),
        ("x = 1\nx += 1", "parameters.statement", "sets no single parameter"),
        ("print('hi')", "parameters.statement", "sets no single parameter"),
        ("x = 1\nx = 2", "parameters.duplicate", "set twice"),
        ("x = (", "parameters.syntax", "isn't Python"),
        ("%matplotlib inline\nx = 1", "parameters.syntax", "isn't Python"),
        ("x: dict[int, str] = {}", "parameters.type", "can't be given from outside"),
    ],
)
def test_a_cell_that_gives_no_interface_is_refused(source: str, code: str, says: str):
    """What can't be read without running it is refused, with the line and what to write instead."""
    error = refused(source)
    assert error.code == code
    assert says in error.what
    assert "n.ipynb, cell 1, line" in error.where


def test_a_schema_by_others_is_read():
    """A schema that somebody wrote from plain JSON types is enforced too."""
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "default": 1},
            "day": {"type": "string", "format": "date"},
            "mode": {"enum": ["a", "b"], "default": "a"},
            "note": {"type": ["string", "null"], "default": None},
        },
        "required": ["day"],
    }
    assert check_parameters(schema, {"day": "2026-01-02"}) == {
        "n": 1, "day": date(2026, 1, 2), "mode": "a", "note": None,
    }  # fmt: skip


def test_a_schema_with_an_unknown_type_is_refused():
    """A schema that names a type which can't be given is a configuration error."""
    with pytest.raises(ConfigError, match=r"parameters\.type"):
        check_parameters({"properties": {"x": {"x-python": "DataFrame"}}}, {"x": "1"})


@given(
    st.one_of(
        st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False), st.lists(st.text(max_size=9), max_size=3)
    )
)
def test_any_value_survives_the_way_into_the_notebook(value: object):
    """Whatever an `Any` parameter takes, the injected line sets the same value again."""
    if isinstance(value, float) and value in {float("inf"), float("-inf")}:
        value = 0.5  # JSON has no infinity; it is refused, as tested above
    schema = schema_of("a: Any = 1")
    names: dict = {}
    exec(as_code(schema, check_parameters(schema, {"a": value})), names)  # noqa: S102  that the code runs is what is tested
    assert names["a"] == value


KINDS = (
    "str", "int", "float", "bool", "date", "datetime", "Path", "Decimal", "list[int]", "list[date] | None", "set[str]",
    "tuple[int, str]", "dict[str, float]", "int | str", "Literal['a', 1]", "Any", "list[Decimal]",
)  # fmt: skip


@given(
    st.sampled_from(KINDS),
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            ["[" * 50_000, "9" * 5000, "1e999", "1e99999999999", "NaN", "[NaN]", "0x1F", "١٢", "null", "\ud800"]
        ),
        st.floats(),
        st.binary(max_size=5),
        st.dictionaries(st.integers(), st.none(), max_size=2),
    ),
)
def test_nothing_given_breaks_the_check(annotation: str, value: object):
    """Whatever is given ends as a value that JSON and the injected line can hold, or as a `ParameterError`."""
    schema = schema_of(f"x: {annotation}")
    try:
        values = check_parameters(schema, {"x": value})
    except ParameterError:
        return
    json.dumps(as_json(schema, values), allow_nan=False)
    ast.parse(as_code(schema, values).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
