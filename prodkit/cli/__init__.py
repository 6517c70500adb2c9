"""The command line: one command is one act. Commands are imported when they are called, so that help is instant."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn, cast

import click

from prodkit.errors import ProdkitError, nearest
from prodkit.light_imports import skip_slow_imports

if TYPE_CHECKING:
    from collections.abc import Sequence

# command -> (module, one line for `prodkit --help`); the function has the command's name, `-` as `_`
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("prodkit.cli.project", "Write a prodkit.yaml, by asking or from flags."),
    "doctor": ("prodkit.cli.project", "Say what is installed, where things are written, and what is missing."),
    "ui": ("prodkit.cli.project", "Open the MLflow UI at the latest run."),
    "demo": ("prodkit.cli.demo", "Tell the whole story on made-up support tickets, without a key."),
    "lint": ("prodkit.cli.jobs", "Say what stands between a notebook and production."),
    "export": ("prodkit.cli.jobs", "Export a notebook into a job folder."),
    "owners": ("prodkit.cli.owners", "Show who answers for what, and check that somebody does."),
    "rehearse": ("prodkit.cli.rehearse", "Put a job's own calls to every fault, and say what would help."),
    "review": ("prodkit.cli.review", "Show what a run's reviewer needs on one page; approve or reject it."),
    "audit": ("prodkit.cli.audit", "The journal: who sent what to which model, and proof that nothing was changed."),
    "backup": ("prodkit.cli.backup", "Write the project into one file, also while it is used."),
    "restore": ("prodkit.cli.backup", "Unpack a backup into a folder."),
    "contract": (
        "prodkit.cli.contract",
        "Data contracts: Open Data Contract Standard files, drafted, checked, compared and tested.",
    ),
    "run": ("prodkit.cli.runner", "Run an exported job, once or for each row of a file."),
    "runs": ("prodkit.cli.runner", "Show what has run, the latest first."),
    "schedule": (
        "prodkit.cli.schedules",
        "Say when a job runs: to `prodkit scheduler`, or as files for another timekeeper.",
    ),
    "scheduler": (
        "prodkit.cli.scheduler",
        "Run the local schedules of this project, in the foreground, until it is stopped.",
    ),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table, which is the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        return cast("click.Command", getattr(module, cmd_name.replace("-", "_")))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Each with its one line, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A misspelt command gets the nearest known one."""
        if args and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command `{args[0]}`; {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="prodkit")
def cli() -> None:
    """Turn an AI demo in a notebook into a production job."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a `ProdkitError` becomes its text on stderr and its exit code."""
    skip_slow_imports()
    try:
        if "CREDENTIALS_DIRECTORY" in os.environ:
            from prodkit.cli.credentials import take_credentials

            take_credentials()
        cli.main(args=None if argv is None else list(argv), prog_name="prodkit", standalone_mode=True)
    except ProdkitError as error:
        click.echo(click.style("error ", fg="red", bold=True) + str(error), err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
