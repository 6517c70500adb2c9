"""`contract`: draft a data contract, check data against it, compare two, and see how much corruption one notices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.contracts import Contract, Validation

BROKEN = 1
BROKEN_DATA = 65
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def contract() -> None:
    """Data contracts: Open Data Contract Standard files, drafted, checked, compared and tested."""


@contract.command()
@click.argument("data")
@click.option("--name", help="The table's name; by default the file's or source's.")
@click.option("--owner", default="", help="The team that answers for the data.")
@click.option("--out", type=_FILE, help="Write the draft here instead of showing it.")
@click.option("--param", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter of the source.")
def infer(data: str, name: str | None, owner: str, out: Path | None, param: tuple[str, ...]) -> None:
    """Draft a contract from DATA, a file or a source of the manifest. Each rule comes with its evidence."""
    from prodkit.contracts import infer as draft

    drafted = draft(_data(data, param), name or Path(data).stem, owner=owner)
    if out is None:
        click.echo(drafted.to_yaml(), nl=False)
        return
    if out.exists():
        raise ConfigError("contract.exists", "There is a contract already.", where=str(out), fix="choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(drafted.to_yaml(), encoding="utf-8")
    click.echo(
        f"{out}: {len(drafted.columns)} columns, {len(drafted.rules)} rules. Read it, then set `status: active`."
    )


@contract.command()
@click.argument("data")
@click.argument("file", required=False, type=_FILE)
@click.option("--mode", type=click.Choice(["refuse", "quarantine", "warn"]), default="refuse", show_default=True)
@click.option(
    "--engine", type=click.Choice(["arrow", "pandera"]), default="arrow", show_default=True, help="Who evaluates."
)
@click.option("--quarantine", "aside", type=_FILE, help="Write the bad rows to this file, each with its reasons.")
@click.option("--html", type=_FILE, help="Write the report to this file.")
@click.option("--param", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter of the source.")
def validate(
    data: str, file: Path | None, mode: str, engine: str, aside: Path | None, html: Path | None, param: tuple[str, ...]
) -> None:
    """Check DATA against the contract FILE (by default the source's own); exit code 65 when it is broken."""
    from prodkit.contracts import validate as check

    result = check(_data(data, param), _contract(data, file), mode, engine=engine)  # type: ignore[arg-type]
    _show(result)
    if html is not None:
        html.write_text(result.to_html(), encoding="utf-8")
        click.echo(f"report: {html}")
    if aside is not None and (path := result.save_quarantined(aside)):
        click.echo(f"bad rows: {path}")
    if not result.ok and mode != "warn" and (mode == "refuse" or result.whole):
        sys.exit(BROKEN_DATA)


@contract.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option(
    "--for",
    "side",
    type=click.Choice(["readers", "writers", "both"]),
    default="both",
    show_default=True,
    help="Whom a change must not break.",
)
def diff(old: Path, new: Path, side: str) -> None:
    """Tell what changed from the contract OLD to NEW, and whom it breaks; exit code 1 when it breaks somebody."""
    from prodkit.contracts import Contract
    from prodkit.contracts.comparison import compare

    changes = compare(Contract.load(old), Contract.load(new))
    breaking = [change for change in changes if change.breaks and (side == "both" or side in change.breaks)]
    for change in changes:
        mark = click.style("breaks ", fg="red") if change in breaking else click.style("ok     ", fg="green")
        whom = f" ({' and '.join(change.breaks)})" if change.breaks else ""
        click.echo(f"{mark}{change.column or '(table)'}: {change.what}{whom}")
    click.echo(f"{len(breaking)} of {len(changes)} changes break {'somebody' if side == 'both' else side}.")
    if breaking:
        sys.exit(BROKEN)


@contract.command()
@click.argument("data")
@click.argument("file", required=False, type=_FILE)
@click.option("--mutate", is_flag=True, help="Inject fifteen kinds of corruption.")
@click.option(
    "--at-least", type=click.FloatRange(0, 1), default=0.0, help="Exit with 1 when a smaller share is noticed."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--param", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter of the source.")
def test(data: str, file: Path | None, mutate: bool, at_least: float, seed: int, param: tuple[str, ...]) -> None:
    """Damage DATA on purpose and tell what share of the damage the contract FILE notices."""
    from prodkit.contracts.mutation import mutate as inject, score

    if not mutate:
        raise click.UsageError("say what to do: --mutate injects corruption")
    killings = inject(_data(data, param), _contract(data, file), seed=seed)
    for killing in killings:
        colour = "green" if not killing.missed else "yellow" if killing.killed else "red"
        figure = f"{killing.killed}/{killing.tried}" if killing.tried else "-"
        missed = f"  missed in {', '.join(killing.missed)}" if killing.missed else ""
        click.echo(f"{click.style(figure.rjust(7), fg=colour if killing.tried else None)}  {killing.kind}{missed}")
    reached = score(killings)
    click.echo(
        f"The contract notices {100 * reached:.0f} % of {sum(killing.tried for killing in killings)} corruptions."
    )
    if reached < at_least:
        sys.exit(BROKEN)


@contract.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
def lint(files: tuple[Path, ...]) -> None:
    """Check contract FILES themselves: structure, types, rules that contradict each other."""
    from prodkit.contracts import Contract

    for file in files:
        read = Contract.load(file)
        click.echo(f"{click.style('ok', fg='green')} {file}: {read.name} {read.version}, {len(read.rules)} rules")
        for rule in read.rules:
            if rule.kind == "unchecked":
                why = (
                    "it is written for people" if rule.argument == "text" else f"it needs the engine `{rule.argument}`"
                )
                click.echo(f"   {rule.id}: not checked here, {why}")


def _data(data: str, params: tuple[str, ...]) -> Any:
    path = Path(data)
    if path.exists() or path.suffix:
        from prodkit.contracts.files import read_table

        return read_table(path)
    from prodkit.sources import read

    given: dict[str, Any] = dict(_pair(param) for param in params)
    return read(data, **given)


def _pair(param: str) -> tuple[str, str]:
    name, sign, value = param.partition("=")
    if not sign or name in ("strict", "project"):
        raise click.UsageError(f"`{param}` isn't NAME=VALUE with a parameter of the source")
    return name, value


def _contract(data: str, file: Path | None) -> Contract:
    from prodkit.contracts import Contract
    from prodkit.manifest import find_project

    if file is not None:
        return Contract.load(file)
    project = find_project()
    source = project.manifest.data_sources.get(data)
    if source is None or not source.contract:
        raise ConfigError(
            "contract.none", "No contract is named.", where=data, fix="name the contract's file behind the data"
        )
    return Contract.load(project.path(source.contract))


def _show(result: Validation) -> None:
    from prodkit.contracts.report import details, verdict

    click.echo(
        click.style("kept   " if result.ok else "broken ", fg="green" if result.ok else "red", bold=True)
        + verdict(result)
    )
    for line in details(result):
        click.echo(line)
