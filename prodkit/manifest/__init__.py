"""prodkit.yaml: one file that a reviewer reads top to bottom, and the project that it makes of a folder."""

from prodkit.manifest.load import load, parse
from prodkit.manifest.model import Manifest
from prodkit.manifest.project import Project, find_project

__all__ = ["Manifest", "Project", "find_project", "load", "parse"]
