"""Finds the files of `templates/`: inside the package when installed, at the repository's root in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).parent


def folder() -> Path:
    """The folder that holds the templates."""
    installed = _PACKAGE / "_templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "templates"


def environment() -> Environment:
    """A strict jinja environment over the templates: an undefined name is an error; HTML is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FileSystemLoader(folder()),
        autoescape=select_autoescape(["html", "html.j2", "svg", "svg.j2"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, /, **values: object) -> str:
    """Render one template."""
    return environment().get_template(template).render(**values)
