"""nbclient's handling of a kernel's messages, with a cap on outputs and values that must not be written masked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbclient import NotebookClient
from nbformat.v4 import new_output

from prodkit.jobs.spent import AskingClient, spent_in
from prodkit.redaction import secrets_only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nbformat import NotebookNode

    from prodkit.jobs.kernel import Kernel
    from prodkit.jobs.spent import Spent

IOPUB_TIMEOUT = 30
MASK = "[secret]"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class CellClient(NotebookClient):
    """Runs single cells in a kernel that somebody else started.

    Args:
        nb: the notebook whose cells it runs.
        kernel: a started kernel.
        output_cap: bytes of output that a cell keeps; what comes after is dropped, and the cell says so.
        mask: values that are replaced in every output, e.g. those of secrets.
        on_output: called with each kept output, and `None` for a message that isn't one.
    """

    def __init__(
        self,
        nb: NotebookNode,
        kernel: Kernel,
        *,
        output_cap: int,
        mask: tuple[str, ...] = (),
        on_output: Callable[[NotebookNode | None], None] | None = None,
        on_changed: Callable[[NotebookNode], None] | None = None,
    ) -> None:
        super().__init__(nb, km=kernel.manager, raise_on_iopub_timeout=True, iopub_timeout=IOPUB_TIMEOUT)
        self.kc = AskingClient(kernel.client)
        self.on_cell_executed = self._note_reply
        self.spent: Spent | None = None  # what the kernel's process had spent after the last cell that succeeded
        self._cap, self._mask, self._on_output, self._on_changed = output_cap, mask, on_output, on_changed
        self._kept = self._dropped = 0

    async def run(self, cell: NotebookNode, index: int) -> None:
        """Run one cell; its outputs are in place when this returns or raises."""
        self._kept = self._dropped = 0
        try:
            await self.async_execute_cell(cell, index)
        finally:
            self._settle(cell)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """One message of the kernel."""
        if self._mask:
            msg["content"] = masked(msg["content"], self._mask)
        if _is_said_by_an_error(msg):
            msg["content"] = _without_secrets(msg["content"])
        if not self._fits(msg):
            return None
        output = super().process_message(msg, cell, cell_index)
        if self._on_output is not None:
            self._on_output(output)
        return output

    def _fits(self, msg: dict[str, Any]) -> bool:
        """Count a message; of a stream's text, which may come as one large piece, what still fits is kept."""
        size, room = _size(msg), self._cap - self._kept
        if size > room:
            kept = room if msg["msg_type"] == "stream" else 0
            self._dropped += size - kept
            if not kept:
                return False
            msg["content"] = {**msg["content"], "text": msg["content"]["text"][:kept]}
            size = kept
        self._kept += size
        return True

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        super()._update_display_id(display_id, msg)
        if self._on_changed is not None:
            for index in self._display_id_map.get(display_id, {}):
                self._on_changed(self.nb["cells"][index])

    def _note_reply(self, *, execute_reply: dict[str, Any], **_: Any) -> None:
        self.spent = spent_in(execute_reply) or self.spent

    def _settle(self, cell: NotebookNode) -> None:
        cell.outputs = joined(cell.outputs)
        if self._dropped:
            said = f"\n[prodkit] outputs beyond {self._cap:,} bytes were dropped ({self._dropped:,} bytes).\n"
            cell.outputs.append(new_output("stream", name="stderr", text=said))


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of one stream become one output; nothing changes its order."""
    kept: list[NotebookNode] = []
    pieces: list[str] = []
    for output in outputs:
        same = bool(kept) and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name
        if not same and pieces:
            kept[-1]["text"], pieces = "".join(pieces), []
        if not same:
            kept.append(output)
        if output.output_type == "stream":
            pieces.append(output.text)
    if pieces:
        kept[-1]["text"] = "".join(pieces)
    return kept


def masked(value: Any, secrets: tuple[str, ...]) -> Any:
    """A copy of a JSON-able value in which no string holds one of the secrets."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, dict):
        return {masked(key, secrets): masked(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, secrets) for item in value]
    return value


def _is_said_by_an_error(msg: Mapping[str, Any]) -> bool:
    """A traceback, or what went to stderr: nobody's result, and where libraries write down requests with their keys."""
    return msg["msg_type"] == "error" or (msg["msg_type"] == "stream" and msg["content"].get("name") == "stderr")


def _without_secrets(value: Any) -> Any:
    """A copy of a message's content without what looks like a key or a password; colours go with it from that text."""
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if not isinstance(value, str):
        return value
    plain = _COLOUR.sub(
        "", value
    )  # the letter that ends a colour would make the secret behind it part of a longer word
    cleaned = str(secrets_only().clean(plain).value)
    return value if cleaned == plain else cleaned


def _size(msg: Mapping[str, Any]) -> int:
    """Bytes (of text, roughly) that an output message would add to the notebook; 0 for other messages."""
    content = msg["content"]
    if msg["msg_type"] == "stream":
        return len(content["text"])
    if msg["msg_type"] in {"display_data", "execute_result", "update_display_data"}:
        return sum(len(item) if isinstance(item, str) else len(str(item)) for item in content["data"].values())
    return 0  # errors are always kept
