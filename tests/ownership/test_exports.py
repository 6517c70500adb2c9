"""What other systems get: each file fits that system's own schema, offline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from prodkit.errors import ConfigError
from prodkit.manifest import Manifest, find_project, parse
from prodkit.ownership import matrix, resolve, routes, write_format

BACKSTAGE = Path(__file__).parent / "backstage"


@pytest.fixture(params=["right", "demo"])
def manifest(request: pytest.FixtureRequest, right: str, repository: Path) -> Manifest:
    """The tests' own manifest, and the example project's."""
    return parse(right) if request.param == "right" else find_project(repository).manifest


def test_backstage_fits_its_schema(manifest: Manifest):
    """catalog-info.yaml is a Component by Backstage's own schema, and its names follow Backstage's rules."""
    content = yaml.safe_load(write_format(manifest, "backstage"))
    schemas = [json.loads(file.read_text()) for file in BACKSTAGE.glob("*.json")]
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents({**schema, "$schema": "http://json-schema.org/draft-07/schema#"}))
        for schema in schemas
    )
    component = next(schema for schema in schemas if schema["$id"] == "ComponentV1alpha1")
    jsonschema.Draft7Validator(component, registry=registry).validate(content)
    name = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
    assert re.fullmatch(name, content["metadata"]["name"])
    assert re.fullmatch(rf"user:default/{name}", content["spec"]["owner"])
    assert all(re.fullmatch(rf"{name}/{name}", key) for key in content["metadata"]["annotations"])
    assert all(re.fullmatch(r"[a-z0-9:+#]+(-[a-z0-9:+#]+)*", tag) for tag in content["metadata"]["tags"])


def test_datadog_fits_its_model(manifest: Manifest):
    """entity.datadog.yaml is a v3 service by the model of Datadog's own client."""
    pytest.importorskip("datadog_api_client", reason="pip install datadog-api-client")
    from datadog_api_client.exceptions import ApiTypeError
    from datadog_api_client.model_utils import validate_and_convert_types
    from datadog_api_client.v2.model.entity_v3_service import EntityV3Service

    content = yaml.safe_load(write_format(manifest, "datadog"))
    entity = validate_and_convert_types(content, (EntityV3Service,), ["entity"], True, True, None)
    assert entity.metadata.name == manifest.service.name
    assert not entity._unparsed
    content["spec"]["lifecycle"] = 5
    with pytest.raises(ApiTypeError):
        validate_and_convert_types(content, (EntityV3Service,), ["entity"], True, True, None)


def test_cyclonedx_fits_its_schema(manifest: Manifest):
    """The ML-BOM is valid CycloneDX 1.6 by the official schema, strictly, with a card for each model."""
    pytest.importorskip("cyclonedx", reason="pip install 'cyclonedx-python-lib[json-validation]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = write_format(manifest, "cyclonedx")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert (
        validator.validate_str(text.replace('"machine-learning-model"', '"model"').replace('"application"', '"app"'))
        is not None
    )
    kinds = [component["type"] for component in json.loads(text)["components"]]
    assert kinds.count("machine-learning-model") == len(manifest.models)
    assert kinds.count("data") == len(manifest.data_sources)


def test_codeowners_names_people_for_places(manifest: Manifest):
    """Each line of CODEOWNERS is a pattern and e-mail addresses of people in the directory."""
    known = {person.email for person in manifest.owners.people.values()}
    lines = [line.split() for line in write_format(manifest, "codeowners").splitlines() if not line.startswith("#")]
    assert lines[0][0] == "*"
    for pattern, *people in lines:
        assert re.fullmatch(r"\*|/[\w./-]+", pattern)
        assert people
        assert set(people) <= known


@pytest.mark.parametrize("name", ["backstage", "datadog", "codeowners", "cyclonedx"])
def test_bytes_are_the_same_each_time(right: str, name: str):
    """The same manifest gives the same bytes."""
    assert write_format(parse(right), name) == write_format(parse(right), name)


def test_an_unknown_format_is_refused(right: str):
    """A format that isn't there is refused with the nearest name."""
    with pytest.raises(ConfigError, match="did you mean `backstage`"):
        write_format(parse(right), "backstag")


def test_an_alert_reaches_one_address(right: str):
    """Who is paged when latency spikes is one address, through the activity's accountable person."""
    (route,) = routes(parse(right))
    assert route.contact is not None
    assert route.contact.address == "https://pager.northwind.test/ben"


def test_a_team_stands_for_its_lead(right: str):
    """An activity that a team is accountable for reaches the team's lead."""
    assert resolve(parse(right), "data_pipeline_change").id == "ana"


def test_nobody_is_an_error(right: str):
    """Asking for an activity that nobody owns is an error that says the nearest activity."""
    with pytest.raises(ConfigError, match=r"owners\.unresolved.*\n.*\n.*did you mean `uptime`"):
        resolve(parse(right), "uptme")


def test_the_matrix_has_every_activity_once(right: str):
    """The matrix shows the known activities in their order, then the manifest's own."""
    text = right.replace("    uptime:", "    own_thing: {R: [ana], A: ana}\n    uptime:")
    names = [row.activity for row in matrix(parse(text))]
    assert names[0] == "model_performance"
    assert names[-1] == "own_thing"
    assert len(names) == 12
