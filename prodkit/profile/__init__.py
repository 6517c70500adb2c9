"""What a dataset looks like, in numbers, and what has moved since the last time.

A profile holds counts, quantiles and the names of frequent categories, and of personal columns only counts: it can be
kept and shown where the data itself can't.
"""

from __future__ import annotations

from prodkit.profile.columns import ColumnProfile, Profile, as_arrow, profile
from prodkit.profile.drift import Drift, Shift, drift
from prodkit.profile.history import History

__all__ = ["ColumnProfile", "Drift", "History", "Profile", "Shift", "as_arrow", "drift", "profile"]
