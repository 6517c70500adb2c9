"""Each way in which a notebook reads data, tried here and now, and what lineage sees of it: prints a table in Markdown.

    python tests/benchmarks/read_paths.py

The ways are those of `tests/lineage`; ends with 1 when one of them isn't seen as exactly one read of what was read.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import tempfile
import threading
import warnings
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.capture.lineage import watch
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1] / "lineage"


def load(name: str) -> Any:
    """A module of the tests."""
    spec = importlib.util.spec_from_file_location(f"lineage_{name}", TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tried(read: Callable[[], object], expected: str, project: Any) -> tuple[bool, str]:
    """Whether a read is seen as itself alone, and how it was seen."""
    try:
        with watch(project) as seen:
            read()
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"[:80]
    sources = [record.source for record in seen.reads]
    if sources != [expected] or seen.writes:
        return False, f"{sources} {[record.source for record in seen.writes]}"
    [record] = seen.reads
    known = [f"{record.rows} rows"] * (record.rows is not None) + [f"{len(record.columns)} columns"] * bool(
        record.columns
    )
    return True, f"{record.attributes['seen_by']} {', '.join(known)}".strip()


def main() -> int:
    """Try all ways; the exit code."""
    warnings.simplefilter("ignore")
    files, services, samples = load("test_read_paths"), load("test_services"), load("conftest")
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), services._Handler) as server:
        root = Path(folder).resolve()
        made, here = root / "samples", root / "project"
        made.mkdir()
        here.mkdir()
        samples.make_samples(made)
        (here / "prodkit.yaml").write_text("service: {name: read-paths}\n")
        os.chdir(here)
        project = find_project(here)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site = f"http://127.0.0.1:{server.server_port}/data.csv"
        ways = [
            (way, name, str(made / name), functools.partial(read, made / name))
            for way, (name, read) in files.READS.items()
        ]
        for way, (name, read) in files.STATEMENTS.items():
            dialect = "duckdb" if name.endswith(".duckdb") else "sqlite"
            ways.append((way, f"{name}#data", f"{dialect}://{made / name}#data", functools.partial(read, made / name)))
        ways += [
            (f"{way} over HTTP", "data.csv", site, functools.partial(get, f"{site}?key=x"))
            for way, get in services.GETS.items()
        ]
        print("| way to read | what | seen | by, and what is known |\n|---|---|---|---|")
        missed = 0
        for way, name, expected, read in ways:
            ok, how = tried(read, expected, project)
            missed += not ok
            print(f"| {way} | {name} | {'yes' if ok else 'NO'} | {how} |")
        server.shutdown()
        thread.join()
    print(f"\n{len(ways) - missed} of {len(ways)} ways are seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
