"""`%prodkit ...`: line commands. Each calls one act and shows what it gives."""

from __future__ import annotations

import atexit
import contextlib
import re
import shlex
import traceback
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, ParameterError, nearest
from prodkit.manifest import find_project
from prodkit.notebook import relay
from prodkit.notebook.always import AlwaysOn
from prodkit.notebook.cells import notebook_path
from prodkit.notebook.displays import usd
from prodkit.notebook.header import MAGIC
from prodkit.notebook.panels import open_panel
from prodkit.notebook.requests import RequestBrowser
from prodkit.notebook.tables import Table
from prodkit.records import RunSummary, now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from prodkit.notebook.cells import CellRuns
    from prodkit.notebook.widgets import Face

_PLACE = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+|\[\d+\])*)\}")


class Commands:
    """The line commands of one shell; each public method is one, its first docstring line is its help."""

    def __init__(self, shell: InteractiveShell, runs: CellRuns) -> None:
        self._shell, self._runs = shell, runs
        self._always: AlwaysOn | None = None
        self._servers = contextlib.ExitStack()

    def call(self, line: str) -> object:
        """Run one command line; without one, list the commands.

        Raises:
            ParameterError: `notebook.unknown-command` with the nearest name, or `notebook.words`.
        """
        words = _split(self._filled(line))
        if not words:
            return self._help()
        name, *rest = words
        if name in relay.COMMANDS:
            project = find_project()
            if name == "review":
                rest = self._with_session(rest)
            relay.relay(name, rest, notebook=notebook_path(self._shell.user_ns), root=project.root)
            return None
        if name not in self.names():
            fix = nearest(name, self.names())
            raise ParameterError("notebook.unknown-command", f"There is no command `%{MAGIC} {name}`.", fix=fix)
        command: Callable[[Sequence[str]], object] = getattr(self, name)
        return command(rest)

    @classmethod
    def names(cls) -> dict[str, str]:
        """Command -> what it does."""
        own = {n: _first_line(f) for n, f in vars(cls).items() if callable(f) and not n.startswith("_")}
        own = {name: text for name, text in own.items() if name not in {"call", "names", "close"}}
        return own | {name: text for name, (text, _) in relay.COMMANDS.items()}

    def status(self, words: Sequence[str]) -> Table:
        """Where things are written, whether MLflow answers, and what waits to be shipped."""
        _no_more(words, "status")
        from prodkit.ledger import Ledger

        project = find_project()
        problem = Ledger.open(project).problem
        rows = [
            ("project", project.root),
            ("manifest", project.manifest_path or "none; write one with `prodkit init`"),
            ("MLflow", project.tracking_uri.split("@")[-1]),
            ("experiment", project.experiment),
            ("capture", "every cell" if self._always else "cells with a prodkit header"),
            ("runs of this kernel", len(self._runs.history)),
        ]
        return Table("status", ("", ""), tuple(rows), (problem,) if problem else (), "warn" if problem else "plain")

    def on(self, words: Sequence[str]) -> None:
        """Capture every following cell; options as in a header, e.g. `%prodkit on --budget 0.10`."""
        from prodkit.notebook.header import parse

        self.off(())
        options = shlex.join(words)
        parse(f"%%{MAGIC} --name any {options}")  # a wrong option is said here, not in the next cell
        self._always = AlwaysOn(self._runs, options)
        self._shell.ast_transformers.append(self._always)

    def off(self, words: Sequence[str]) -> None:
        """Capture only cells with a header again."""
        _no_more(words, "off")
        if self._always in self._shell.ast_transformers:
            self._shell.ast_transformers.remove(self._always)
        self._always = None

    def costs(self, words: Sequence[str]) -> Table:
        """What this kernel's runs have cost, and what is left of the project's budgets."""
        _no_more(words, "costs")
        history = self._runs.history
        rows = [_cost_row(run) for run in history]
        total = sum((run.cost_usd for run in history), Decimal(0))
        unpriced = sum(run.unpriced for run in history)
        rows.append(("total", sum(run.calls for run in history), "", "", usd(total), unpriced or ""))
        heads = ("run", "calls", "tokens in", "tokens out", "cost", "unpriced calls")
        remarks = (*_balances(), *_second_opinion(history))
        return Table("costs of this kernel's runs", heads, tuple(rows), remarks)

    def panel(self, words: Sequence[str]) -> Face:
        """Open a widget: runs (with a stop button), costs, requests, contract NAME, owners, export."""
        return open_panel(words, self._runs, self._shell.user_ns)

    def requests(self, words: Sequence[str]) -> RequestBrowser:
        """Look through the captured prompts and answers of this kernel, and compare two."""
        _no_more(words, "requests")
        return RequestBrowser(self._runs)

    def contract(self, words: Sequence[str]) -> Table:
        """Draft a contract from a dataframe: `%prodkit contract infer FRAME [--to contracts/FRAME.odcs.yaml]`."""
        from prodkit.contracts import infer
        from prodkit.contracts.listing import lines

        name, target = _frame_and_target(words)
        frame = self._shell.user_ns.get(name)
        if frame is None:
            known = [key for key, value in self._shell.user_ns.items() if type(value).__name__ == "DataFrame"]
            fix = nearest(name, known) or "read the data in an earlier cell"
            raise ParameterError("notebook.no-frame", f"There is no dataframe `{name}`.", fix=fix)
        drafted = infer(frame, name)
        remarks = ["drafted from the data at hand: look at each rule before you rely on it"]
        if target is not None:
            _write_new(find_project().path(target), drafted.to_yaml())
            remarks.append(f"written to {target}")
        return Table(
            f"contract of {name}", ("column", "rule", "what", "rests on"), tuple(lines(drafted)), tuple(remarks)
        )

    def owners(self, words: Sequence[str]) -> Table:
        """Who answers for what, and what is wrong with that."""
        _no_more(words, "owners")
        from prodkit.ownership import check, matrix

        manifest = find_project().manifest
        wrong = [f"{one.what} ({one.fix})" if one.fix else one.what for one in check(manifest, today=now().date())]
        rows = tuple(
            (row.activity, *(", ".join(ids) for ids in (row.responsible, row.accountable, row.consulted, row.informed)))
            for row in matrix(manifest)
        )
        heads = ("activity", "R does it", "A answers for it", "C is asked", "I is told")
        return Table("owners", heads, rows, tuple(wrong), "warn" if wrong else "good")

    def ui(self, words: Sequence[str]) -> Table:
        """Start the MLflow UI on loopback, at the latest run; it stops with the kernel."""
        _no_more(words, "ui")
        from prodkit.ledger.ui import serve

        server = self._servers.enter_context(serve(find_project()))
        atexit.register(self.close)
        return Table("MLflow UI", remarks=(server.url,))

    def traceback(self, words: Sequence[str]) -> None:
        """Show the whole traceback of the last error."""
        _no_more(words, "traceback")
        error = self._runs.last_error
        if error is None:
            raise ParameterError("notebook.no-error", "No cell has failed so far.")
        print("".join(traceback.format_exception(error)))  # noqa: T201  what was asked for

    def close(self) -> None:
        """Stop what was started."""
        self._servers.close()
        self.off(())

    def _with_session(self, words: list[str]) -> list[str]:
        """`%prodkit review` without a run is about this notebook's own, as far as it has come."""
        if any(not word.startswith("-") for word in words[:1]) or "--help" in words:
            return words
        from prodkit.ledger import Ledger

        Ledger.open(find_project()).flush(10.0)
        run_id = self._runs.session_run_id
        if not run_id:
            fix = "run a cell below a prodkit header first, or name a run: `%prodkit runs` lists them"
            raise ParameterError("notebook.no-run", "Nothing of this notebook is in MLflow yet.", fix=fix)
        return [run_id, *words]

    def _filled(self, line: str) -> str:
        """The line with `{name}`, `{name.attribute}` and `{name[0]}` replaced by their values, as in other magics.

        Only such names: what IPython itself expands would take the braces of a JSON parameter for an expression.
        """
        return _PLACE.sub(lambda place: _value(self._shell, place), line)

    def _help(self) -> Table:
        rows = tuple((f"%{MAGIC} {name}", text) for name, text in self.names().items())
        return Table(f"%{MAGIC} commands", ("command", "what it does"), rows, (f"%%{MAGIC}? tells of the cell magic",))


def _value(shell: InteractiveShell, place: re.Match[str]) -> str:
    try:
        return str(shell.ev(place[1]))
    except (AttributeError, IndexError, NameError):
        return place[0]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ParameterError("notebook.words", f"The line can't be split into words: {error}.", where=line) from None


def _no_more(words: Sequence[str], name: str) -> None:
    if words:
        what = f"`%{MAGIC} {name}` takes no `{words[0]}`."
        raise ParameterError("notebook.words", what, fix=f"write `%{MAGIC} {name}`")


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


def _cost_row(run: RunSummary) -> tuple[object, ...]:
    known = [("not known" if tokens is None else f"{tokens:,}") for tokens in (run.input_tokens, run.output_tokens)]
    return (run.name, run.calls, *known, usd(run.cost_usd), run.unpriced or "")


def _balances() -> list[str]:
    from prodkit.budget import Scopes
    from prodkit.stores import budgets_of

    balances = budgets_of(find_project()).balances(Scopes())
    return [
        f"{balance.scope}: {usd(balance.spent)} spent of {usd(balance.limit)}"
        for balance in balances
        if balance.limit is not None
    ]


def _second_opinion(history: Sequence[RunSummary]) -> list[str]:
    """MLflow's own figure, where it has another one for the calls that it has got so far."""
    from prodkit.ledger import Ledger

    opinion = Ledger.open(find_project()).second_opinion([run.run_id for run in history if run.run_id])
    if not opinion.differing:
        return []
    calls = "1 call" if opinion.differing == 1 else f"{opinion.differing} calls"
    return [f"MLflow says {usd(opinion.theirs)} instead of {usd(opinion.ours)}: its own prices differ for {calls}"]


def _frame_and_target(words: Sequence[str]) -> tuple[str, str | None]:
    match list(words[1:] if words[:1] == ["infer"] and len(words) > 1 else words):  # as on the command line
        case [name]:
            return name, None
        case [name, "--to", target]:
            return name, target
    fix = f"write `%{MAGIC} contract FRAME`, or `%{MAGIC} contract FRAME --to contracts/FRAME.odcs.yaml`"
    raise ParameterError("notebook.words", "The command takes the name of a dataframe.", fix=fix)


def _write_new(path: Path, text: str) -> None:
    """Write a file that isn't there yet: somebody may have worked on the one that is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fix = "choose another name, or remove the file first"
        raise ConfigError("notebook.exists", "The contract is there already.", where=str(path), fix=fix) from None
