"""What an editor makes of a captured cell: below the comment form it completes and checks as in any Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import jedi
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = "import json\n\ntotal: int = json.dumps(1)\njson.dum"
COMMENT = f"#| prodkit: name=sort budget=0.50\n{BODY}"
MAGIC = f"%%prodkit --name sort --budget 0.50\n{BODY}"
END = {"line": 4, "character": len("json.dum")}


def test_jedi_reads_on_below_the_comment() -> None:
    """The engine of jedi-language-server, pylsp and IPython finds no fault in the comment form, and completes in it; to
    it the magic is a syntax error.
    """
    script = jedi.Script(COMMENT)
    assert script.get_syntax_errors() == []
    assert [found.name for found in script.complete(5, END["character"])] == ["dump", "dumps"]
    assert jedi.Script(MAGIC).get_syntax_errors()[0].line == 1


class Server:
    """pyright over its language server's protocol, on one document."""

    def __init__(self, command: str, root: Path) -> None:
        self._process = subprocess.Popen([command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._number, self._root = 0, root.as_uri()
        self.ask("initialize", {"processId": None, "rootUri": self._root, "capabilities": {}})
        self._send({"method": "initialized", "params": {}})

    def open(self, name: str, text: str) -> str:
        """Open a document; its address."""
        uri = f"{self._root}/{name}"
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        return uri

    def faults(self, uri: str) -> list[tuple[int, str]]:
        """Line and rule of what it finds wrong, as it publishes it."""
        for message in self._heard():
            told = message.get("params") or {}
            if message.get("method") == "textDocument/publishDiagnostics" and told["uri"] == uri:
                return [(one["range"]["start"]["line"], str(one.get("code", "syntax"))) for one in told["diagnostics"]]
        raise AssertionError("it said nothing")

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """A question and its answer."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        return next(one["result"] for one in self._heard() if one.get("id") == self._number and "method" not in one)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate(timeout=20)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _heard(self) -> Iterator[dict[str, Any]]:
        while header := self._process.stdout.readline():
            length = int(header.split(b":")[1])
            while self._process.stdout.readline().strip():
                pass
            message = json.loads(self._process.stdout.read(length))
            if message.get("method") and "id" in message:  # its own questions, of settings
                self._send({"id": message["id"], "result": [None] * len(message.get("params", {}).get("items", ()))})
            yield message


def test_pyright_checks_and_completes_below_the_comment(tmp_path: Path) -> None:
    """pyright, on which VS Code's own server for Python is built, completes a cell of the comment form and finds its one
    wrong type; of the magic's line it makes syntax errors.
    """
    command = shutil.which("pyright-langserver")
    if command is None:
        pytest.skip("pyright isn't installed: npm install pyright")
    server = Server(command, tmp_path)
    try:
        comment = server.open("comment.py", COMMENT)
        found = server.faults(comment)
        assert (3, "reportAssignmentType") in found
        assert all(line > 0 for line, _ in found)
        offered = server.ask("textDocument/completion", {"textDocument": {"uri": comment}, "position": END})
        assert {"dump", "dumps"} <= {item["label"] for item in offered["items"]}
        assert 0 in [line for line, _ in server.faults(server.open("magic.py", MAGIC))]
    finally:
        server.close()
