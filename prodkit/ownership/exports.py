"""The same ownership for the systems that a company has already: Backstage, Datadog, CODEOWNERS, CycloneDX."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.errors import ConfigError, nearest
from prodkit.ownership.roles import ACTIVITIES, Contact, contact_of, matrix, people_of, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest.model import DataSourceSpec, Manifest, ModelSpec, Owners

_HEAD = "# Written by `prodkit owners --format {}` from prodkit.yaml; change it there.\n"
_PLACES = (
    ("/prodkit.yaml", "security_review"),
    ("/contracts/", "data_pipeline_change"),
    ("/notebooks/", "prompt_change"),
    ("/jobs/", "uptime"),
)


def write_format(manifest: Manifest, name: str) -> str:
    """The ownership as a file of another system.

    Args:
        manifest: a manifest whose ownership holds.
        name: a key of `FORMATS`.

    Raises:
        ConfigError: `owners.format` for an unknown name, `owners.unresolved` when nobody can be reached.
    """
    if name not in FORMATS:
        raise ConfigError("owners.format", f"There is no format `{name}`.", fix=nearest(name, FORMATS))
    return FORMATS[name](manifest)


def to_backstage(manifest: Manifest) -> str:
    """`catalog-info.yaml`: one Component of kind `backstage.io/v1alpha1`."""
    service, on_call = manifest.service, resolve(manifest, "uptime")
    metadata: dict[str, Any] = {"name": service.name}
    if service.purpose:
        metadata["description"] = service.purpose
    metadata["annotations"] = {
        f"prodkit/{activity}".replace("_", "-"): resolve(manifest, activity).email
        for activity in (row.activity for row in matrix(manifest))
        if activity in ACTIVITIES
    }
    metadata["tags"] = [f"tier-{service.tier}", f"risk-{service.risk_class}"]
    links = [{"url": on_call.pager, "title": "Pager"}] if "://" in on_call.pager else []
    links += [{"url": manifest.runbook, "title": "Runbook"}] if "://" in manifest.runbook else []
    if links:
        metadata["links"] = links
    content = {
        "apiVersion": "backstage.io/v1alpha1",
        "kind": "Component",
        "metadata": metadata,
        "spec": {"type": "job", "lifecycle": service.lifecycle, "owner": f"user:default/{on_call.id}"},
    }
    return _HEAD.format("backstage") + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def to_datadog(manifest: Manifest) -> str:
    """`entity.datadog.yaml`: one service in schema v3."""
    service, on_call = manifest.service, resolve(manifest, "uptime")
    metadata: dict[str, Any] = {"name": service.name, "displayName": service.name, "owner": _team(manifest, on_call)}
    if service.purpose:
        metadata["description"] = service.purpose
    metadata["tags"] = [f"risk_class:{service.risk_class}"]
    metadata["contacts"] = [contact for person in _everybody(manifest) for contact in _contacts(person)]
    links = [("Pager", "other", on_call.pager), ("Runbook", "runbook", manifest.runbook)]
    metadata["links"] = [{"name": name, "type": kind, "url": url} for name, kind, url in links if "://" in url]
    content = {
        "apiVersion": "v3",
        "kind": "service",
        "metadata": {key: value for key, value in metadata.items() if value},
        "spec": {"lifecycle": service.lifecycle, "tier": service.tier, "type": "job", "languages": ["python"]},
    }
    return _HEAD.format("datadog") + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def to_codeowners(manifest: Manifest) -> str:
    """`CODEOWNERS`: who must approve a change of which folder, by e-mail address."""
    lines = [_HEAD.format("codeowners").rstrip()]
    everything = _approvers(manifest, "incident")
    lines.append(f"* {' '.join(everything)}")
    width = max(len(place) for place, _ in _PLACES)
    lines += [f"{place:{width}} {' '.join(_approvers(manifest, activity))}" for place, activity in _PLACES]
    return "\n".join(lines) + "\n"


def to_cyclonedx(manifest: Manifest) -> str:
    """A CycloneDX 1.6 ML-BOM: the service, its models with a model card each, its data sources with their owners."""
    service, responsible = manifest.service, resolve(manifest, "model_performance")
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": service.name,
                "name": service.name,
                **({"description": service.purpose} if service.purpose else {}),
            },
            "authors": [{"name": responsible.name, "email": responsible.email}],
            "properties": [
                {"name": "prodkit:tier", "value": service.tier},
                {"name": "prodkit:risk_class", "value": service.risk_class},
                {"name": "prodkit:review_by", "value": str(manifest.owners.review_by or "")},
            ],
        },
        "components": [_model(manifest, model) for model in manifest.models]
        + [_data(manifest.owners, name, source) for name, source in manifest.data_sources.items()],
    }
    parts = sorted({component["bom-ref"] for component in content["components"]})
    content["dependencies"] = [{"ref": service.name, "dependsOn": parts}, *({"ref": part} for part in parts)]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _model(manifest: Manifest, model: ModelSpec) -> dict[str, Any]:
    card: dict[str, Any] = {"considerations": {"useCases": [manifest.service.purpose or manifest.service.name]}}
    classes = ", ".join(model.allowed_classifications)
    card["considerations"]["technicalLimitations"] = [f"Takes data of these classes only: {classes}."]
    if manifest.slo:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": promise.metric, "value": f"{promise.objective:g}"} for promise in manifest.slo
            ]
        }
    card["modelParameters"] = {
        "datasets": [{"ref": f"data:{name}"} for name in manifest.data_sources],
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.provider}/{model.name}",
        "supplier": {"name": model.provider},
        "name": model.name,
        "modelCard": card,
        "properties": [{"name": "prodkit:region", "value": model.region}] if model.region else [],
    }


def _data(owners: Owners, name: str, source: DataSourceSpec) -> dict[str, Any]:
    people = people_of(owners, (source.owner,)) if source.owner else ()
    contacts = [contact_of(owners, person) for person in people]
    data: dict[str, Any] = {"type": "dataset", "name": name, "classification": source.classification}
    if source.pii:
        data["sensitiveData"] = ["personal data"]
    if contacts:
        listed = [{"contact": {"name": contact.name, "email": contact.email}} for contact in contacts]
        data["governance"] = {"owners": listed}
    return {"type": "data", "bom-ref": f"data:{name}", "name": name, "data": [data]}


def _team(manifest: Manifest, person: Contact) -> str:
    """The first team that a person leads or belongs to; Datadog's owner is one. Else the person."""
    teams = manifest.owners.teams
    return next((key for key, team in teams.items() if person.id in (team.lead, *team.members)), person.id)


def _everybody(manifest: Manifest) -> list[Contact]:
    """Each person who answers for something, once."""
    return list({row.contact.id: row.contact for row in matrix(manifest) if row.contact}.values())


def _contacts(person: Contact) -> list[dict[str, str]]:
    listed = [{"name": person.name, "type": "email", "contact": person.email}]
    for kind, part in (("slack", "slack.com"), ("microsoft-teams", "teams.microsoft.com")):
        if person.chat.startswith("https://") and part in person.chat:
            listed.append({"name": person.name, "type": kind, "contact": person.chat})
    return listed


def _approvers(manifest: Manifest, activity: str) -> list[str]:
    """E-mail addresses: who answers for the activity first, then who does it."""
    row = next(row for row in matrix(manifest) if row.activity == activity)
    people = dict.fromkeys([resolve(manifest, activity).id, *people_of(manifest.owners, row.responsible)])
    return [manifest.owners.people[person].email for person in people]


FORMATS: dict[str, Callable[[Manifest], str]] = {
    "backstage": to_backstage,
    "datadog": to_datadog,
    "codeowners": to_codeowners,
    "cyclonedx": to_cyclonedx,
}
"""Name of the format -> what writes it."""
