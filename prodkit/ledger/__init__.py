"""The ledger: redact, write to the durable journal, ship to MLflow. The only room that imports MLflow."""

from __future__ import annotations

from prodkit.ledger.ledger import FlushReport, Ledger

__all__ = ["FlushReport", "Ledger"]
