"""From the standard's model to flat rules. Whatever can't be understood is refused with its line, never skipped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prodkit.contracts.bounds import bound_of, order_of
from prodkit.contracts.formats import FORMATS
from prodkit.contracts.rules import LOGICAL_TYPES, METRICS, OPERATORS, OPTIONS, Column, Rule, Severity, Tolerance
from prodkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from open_data_contract_standard.model import DataQuality, SchemaObject, SchemaProperty

    from prodkit.manifest.loading import Document, Location

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_PLAIN = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_METRIC_KINDS = {"nullValues": "required", "missingValues": "missing", "duplicateValues": "unique"}


class Reader:
    """Reads one table of a contract; holds the document, so that errors can name lines."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def columns(self, table: SchemaObject, at: Location) -> tuple[Column, ...]:
        """The table's columns.

        Raises:
            ConfigError: `contract.*`, with line and fix.
        """
        properties = table.properties or []
        if not properties:
            raise self._error(
                "contract.missing-key",
                "The table has no `properties`.",
                (*at, "properties"),
                "list its columns under `properties:`",
            )
        return self._fields(properties, (*at, "properties"), "")

    def table_rules(self, table: SchemaObject, at: Location) -> tuple[Rule, ...]:
        """Rules over rows and the whole frame: composite keys, row counts, pandera's own."""
        rules: list[Rule] = []
        keys = sorted(
            (prop for prop in table.properties or [] if prop.primaryKey), key=lambda prop: prop.primaryKeyPosition or 0
        )
        if len(keys) > 1:
            names = tuple(prop.name or "" for prop in keys)
            rules.append(Rule("", "uniqueTogether", columns=names, name="primaryKey"))
        for position, quality in enumerate(table.quality or []):
            rules += self._quality(quality, "", "", (*at, "quality", position))
        return tuple(rules)

    def _fields(self, properties: list[SchemaProperty], at: Location, prefix: str) -> tuple[Column, ...]:
        keys = [prop for prop in properties if prop.primaryKey]
        columns: list[Column] = []
        for position, prop in enumerate(properties):
            here = (*at, position)
            if not prop.name:
                raise self._error("contract.missing-key", "A column has no `name`.", here, "add `name:`")
            if any(other.name == prop.name for other in columns):
                raise self._error(
                    "contract.contradiction",
                    f"The column `{prop.name}` is described twice.",
                    here,
                    "keep one of the two",
                )
            columns.append(self._column(prop, here, prefix, alone=len(keys) == 1))
        return tuple(columns)

    def _column(self, prop: SchemaProperty, at: Location, prefix: str, *, alone: bool) -> Column:
        kind = prop.logicalType or ""
        if kind and kind not in LOGICAL_TYPES:
            raise self._error(
                "contract.unknown-type",
                f"`{kind}` is no logical type.",
                (*at, "logicalType"),
                nearest(kind, LOGICAL_TYPES),
            )
        path = f"{prefix}{prop.name}"
        required = bool(prop.required or prop.primaryKey)
        rules: list[Rule] = []
        if kind:
            rules.append(Rule(path, "type", kind))
        if required:
            rules.append(Rule(path, "required"))
        if prop.unique or (prop.primaryKey and alone):
            rules.append(Rule(path, "unique"))
        rules += self._options(prop, path, at)
        if prop.enum:
            rules.append(Rule(path, "enum", tuple(entry.value for entry in prop.enum)))
        for position, quality in enumerate(prop.quality or []):
            rules += self._quality(quality, path, kind, (*at, "quality", position))
        fields = self._nested(prop, path, at)
        rules += [rule for inner in fields for rule in inner.rules]
        self._refuse_contradictions(rules, path, at)
        classification = (prop.classification or "").lower()
        return Column(
            name=prop.name or "",
            logical_type=kind,
            required=required,
            rules=tuple(rules),
            public=classification == "public" and not _is_pii(prop),
            classification=classification,
            pii=_is_pii(prop),
            physical_name=prop.physicalName or "",
            optional=bool(_custom_property(prop, "optional")),
            evidence=_evidence(prop),
            fields=fields,
        )

    def _nested(self, prop: SchemaProperty, path: str, at: Location) -> tuple[Column, ...]:
        fields: tuple[Column, ...] = ()
        if prop.properties:
            fields += self._fields(prop.properties, (*at, "properties"), f"{path}.")
        if prop.items is not None:
            items = prop.items.model_copy(update={"name": "[]", "physicalName": None})
            fields += (self._column(items, (*at, "items"), path, alone=False),)
        return fields

    def _options(self, prop: SchemaProperty, path: str, at: Location) -> list[Rule]:
        options, kind = prop.logicalTypeOptions or {}, prop.logicalType or ""
        at = (*at, "logicalTypeOptions")
        self._refuse_options(options, kind, at)
        rules = [self._bound(kind, key, options, path, at) for key in _BOUNDS if key in options]
        rules += [self._count(key, options[key], path, (*at, key)) for key in _PLAIN if key in options]
        if "pattern" in options:
            rules.append(self._pattern(options["pattern"], path, (*at, "pattern")))
        if "multipleOf" in options:
            rules.append(Rule(path, "multipleOf", bound_of("number", options["multipleOf"])))
        rules += _flags(options, kind, path)
        return rules

    def _refuse_options(self, options: dict[str, Any], kind: str, at: Location) -> None:
        for key in options:
            if key not in OPTIONS:
                raise self._error("contract.unknown-rule", f"`{key}` is no rule.", (*at, key), nearest(key, OPTIONS))
            if kind not in OPTIONS[key]:
                raise self._error(
                    "contract.contradiction",
                    f"The rule `{key}` doesn't fit the type `{kind or 'none'}`.",
                    (*at, key),
                    f"it is for: {', '.join(OPTIONS[key])}",
                )

    def _bound(self, kind: str, key: str, options: dict[str, Any], path: str, at: Location) -> Rule:
        try:
            return Rule(path, key, bound_of(kind, options[key]))
        except (ValueError, ArithmeticError, TypeError):
            fix = "write a number" if kind in ("integer", "number") else "write it as text, like '2024-01-31'"
            raise self._error("contract.invalid", f"`{key}` is no {kind}.", (*at, key), fix) from None

    def _count(self, key: str, value: object, path: str, at: Location) -> Rule:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error("contract.invalid", f"`{key}` is no count.", at, "write a whole number, 0 or more")
        return Rule(path, key, value)

    def _pattern(self, value: object, path: str, at: Location) -> Rule:
        try:
            re.compile(str(value))
        except re.error as error:
            raise self._error(
                "contract.invalid",
                f"`pattern` is no regular expression: {error}.",
                at,
                "correct it; single quotes keep backslashes",
            ) from None
        return Rule(path, "pattern", str(value))

    def _quality(self, quality: DataQuality, path: str, kind: str, at: Location) -> list[Rule]:
        sort = quality.type or "library"
        name = quality.id or quality.name or ""
        severity: Severity = "warning" if (quality.severity or "error").lower() in ("warning", "info") else "error"
        common: dict[str, Any] = {"name": name, "severity": severity, "description": quality.description or ""}
        if sort == "text":
            return [Rule(path, "unchecked", "text", **common)]
        if sort == "custom":
            return [self._custom(quality, path, common, at)]
        if sort == "sql":
            if not quality.query:
                raise self._error("contract.missing-key", "The rule has no query.", at, "add `query: SELECT ...`")
            return [Rule(path, "sql", quality.query, tolerance=self._tolerance(quality, at), **common)]
        if sort != "library":
            kinds = ("library", "custom", "sql", "text")
            raise self._error(
                "contract.unknown-rule", f"`{sort}` is no type of rule.", (*at, "type"), nearest(sort, kinds)
            )
        return [self._metric(quality, path, kind, common, at)]

    def _metric(self, quality: DataQuality, path: str, kind: str, common: dict[str, Any], at: Location) -> Rule:
        metric = quality.metric or quality.rule or ""
        if metric not in METRICS:
            raise self._error(
                "contract.unknown-rule", f"`{metric}` is no metric.", (*at, "metric"), nearest(metric, METRICS)
            )
        tolerance, arguments = self._tolerance(quality, at), quality.arguments or {}
        if metric == "rowCount":
            return Rule("", "rowCount", tolerance, **common)
        if tolerance == Tolerance("mustBe", 0) or (tolerance.operator == "mustBe" and tolerance.value == 0):
            common["tolerance"] = None
        else:
            common["tolerance"] = tolerance
        if not path:
            return self._together(metric, arguments, common, at)
        if metric == "invalidValues":
            return self._invalid(arguments, path, kind, common, at)
        argument = tuple(arguments.get("missingValues", (None, ""))) if metric == "missingValues" else None
        return Rule(path, _METRIC_KINDS[metric], argument, **common)

    def _together(self, metric: str, arguments: dict[str, Any], common: dict[str, Any], at: Location) -> Rule:
        names = tuple(arguments.get("properties", ()))
        if metric != "duplicateValues" or not names:
            raise self._error(
                "contract.unknown-rule",
                f"`{metric}` doesn't stand at a table.",
                (*at, "metric"),
                "put it under a column; a table takes `rowCount`, or `duplicateValues` with `properties`",
            )
        return Rule("", "uniqueTogether", columns=names, **common)

    def _invalid(self, arguments: dict[str, Any], path: str, kind: str, common: dict[str, Any], at: Location) -> Rule:
        values, pattern = arguments.get("validValues"), arguments.get("pattern")
        if isinstance(values, list) and values and pattern is None:
            return Rule(path, "enum", tuple(bound_of(kind, value, lenient=True) for value in values), **common)
        if pattern is not None and values is None:
            rule = self._pattern(pattern, path, (*at, "arguments", "pattern"))
            return Rule(path, "pattern", rule.argument, **common)
        raise self._error(
            "contract.missing-key",
            "`invalidValues` says neither what is valid nor how it looks.",
            (*at, "arguments"),
            "add `arguments: {validValues: [...]}` or `arguments: {pattern: ...}`",
        )

    def _tolerance(self, quality: DataQuality, at: Location) -> Tolerance:
        said = [name for name in OPERATORS if getattr(quality, name) is not None]
        if len(said) != 1:
            raise self._error(
                "contract.contradiction" if said else "contract.missing-key",
                "The rule has more than one comparison." if said else "The rule doesn't say what the figure must be.",
                at,
                "write one of: " + ", ".join(OPERATORS),
            )
        value = getattr(quality, said[0])
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
            raise self._error("contract.invalid", f"`{said[0]}` is no number.", (*at, said[0]), "write a number")
        return Tolerance(said[0], value, percent=(quality.unit or "").lower() in ("percent", "%"))

    def _custom(self, quality: DataQuality, path: str, common: dict[str, Any], at: Location) -> Rule:
        engine = (quality.engine or "").lower()
        if engine != "pandera":
            return Rule(path, "unchecked", engine or "custom", **common)
        from prodkit.contracts.custom import known_checks, read_implementation

        try:
            check = read_implementation(quality.implementation)
        except ValueError as error:
            raise self._error(
                "contract.invalid",
                f"The implementation can't be read: {error}.",
                (*at, "implementation"),
                "write `implementation: {check: NAME, ...its arguments}`",
            ) from None
        names = known_checks()
        if check["check"] not in names:
            raise self._error(
                "contract.unknown-rule",
                f"pandera has no check `{check['check']}`.",
                (*at, "implementation"),
                nearest(check["check"], names) + "; own checks must be registered with pandera before",
            )
        common["name"] = common["name"] or check["check"]
        return Rule(path, "pandera", check, **common)

    def _refuse_contradictions(self, rules: list[Rule], path: str, at: Location) -> None:
        own = {rule.kind: rule.argument for rule in rules if rule.column == path}
        for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")):
            if low in own and high in own and own[low] > own[high]:
                raise self._contradiction(path, low, high, at)
        for low in ("minimum", "exclusiveMinimum"):
            for high in ("maximum", "exclusiveMaximum"):
                if low in own and high in own and order_of(own[low]) > order_of(own[high]):
                    raise self._contradiction(path, low, high, at)
        if own.get("type") in ("integer", "number") and any(isinstance(value, str) for value in own.get("enum", ())):
            raise self._contradiction(path, "logicalType", "enum", at)

    def _contradiction(self, path: str, one: str, other: str, at: Location) -> ConfigError:
        return self._error(
            "contract.contradiction",
            f"`{one}` and `{other}` of `{path}` leave no value that is valid.",
            at,
            "correct one of them",
        )

    def _error(self, code: str, what: str, at: Location, fix: str) -> ConfigError:
        return ConfigError(code, what, where=self.document.where(at), fix=fix)


def _flags(options: dict[str, Any], kind: str, path: str) -> list[Rule]:
    """Options that say yes or no, or name something."""
    rules = []
    if options.get("format") in FORMATS and kind == "string":
        rules.append(Rule(path, "format", options["format"]))
    if options.get("format") and kind == "integer":
        rules.append(Rule(path, "width", options["format"]))
    if "timezone" in options:
        rules.append(Rule(path, "timezone", bool(options["timezone"])))
    if options.get("uniqueItems"):
        rules.append(Rule(path, "uniqueItems"))
    return rules + [Rule(f"{path}.{name}", "required") for name in options.get("required", [])]


def _custom_property(prop: SchemaProperty, name: str) -> Any:
    return next((entry.value for entry in prop.customProperties or [] if entry.property == name), None)


def _evidence(prop: SchemaProperty) -> tuple[tuple[str, str], ...]:
    said = _custom_property(prop, "evidence")
    return tuple((str(rule), str(why)) for rule, why in said.items()) if isinstance(said, dict) else ()


def _is_pii(prop: SchemaProperty) -> bool:
    """PII is said by a tag `pii`, or by a custom property `pii` or `piiCategory`; the classification may say it too."""
    tags = {tag.lower() for tag in prop.tags or []}
    custom = {(entry.property or "").lower(): entry.value for entry in prop.customProperties or []}
    said = custom.get("pii", custom.get("piicategory", False))
    named = (prop.classification or "").lower() in ("pii", "personal", "sensitive")
    return "pii" in tags or (bool(said) and str(said).lower() not in ("false", "none", "no")) or named
