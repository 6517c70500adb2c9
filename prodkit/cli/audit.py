"""`audit`: is the journal whole, what happened in one request, what is held of one person."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prodkit.ledger.reach import public_uri
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.ledger.audit import Audit, Explanation
    from prodkit.ledger.shipping import Shipped
    from prodkit.manifest import Project
    from prodkit.records import CallRecord

BROKEN = 1
_WIDTH = 13
_PROJECT = click.option(
    "--project", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The project's folder."
)


@click.group()
def audit() -> None:
    """The journal: who sent what to which model, and proof that nothing was changed."""


@audit.command()
@_PROJECT
@click.option("--mlflow", "remote", is_flag=True, help="Also against the signed checkpoints in MLflow.")
@click.option(
    "--checkpoint",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also against a checkpoint that was kept elsewhere; may be repeated.",
)
def verify(project: Path | None, remote: bool, files: tuple[Path, ...]) -> None:
    """Check that no record was edited, deleted, inserted, reordered or cut off."""
    outcome = _audit(project).verify(remote=remote, files=files)
    rate = outcome.records / outcome.seconds if outcome.seconds else 0.0
    for flaw in outcome.flaws:
        place = f"stream {flaw.stream}, record {flaw.record}: " if flaw.stream else ""
        colour = "yellow" if flaw.is_note else "red"
        click.echo(f"{click.style(flaw.kind.ljust(10), fg=colour)} {place}{flaw.what}")
    for gone in outcome.removals:
        what = f"records up to {gone.record:,} were removed by retention on {gone.time[:10]}"
        click.echo(f"{'retention'.ljust(10)} stream {gone.stream}: {what} under the policy of {gone.days:g} days")
    verdict = click.style("whole", fg="green") if outcome.ok else click.style("NOT whole", fg="red", bold=True)
    click.echo(
        f"The journal is {verdict}: {outcome.records:,} records, {_count(outcome.streams, 'stream')}, "
        f"{_count(outcome.checkpoints, 'signed checkpoint')}, {outcome.seconds:.2f} s ({rate:,.0f} records/s)."
    )
    if not outcome.ok:
        sys.exit(BROKEN)


@audit.command()
@click.argument("request_id")
@_PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(request_id: str, project: Path | None, as_json: bool) -> None:
    """Explain one answer: prompt, data, model, parameters, code, cost, human review."""
    explanation = _audit(project).explain(request_id)
    if as_json:
        click.echo(json.dumps(asdict(explanation), indent=2, default=str, ensure_ascii=False))
        return
    for name, value in _lines(explanation):
        if value:
            click.echo(f"{click.style(name.ljust(_WIDTH), bold=True)} {value}")


@audit.command()
@_PROJECT
@click.option("--user", help="Only this user's requests.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.  [default: stdout]")
@click.option("--content", is_flag=True, help="With prompts and answers, where they aren't erased.")
def export(project: Path | None, user: str | None, to: Path | None, content: bool) -> None:
    """Write all requests as JSON lines."""
    count = 0
    with click.open_file(str(to) if to else "-", "w", encoding="utf-8") as file:
        for entry, call, erased in _audit(project).calls(user=user):
            line = {"recorded": entry.time, "stream": entry.stream, "record": entry.seq, "hash": entry.hash}
            line |= {"subject": entry.public["subject"], "erased": erased, **_public(call, content=content)}
            file.write(json.dumps(line, default=str) + "\n")
            count += 1
    click.echo(f"{count:,} requests", err=True)


@audit.command()
@_PROJECT
@click.option("--user", required=True, help="The user's id, as given to `prodkit.request(user=...)`.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--without-mlflow", is_flag=True, help="Even if MLflow can't be reached, and its artifacts stay.")
def erase(project: Path | None, user: str, yes: bool, without_mlflow: bool) -> None:
    """Remove one person's prompts and answers, for good. The journal still verifies."""
    if not yes:
        click.confirm("Destroy this user's key? Nobody can read the content afterwards", abort=True)
    erasure = _audit(project).erase(user, without_mlflow=without_mlflow)
    told = f"{_count(erasure.requests, 'request')} can't be read any more"
    click.echo(f"{told}; taken out of MLflow: {_count(erasure.traces, 'trace')}.")
    for verb, lines in (
        ("cleaned", erasure.scrubbed.rewritten),
        ("removed", erasure.scrubbed.removed),
        ("LEFT", erasure.scrubbed.left),
    ):
        for line in lines:
            click.echo(f"{click.style(verb.ljust(8), fg='yellow' if verb == 'LEFT' else None)} {line}")
    if erasure.shipped.pending:
        click.echo(f"MLflow waits ({erasure.shipped.reason}): run `prodkit audit sync` when it is back.", err=True)
        sys.exit(75)
    click.echo("What your own code wrote outside of .prodkit and MLflow's artifacts isn't touched.")


@audit.command()
@_PROJECT
@click.option("--again", is_flag=True, help="Also what MLflow has refused before.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for another process that ships.")
def sync(project: Path | None, again: bool, timeout: float) -> None:
    """Ship everything that waits in the journal to MLflow."""
    audit_ = _audit(project)
    shipped = audit_.sync(again=again, timeout=timeout)
    refused = audit_.rejections()
    for item in refused:
        place = f"stream {item.stream}, record {item.seq} ({item.kind})"
        click.echo(f"{click.style('refused', fg='yellow')} {place}: {item.reason}", err=True)
    click.echo(f"{shipped.records:,} records shipped, {shipped.pending:,} wait, {len(refused):,} refused.")
    if shipped.pending or (again and shipped.reason):
        _report_problems(shipped)
        sys.exit(75)
    _publish_runs(find_project(project), timeout)


def _report_problems(shipped: Shipped) -> None:
    """Each address that fails on a line of its own, and the way out where another address works."""
    for problem in shipped.problems:
        waiting = f"{problem.waiting:,} wait for " if problem.waiting else ""
        click.echo(f"MLflow: {waiting}{problem}", err=True)
        if shipped.suggestion:
            said = f"prodkit audit retarget {shlex.quote(problem.address)} {shlex.quote(shipped.suggestion)}"
            click.echo(f"        Correct or start it; or send them where MLflow works: {said}", err=True)
    if not shipped.problems:
        click.echo(f"MLflow: {shipped.reason}", err=True)


@audit.command()
@click.argument("old")
@click.argument("new")
@_PROJECT
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for another process that ships.")
def retarget(old: str, new: str, project: Path | None, timeout: float) -> None:
    """Send what waits for the address OLD, and what will still go there, to NEW.

    Addresses as the messages show them; `project` is the MLflow in the project's own folder. Records that MLflow at OLD
    has taken stay there. The decision is a record of the journal, which stays as it is otherwise.
    """
    audit_ = _audit(project)
    decided = audit_.retarget(old, new)
    click.echo(f"What goes to {public_uri(old)} goes to {public_uri(new)} from now on ({decided.time}).")
    shipped = audit_.sync(timeout=timeout)
    click.echo(f"{shipped.records:,} records shipped, {shipped.pending:,} wait.")
    if shipped.pending:
        _report_problems(shipped)
        sys.exit(75)
    _publish_runs(find_project(project), timeout)


def _publish_runs(project: Project, timeout: float) -> None:
    """What runs have left to be published: their ends and their reviewers' pages."""
    from prodkit.jobs.delivery import deliver_waiting
    from prodkit.review import publish

    done = deliver_waiting(project, publish, seconds=timeout)
    if done.published:
        click.echo(f"{_count(done.published, 'run')} published.")
    if done.waiting or done.problem:
        click.echo(f"{_count(done.waiting, 'run')} still to be published. {done.problem}".rstrip(), err=True)
        sys.exit(75)


@audit.command()
@_PROJECT
def checkpoint(project: Path | None) -> None:
    """Sign the journal as it is now; keep the file where nobody here can change it."""
    taken, path = _audit(project).checkpoint()
    click.echo(f"{taken.records:,} records signed: {path}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _audit(project: Path | None) -> Audit:
    from prodkit.ledger.audit import Audit

    return Audit(find_project(project))


def _public(call: CallRecord, *, content: bool) -> dict[str, Any]:
    values = asdict(call)
    if not content:
        for name in ("prompt", "response", "error", "user", "session", "parameters"):
            values.pop(name)
    return values


def _lines(explanation: Explanation) -> list[tuple[str, str]]:
    call = explanation.call
    cost = "unpriced" if call.cost.usd is None else f"${call.cost.usd} ({call.cost.status})"
    gone = "erased on purpose" if explanation.erased else ""
    return [
        ("request", f"{call.request_id}  {call.status}"),
        ("recorded", explanation.recorded),
        ("when", f"{call.started.isoformat()}, {call.seconds:.2f} s"),
        ("who", _who(call.user, explanation.subject)),
        ("session", call.session),
        ("data source", " ".join(filter(None, [call.data_source, call.purpose, call.region]))),
        ("model", f"{call.provider}/{call.model} {_compact(call.parameters)}"),
        ("served by", call.served_by + (" (degraded)" if call.degraded else "")),
        ("simulated", "yes: a simulated provider answered" if call.simulated else ""),
        *[("template", f"{p.name} v{p.version} {p.digest[:12]}: {p.template}") for p in explanation.prompts],
        ("prompt", gone or _compact(call.prompt)),
        ("answer", gone or _compact(call.response)),
        ("error", call.error),
        ("tokens", f"{call.usage.input_tokens} in, {call.usage.output_tokens} out"),
        ("cost", f"{cost} {call.cost.source} {call.cost.price_date or ''} {call.cost.reason}".rstrip()),
        ("attempts", ", ".join(f"{a.target} {a.failure_class or 'ok'} {a.seconds:.2f} s" for a in call.attempts)),
        ("redacted", ", ".join(f"{count} {name}" for name, count in sorted(explanation.redactions.items()))),
        *[("dataset", f"{d.name} {d.digest} {d.source} ({d.context})") for d in explanation.datasets],
        ("kept until", _retention(call)),
        *[("run", _run_line(run)) for run in explanation.runs],
        *_code(explanation.runs),
        ("reviewed", "; ".join(explanation.reviews) or "by nobody yet"),
    ]


def _who(user: str, subject: str) -> str:
    return user if user == subject else f"{user} [{subject}]".lstrip()


def _run_line(run: dict[str, Any]) -> str:
    return f"{run['kind']} {run['name']} {run['status']} {run['run_id'] or '(not in MLflow yet)'}"


def _retention(call: CallRecord) -> str:
    if call.expires is None:
        return ""
    of = "compliance" if call.retention_class == "compliance" else f"the data source `{call.retention_class}`"
    return f"{call.expires.isoformat()}, by the retention period of {of}"


def _code(runs: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Notebook, commit, cell and its source: each from the innermost run that knows it."""
    tags = {key: value for run in reversed(runs) for key, value in run["tags"].items()}
    source = next((run["params"]["source"] for run in runs if run["params"].get("source")), "")
    commit = tags.get("mlflow.source.git.commit", "")
    dirty = ", with files that differ from it" if tags.get("prodkit.git_dirty") == "true" else ""
    digest = f", sha256 {tags['prodkit.notebook_sha256']}" if "prodkit.notebook_sha256" in tags else ""
    return [
        ("commit", commit + dirty if commit else ""),
        ("notebook", tags["prodkit.notebook"] + digest if "prodkit.notebook" in tags else ""),
        ("cell", tags.get("prodkit.cell", "")),
        ("code", source.replace("\n", "\n" + " " * (_WIDTH + 1))),
    ]


def _compact(value: Any) -> str:
    return (
        value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    )
