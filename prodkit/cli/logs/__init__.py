"""Runs told to machines: one line an event to stderr, as JSON or as plain text; `docs/operations.md` describes them."""

from prodkit.cli.logs.log import LOG_FORMAT, LOG_OUTPUT, Log
from prodkit.cli.logs.runs import RunLog, log_beat, log_fanout_end, log_item, run_logged

__all__ = ["LOG_FORMAT", "LOG_OUTPUT", "Log", "RunLog", "log_beat", "log_fanout_end", "log_item", "run_logged"]
