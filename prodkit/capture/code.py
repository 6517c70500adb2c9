"""Which code ran: the cell's source, the notebook's file, the commit of its checkout."""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

_GIT_SECONDS = 5.0


def describe(root: Path, notebook: Path | None) -> dict[str, str]:
    """Tags that say what code ran: version, commit, and the notebook's path and hash. What isn't known is left out."""
    tags = {"prodkit.version": _version(), "prodkit.python": sys.version.split()[0]}
    commit, dirty = commit_of(root)
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "prodkit.git_dirty": str(dirty).lower()}
    if notebook is not None:
        tags["prodkit.notebook"] = _relative(notebook, root)
        content = _hash(notebook)
        if content:
            tags["prodkit.notebook_sha256"] = content
    return tags


def commit_of(root: Path) -> tuple[str, bool]:
    """The checkout's commit, and whether files differ from it; empty where there is no git."""
    commit = _git(root, "rev-parse", "HEAD")
    return (commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))) if commit else ("", False)


def names_used(code: str) -> list[str]:
    """The names that a piece of code reads, in their order; what can't be parsed (magics) is cut out line by line."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        kept = [line for line in code.splitlines() if not line.lstrip().startswith(("%", "!", "?"))]
        try:
            tree = ast.parse("\n".join(kept))
        except SyntaxError:
            return []
    return list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def body_at(frame: FrameType) -> str:
    """The source of the `with` statement that a frame is at; empty where there is none to be read."""
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return ""
    at = frame.f_lineno
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith)
        and node.lineno <= at <= (node.body[0].lineno if node.body else at)
    ]
    if not found:
        return ""
    innermost = max(found, key=lambda node: node.lineno)
    return ast.unparse(ast.Module(body=innermost.body, type_ignores=[]))


@functools.cache
def _version() -> str:
    try:
        return metadata.version("prodkit")
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return "unknown"


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _relative(path: Path, root: Path) -> str:
    try:
        return str(path.resolve().relative_to(root))
    except ValueError:
        return path.name


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
