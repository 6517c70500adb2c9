"""Rules that only pandera can say: `quality: type: custom, engine: pandera`.

The implementation is a mapping `{check: NAME, ...arguments}`: a check that pandera ships, one that the user has
registered with `pandera.extensions.register_check_method`, or one of ours: `compare_columns` (left, operator, right)
and `dtype` (dtype, library), which holds a column to the exact type that a library gives it.
Code is never read from a contract.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPARE = "compare_columns"
DTYPE = "dtype"


def read_implementation(implementation: object) -> dict[str, Any]:
    """The check and its arguments.

    Raises:
        ValueError: it isn't a mapping with a text `check`, or its arguments are wrong.
    """
    if isinstance(implementation, str):
        implementation = yaml.safe_load(implementation)
    if not isinstance(implementation, dict) or not isinstance(implementation.get("check"), str):
        raise ValueError("it names no check")  # noqa: TRY004
    if implementation["check"] == COMPARE:
        missing = [key for key in ("left", "operator", "right") if key not in implementation]
        if missing:
            raise ValueError(f"{COMPARE} needs `{missing[0]}`")
        if implementation["operator"] not in COMPARISONS:
            raise ValueError("the operator is none of " + " ".join(COMPARISONS))
    if implementation["check"] == DTYPE and not isinstance(implementation.get("dtype"), str):
        raise ValueError("dtype needs `dtype`")
    return dict(implementation)


def known_checks() -> list[str]:
    """Names that an implementation may use."""
    import pandera.pandas  # noqa: F401  (registers the checks' implementations)
    from pandera.api.checks import Check

    return sorted({*Check.CHECK_FUNCTION_REGISTRY, *Check.REGISTERED_CUSTOM_CHECKS, COMPARE, DTYPE})


def build_check(implementation: Mapping[str, Any], name: str) -> Any:
    """The pandera check, called `name` in its reports."""
    from pandera.api.checks import Check

    arguments = {key: value for key, value in implementation.items() if key != "check"}
    if implementation["check"] == COMPARE:
        return Check(_comparison(arguments), name=name, error=name)
    return getattr(Check, implementation["check"])(**arguments, name=name, error=name)


def _comparison(arguments: Mapping[str, Any]) -> Callable[[Any], Any]:
    left, right, compare = arguments["left"], arguments["right"], COMPARISONS[arguments["operator"]]

    def compare_columns(frame: Any) -> Any:
        """Rows where either side is missing pass."""
        one, other = frame[left], frame[right]
        return compare(one, other) | one.isna() | other.isna()

    return compare_columns
