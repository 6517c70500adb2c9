"""`backup` and `restore`: a project in one file, and back."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from prodkit.manifest import find_project

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--project", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The project's folder.")
@click.option("--without-keys", is_flag=True, help="Leave out the keys that open prompts and answers.")
@click.option("--state-only", is_flag=True, help="Only what prodkit has written, not the project's own files.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def backup(file: Path, project: Path | None, without_keys: bool, state_only: bool, overwrite: bool) -> None:
    """Write the project into one file, also while it is used.

    Only you can read the file. With the keys in it, who has it can read the project's prompts and answers.
    """
    from prodkit.ledger.backup import write_backup

    done = write_backup(find_project(project), file, keys=not without_keys, state_only=state_only, overwrite=overwrite)
    for line in done.skipped:
        click.echo(f"{click.style('left out', fg='yellow')} {line}", err=True)
    click.echo(f"{done.files:,} files, {done.bytes / 1e6:,.1f} MB: {file}")
    click.echo(
        "It holds the project's keys: who has this file can read its prompts and answers."
        if done.keys
        else "The keys aren't in it: without .prodkit/keys, kept elsewhere, the journal's prompts and answers can't be "
        "read. What MLflow in this folder shows of them is in it."
    )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=".", help="The folder.  [default: .]")
@click.option("--overwrite", is_flag=True, help="Also into a folder that isn't empty; its state is kept aside.")
def restore(file: Path, to: Path, overwrite: bool) -> None:
    """Unpack a backup into a folder.

    Its journal is checked, its MLflow follows, and runs go on from there.
    """
    from prodkit.ledger.audit import Audit
    from prodkit.ledger.restoring import restore_backup

    label = restore_backup(file, to, overwrite=overwrite)
    click.echo(f"The project `{label['service']}` as of {label['taken']} lies in {to.absolute()}.")
    if label["aside"]:
        click.echo(f"The state that was there before lies in {label['aside']}.")
    if not label["keys"]:
        click.echo(
            "The backup holds no keys: put the project's keys into .prodkit/keys before anything runs.", err=True
        )
        return
    project = find_project(to)
    if (project.state / "journal").is_dir():
        outcome = Audit(project).verify()
        click.echo(f"The journal is {'whole' if outcome.ok else 'NOT whole'}: {outcome.records:,} records.")
        if not outcome.ok:
            click.echo("`prodkit audit verify` says where.", err=True)
            sys.exit(1)
