"""`init`, `doctor` and `ui`: begin a project, look at it, open its review."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prodkit.errors import ConfigError
from prodkit.manifest import Manifest, find_project, parse
from prodkit.manifest.project import MANIFEST
from prodkit.records import now
from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTIVITIES = (
    "model_performance", "uptime", "latency_page", "retraining", "data_pipeline_change", "cost_spike",
    "prompt_change", "security_review", "incident", "rollback", "retirement",
)  # fmt: skip
REVIEW_AFTER = timedelta(days=120)
_KINDS = {".xlsx": "excel", ".xls": "excel", ".csv": "csv", ".parquet": "parquet"}


@click.command()
@click.option("--name", help="Name of the service; also of the MLflow experiment.  [default: the folder's name]")
@click.option("--purpose", help="One sentence for reviewers.")
@click.option("--owner-name", help="Name of the person who answers for it.")
@click.option("--owner-email", help="Address of that person.")
@click.option("--source", "sources", multiple=True, metavar="NAME=PATH", help="A data source; may be repeated.")
@click.option("--model", default="gpt-4o-mini", show_default=True, help="The model that it calls.")
@click.option("--provider", default="openai", show_default=True)
@click.option("--region", default="eu", show_default=True, help="Where data and model lie.")
@click.option("--budget", default="1.00", show_default=True, help="US dollars that one run may spend.")
@click.option("--force", is_flag=True, help="Overwrite a prodkit.yaml that is there.")
@click.option("--linters", is_flag=True, help="Write only the settings of ruff, black and nbqa in pyproject.toml.")
@click.option("--print-schema", is_flag=True, help="Print the JSON Schema of prodkit.yaml and write nothing.")
def init(
    name: str | None,
    purpose: str | None,
    owner_name: str | None,
    owner_email: str | None,
    sources: tuple[str, ...],
    model: str,
    provider: str,
    region: str,
    budget: str,
    *,
    force: bool,
    linters: bool,
    print_schema: bool,
) -> None:
    """Write a prodkit.yaml, by asking or from flags."""
    if print_schema:
        click.echo(json.dumps(Manifest.model_json_schema(), indent=2))
        return
    if linters:
        _write_linters()
        return
    path = Path.cwd() / MANIFEST
    if path.exists() and not force:
        raise ConfigError("init.exists", "There is a manifest already.", where=str(path), fix="edit it, or say --force")
    owner_name = _ask("owner-name", "Who answers for it (name)", owner_name)
    text = render(
        "prodkit.yaml.j2",
        name=_ask("name", "Name of the service", name, default=_slug(Path.cwd().name)),
        purpose=_ask("purpose", "What it does, and for whom", purpose, default=""),
        owner=_slug(owner_name.split()[0].lower()),
        owner_name=owner_name,
        owner_email=_ask("owner-email", "Address of that person", owner_email),
        activities=ACTIVITIES,
        review_by=(now().date() + REVIEW_AFTER).isoformat(),
        sources=[_source(item) for item in sources],
        model=model,
        provider=provider,
        region=region,
        budget=budget,
    )
    parse(text, MANIFEST)  # what we write must load; a wrong flag is told before anything is written
    path.write_text(text, encoding="utf-8")
    click.echo(f"wrote {path}")
    _write_linters()
    click.echo("next: `%load_ext prodkit` in a notebook, and `%%prodkit --name first` above a cell")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Say what is installed, where things are written, and what is missing."""
    from prodkit.cli.checks import examine, show

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        show(findings)
    if any(finding.level == "error" for finding in findings):
        sys.exit(ConfigError.exit_code)


@click.command()
@click.option("--run", "run_id", help="MLflow's id of the run to open.  [default: the latest]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on loopback.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the address and don't open a browser.")
def ui(run_id: str | None, port: int, *, no_browser: bool) -> None:
    """Open the MLflow UI at the latest run."""
    import webbrowser

    from prodkit.ledger.ui import serve

    with _terminated_as_interrupted(), serve(find_project(), run_id=run_id, port=port) as server:
        click.echo(f"MLflow UI: {server.url}" + ("   (Ctrl-C stops it)" if server.owned else ""))
        if not no_browser:
            webbrowser.open(server.url)
        server.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end what Ctrl-C ends, so that a server which was started here ends with this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _write_linters() -> None:
    from prodkit.cli.linting import FILE, write_settings

    merge = write_settings(Path.cwd())
    for line in merge.added:
        click.echo(f"{FILE}: added {line}")
    for line in merge.left:
        click.echo(f"{FILE}: {line}")
    if not merge.added and not merge.left:
        click.echo(f"{FILE}: ruff, black and nbqa know prodkit's cells already")


def _ask(flag: str, question: str, given: str | None, default: str | None = None) -> str:
    if given is not None:
        return given
    if _at_terminal():
        return str(click.prompt(question, default=default))
    if default is not None:
        return default
    raise ConfigError("init.missing", f"`--{flag}` is missing.", fix=f"say --{flag} ..., or run it in a terminal")


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63] or "demo"


def _source(item: str) -> dict[str, str]:
    name, equals, location = item.partition("=")
    kind = _KINDS.get(Path(location).suffix.lower())
    if not equals or not kind:
        raise ConfigError(
            "init.source",
            f"`--source {item}` isn't NAME=PATH with a path that ends in {', '.join(sorted(_KINDS))}.",
            fix="e.g. --source tickets='data/*.xlsx'",
        )
    return {"name": name, "kind": kind, "location": location}
