"""One record among many: found by its bytes, in the segments that can hold it, and never in a broken line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prodkit.ledger import finding
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
from prodkit.ledger.segments import list_segments
from prodkit.records import new_id, now


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Three segments, of 20 days ago, 10 days ago and now, each with three calls and a note."""
    places = Places(tmp_path / ".prodkit")
    places.make()
    journal = Journal(places, Keyring(places.keys))
    ids = []
    for days in (20, 10, 0):
        monkeypatch.setattr("prodkit.ledger.journal.now", lambda days=days: now() - timedelta(days=days))
        for _ in range(3):
            ids.append(new_id("req"))
            journal.append("call", {"request_id": ids[-1], "days": days}, "secret")
        journal.append("note", {"days": days, "said": f'"request_id":"{ids[-1]}"'})
        journal.close()
    return places.journal, ids


def find(folder, request_id, since=None):
    return finding.find_entry(folder, "call", f'"request_id":"{request_id}"', since)


def test_every_record_is_found_wherever_it_stands(filled):
    """First, last and middle ones; what only mentions an id, and an id that isn't there, are not taken for one."""
    folder, ids = filled
    assert [find(folder, one).public["request_id"] for one in ids] == ids
    assert find(folder, new_id("req")) is None
    assert find(folder, ids[0][:-1]) is None


def test_segments_that_had_ended_before_are_not_read(filled, monkeypatch):
    """What is sought since some moment costs no look at what is older; where the clock was wrong, it is found still."""
    folder, ids = filled
    looked = []
    whole = finding._lines_with
    monkeypatch.setattr(finding, "_lines_with", lambda path, mark: looked.append(path.name) or whole(path, mark))
    assert find(folder, ids[-1], now() - timedelta(days=1)).public["days"] == 0
    assert len(looked) == 1
    assert find(folder, ids[0], now() - timedelta(days=1)).public["days"] == 20


def test_a_changed_record_is_not_shown(filled):
    """A line that isn't what was written counts as none."""
    folder, ids = filled
    path = list_segments(folder)[0].path
    path.write_bytes(path.read_bytes().replace(b'"days":20', b'"days":21', 1))
    assert find(folder, ids[0]) is None
    assert find(folder, ids[1]) is not None


def test_rare_kinds_are_read_in_one_pass(filled):
    """All records of some kinds, since some moment or from the beginning on."""
    folder, _ = filled
    assert [one.public["days"] for one in finding.rare_entries(folder, ("note",))] == [20, 10, 0]
    assert [one.public["days"] for one in finding.rare_entries(folder, ("note",), now() - timedelta(days=15))] == [
        10,
        0,
    ]
    assert sum(1 for _ in finding.rare_entries(folder, ("call", "note"))) == 12


def test_ids_say_when_they_were_made():
    """An id of ours gives its moment; any other text gives none."""
    assert abs(finding.time_of(new_id("run")) - now()) < timedelta(seconds=5)
    assert finding.time_of("job-2") is None
    assert finding.time_of("") is None
