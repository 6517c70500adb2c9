"""The files of a job folder beside the job itself: the runbook, who answers for it, lock, image, tests."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.jobs.folder import WHEELS, relative
from prodkit.jobs.hashes import OTHERS_PART, OWN_PART
from prodkit.jobs.packing.releases import mark
from prodkit.ownership import matrix, resolve, routes
from prodkit.ownership.roles import contact_of
from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.jobs.folder import Index, Need
    from prodkit.jobs.parameters import Parameter
    from prodkit.jobs.reading import Notebook
    from prodkit.jobs.requirements import Lock
    from prodkit.manifest import Manifest, Project
    from prodkit.ownership import Contact

_LOCAL = "# Installed from a folder here, so not below; build a wheel of it: "  # 0.1.0 had this line alone
_BROUGHT = "# These came from a folder here, so their wheels are in wheels/; install in this folder: "
_NO_HASHES = """#
# The hashes are missing: no package registry was asked, or it didn't answer. Add them with
#   uv pip compile --generate-hashes --no-deps requirements.lock -o requirements.lock
"""


def render_lock(lock: Lock, *, name: str, hashed: str = "") -> str:
    """The text of `requirements.lock`; `hashed` is what a registry made of the pins."""
    releases = f"those of {lock.python_needs}" if lock.python_needs else "every patch release"
    head = f"# What `{name}` ran with when it was exported: exact versions. Python {lock.python}.\n"
    head += f"# They hold for {releases}, on {lock.platform}.\n"
    if lock.absent:
        head += f"{_LOCAL}{', '.join(lock.absent)}\n"
    if lock.brought:
        head += f"{_BROUGHT}{', '.join(lock.brought)}\n"
    body = mark(hashed or "".join(f"{pin}\n" for pin in lock.pins), lock.others)
    if lock.others:
        lines = [line for other in lock.others for line in (other.lines if hashed else _bare(other.lines))]
        body += "".join(f"{line}\n" for line in (OTHERS_PART, *lines))
    if lock.wheels:  # by their files: another project may have the same name in a registry
        ends = [f" \\\n    --hash=sha256:{wheel.sha256}" if hashed else "" for wheel in lock.wheels]
        own = [f"./{WHEELS}/{wheel.file}{end}" for wheel, end in zip(lock.wheels, ends, strict=True)]
        body += "".join(f"{line}\n" for line in (OWN_PART, *own))
    return head + ("" if hashed else _NO_HASHES) + body


def _bare(lines: tuple[str, ...]) -> list[str]:
    """A pin without its hashes."""
    return [lines[0].removesuffix("\\").rstrip()]


def local_in(lock: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a lock's text names as installed from a folder, and what of it lies in `wheels/`."""
    absent, brought = _named(lock, _LOCAL), _named(lock, _BROUGHT)
    return (*absent, *brought), brought


def _named(lock: str, head: str) -> tuple[str, ...]:
    lines = (line.removeprefix(head) for line in lock.splitlines() if line.startswith(head))
    return tuple(name for line in lines for name in line.split(", "))


def install_options(*, hashed: bool) -> str:
    """What follows `pip install`, said in the job folder. The lock is whole, so pip resolves nothing."""
    return f"--no-deps{' --require-hashes' if hashed else ''} -r requirements.lock"


def render_ownership(manifest: Manifest, *, name: str) -> str:
    """The text of `ownership.yaml`: the RACI resolved to people and addresses, and where each alert goes."""
    owners = manifest.owners
    content: dict[str, Any] = {
        "job": name,
        "service": manifest.service.model_dump(mode="json", exclude_defaults=False),
        "review_by": owners.review_by.isoformat() if owners.review_by else None,
        "escalation": [_brief(person) for person in _escalation(manifest)],
        "activities": {
            row.activity: {
                "accountable": _brief(_contact(row.contact)),
                "responsible": list(row.responsible),
                "consulted": list(row.consulted),
                "informed": list(row.informed),
            }
            for row in matrix(manifest)
        },
        "people": {key: _contact(contact_of(owners, key)) for key in owners.people},
        "teams": {key: team.model_dump(mode="json") for key, team in owners.teams.items()},
        "alerts": [
            {**route.alert.model_dump(mode="json"), "goes_to": _brief(_contact(route.contact))}
            for route in routes(manifest)
        ],
        "slo": [promise.model_dump(mode="json") for promise in manifest.slo],
        "data": {source: spec.owner for source, spec in manifest.data_sources.items()},
        "kill_switch": manifest.kill_switch or None,
        "waivers": [waiver.model_dump(mode="json") for waiver in owners.waivers],
    }
    head = "# Who answers for this job, resolved from prodkit.yaml. Change it there and export again.\n"
    return head + yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def render_runbook(
    notebook: Notebook,
    project: Project,
    *,
    index: Index,
    place: str,
    lock: Lock,
    hashed: bool,
    secrets: tuple[str, ...],
    schedules: tuple[str, ...],
) -> str:
    """The text of `README.md`; `secrets` are names of variables, `schedules` the schedule files."""
    manifest = project.manifest
    on_call = resolve(manifest, "incident")
    return render(
        "job/README.md.j2",
        index=index,
        place=place,
        manifest=manifest,
        parameters=[_described(parameter) for parameter in notebook.parameters],
        example=_example(notebook.parameters),
        rows=matrix(manifest),
        routes=routes(manifest),
        on_call=on_call,
        rollback=resolve(manifest, "rollback"),
        escalation=[person for person in _escalation(manifest) if person["id"] != on_call.id],
        sources={name: manifest.data_sources[name] for name in index.inputs},
        dropped=[cell.number for cell in notebook.cells if cell.is_demo],
        lock=lock,
        install=install_options(hashed=hashed),
        secrets=secrets,
        schedules=schedules,
        root=relative(project.root, project.root / place),
    )


def render_image(notebook: Notebook, lock: Lock, *, name: str, hashed: bool, needs: tuple[Need, ...]) -> str:
    """The text of `Dockerfile`; what the job reads and doesn't bring is said as what to mount."""
    return render(
        "job/Dockerfile.j2",
        name=name,
        tag=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "job",
        example=_example(notebook.parameters),
        python=lock.python,
        install=install_options(hashed=hashed),
        absent=lock.absent,
        brought=lock.brought,
        volumes=[need.path for need in needs if not need.path.startswith(("/", ".."))],
    )


def render_image_leaves_out(files: Iterable[str]) -> str:
    """The text of `.dockerignore`: only what export wrote gets into an image, whatever else lies in the folder."""
    return render("job/dockerignore.j2", files=sorted(files))


def render_checks(name: str) -> str:
    """The text of `tests/test_job.py`."""
    return render("job/test_job.py.j2", name=name)


def _described(parameter: Parameter) -> dict[str, str]:
    choices = ", ".join(f"`{choice}`" for choice in parameter.choices)
    default = "required" if parameter.required else f"`{json.dumps(parameter.default, ensure_ascii=False)}`"
    meaning = ". ".join(part for part in (parameter.help, f"One of {choices}" if choices else "") if part)
    return {
        "name": parameter.name,
        "type": parameter.annotation.replace("|", "\\|"),
        "default": default.replace("|", "\\|"),
        "meaning": meaning.replace("|", "\\|"),
    }


def _example(parameters: tuple[Parameter, ...]) -> str:
    """The `-p` options of a run that works: what is required, and one more as a pattern."""
    shown = [parameter for parameter in parameters if parameter.required]
    if not shown:
        shown = [
            parameter for parameter in parameters if isinstance(parameter.default, str | int) and parameter.default
        ][:1]
    return "".join(f" -p {p.name}={'...' if p.required else shlex.quote(str(p.default))}" for p in shown)


def _escalation(manifest: Manifest) -> list[dict[str, str]]:
    """Whom to call in turn; a team stands for its lead."""
    owners = manifest.owners
    people = [owners.teams[name].lead if name in owners.teams else name for name in owners.escalation]
    return [_contact(contact_of(owners, person)) for person in people if person in owners.people]


def _contact(contact: Contact | None) -> dict[str, str]:
    if contact is None:
        return {}
    listed = {
        "id": contact.id,
        "name": contact.name,
        "reach": contact.address,
        "email": contact.email,
        "chat": contact.chat,
        "pager": contact.pager,
        "backup": contact.backup,
    }
    return {key: value for key, value in listed.items() if value}


def _brief(contact: dict[str, str]) -> dict[str, str]:
    """Who, where, and who stands in; the rest is under `people`."""
    return {key: contact[key] for key in ("id", "name", "reach", "backup") if key in contact}


class _Plain(yaml.SafeDumper):
    """Writes each mapping out, without `&id001` for one that appears twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
