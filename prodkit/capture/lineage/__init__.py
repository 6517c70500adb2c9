"""What a cell reads and writes, seen without a line of the user's code: files, databases, addresses.

    with watch() as seen:
        frame = pd.read_parquet("tickets.parquet")
    seen.reads      # a DatasetRecord, named after the manifest's data source when it is one

Three things see: Python's audit hook (everything that opens a file in Python), wrappers of the readers and writers that
open files in C, Rust or C++ (pyarrow, polars, DuckDB), and the events of database drivers and HTTP clients. They are
installed once, and do nothing while no watch is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.capture.lineage import sight
from prodkit.capture.lineage.attribution import Attribution
from prodkit.capture.lineage.openlineage import run_event
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from prodkit.capture.lineage.attribution import Sighting
    from prodkit.capture.lineage.sight import Access
    from prodkit.manifest import Project
    from prodkit.records import DatasetRecord

__all__ = ["Watch", "run_event", "watch"]


class Watch:
    """Sees what this process reads and writes while it is open; watches may nest, each sees all.

    Args:
        project: whose manifest names the data sources; the one around the current directory by default.
        fingerprint: give each local file of up to 256 MiB the id of its bytes as digest; else, and for larger ones,
            the digest stands for path, size and time of change.
    """

    def __init__(self, project: Project | None = None, *, fingerprint: bool = True) -> None:
        self.project = project or find_project()
        self._accesses: dict[tuple[str, str], Access] = {}
        self._attribution = Attribution(self.project, fingerprint=fingerprint)

    def __enter__(self) -> Self:
        sight.install()
        sight.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sight.end(self)

    def note(self, access: Access) -> None:
        """Take down one access; what is known of the same source is put together."""
        key = (access.context, access.source)
        known = self._accesses.get(key)
        self._accesses[key] = access if known is None else known.joined(access)

    @property
    def reads(self) -> tuple[DatasetRecord, ...]:
        """What was read, one record for each data source of the manifest and each other place."""
        return self.look("input").records()

    @property
    def writes(self) -> tuple[DatasetRecord, ...]:
        """What was written and is still there."""
        return self.look("output").records()

    def look(self, context: str) -> Sighting:
        """What was read (`input`) or written (`output`), before the files are read for their ids."""
        return self._attribution.look(list(self._accesses.values()), context)

    @property
    def unattributed(self) -> tuple[DatasetRecord, ...]:
        """The reads that belong to no data source of the manifest: nobody has said whose data that is."""
        return tuple(record for record in self.reads if record.attributes.get("attributed") == "no")


def watch(project: Project | None = None, *, fingerprint: bool = True) -> Watch:
    """A context manager that sees what is read and written; see `Watch`."""
    return Watch(project, fingerprint=fingerprint)
