"""The journal alone: what is acknowledged stays, whoever dies, and every manipulation is found."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from prodkit.errors import ConfigError
from prodkit.ledger import chain
from prodkit.ledger.checkpoints import claims_of, take_checkpoint
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
from prodkit.ledger.segments import list_segments, read_lines
from prodkit.ledger.verify import Claim, verify_journal


@pytest.fixture
def places(tmp_path):
    made = Places(tmp_path / ".prodkit")
    made.make()
    return made


@pytest.fixture
def open_journal(places):
    opened = []

    def make(**options):
        opened.append(Journal(places, Keyring(places.keys), **options))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal):
    return open_journal()


def lines(places):
    return [line for segment in list_segments(places.journal) for _, line in read_lines(segment.path)]


def kinds(places, witnesses=()):
    return [flaw.kind for flaw in verify_journal(places.journal, witnesses).flaws]


def fill(journal, count=5):
    for number in range(count):
        journal.append("call", {"number": number}, {"prompt": f"words {number}"}, "ada")


def only_segment(places):
    (segment,) = list_segments(places.journal)
    return segment.path


def test_records_are_read_back_in_their_order(journal, places):
    """What was appended is read back, in order, each hanging on the one before."""
    fill(journal)
    entries = [chain.decode(line) for line in lines(places)]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [entry.public["number"] for entry in entries[1:]] == [0, 1, 2, 3, 4]
    assert all(entry.prev == before.hash for before, entry in itertools.pairwise(entries))


def test_content_is_unreadable_without_its_key(journal, places):
    """Content stands in no file in the clear, and comes back with the subject's key."""
    fill(journal, 1)
    assert b"words 0" not in only_segment(places).read_bytes()
    entry = chain.decode(lines(places)[-1])
    assert Keyring(places.keys).open(entry.keys, entry.sealed) == {"prompt": "words 0"}


def test_erasing_a_person_removes_content_and_leaves_the_chain_whole(journal, places):
    """After an erasure nobody can read the content, other people's stays, and the journal verifies."""
    journal.append("call", {}, {"prompt": "ada's"}, "ada")
    journal.append("call", {}, {"prompt": "bob's"}, "bob")
    keyring = Keyring(places.keys)
    assert keyring.erase("ada") == 1

    ada, bob = (chain.decode(line) for line in lines(places)[-2:])
    assert keyring.open(ada.keys, ada.sealed) is None
    assert keyring.erased(ada.keys[0])
    assert keyring.open(bob.keys, bob.sealed) == {"prompt": "bob's"}
    assert verify_journal(places.journal).ok


def test_another_process_notices_an_erasure_at_once(journal, places):
    """A keyring that has a key in memory stops using it when somebody else erases it."""
    mine = Keyring(places.keys)
    keys, sealed = mine.seal({"a": 1}, ("ada",))
    Keyring(places.keys).erase("ada")
    assert mine.open(keys, sealed) is None
    fresh_keys, _ = mine.seal({"a": 2}, ("ada",))
    assert fresh_keys != keys


def test_content_of_two_people_goes_with_either(places):
    """What two people share can't be read once either is erased."""
    keyring = Keyring(places.keys)
    keys, sealed = keyring.seal("shared", ("ada", "bob"))
    assert keyring.open(keys, sealed) == "shared"
    keyring.erase("bob")
    assert keyring.open(keys, sealed) is None


def test_keys_and_journal_belong_to_their_owner_alone(journal, places):
    """Other users of the machine can read neither keys nor journal."""
    fill(journal, 1)
    _ = Keyring(places.keys).signing_key
    for path in [*places.keys.iterdir(), *places.journal.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert places.keys.stat().st_mode & 0o077 == 0


MANIPULATIONS = {
    "edited": lambda text: [text[0], text[1].replace(b'"number":0', b'"number":9'), *text[2:]],
    "edited-ciphertext": lambda text: [*text[:2], text[2].replace(b'"sealed":"', b'"sealed":"AAAA'), *text[3:]],
    "deleted": lambda text: [*text[:2], *text[3:]],
    "reordered": lambda text: [*text[:2], text[3], text[2], *text[4:]],
    "inserted": lambda text: [*text[:3], text[2], *text[3:]],
    "forged": lambda text: [*text[:2], forge(text[2]), *text[3:]],
    "garbage": lambda text: [*text[:2], b"not json\n", *text[3:]],
    "blank line": lambda text: [*text[:2], b"\n", *text[2:]],
}


def forge(line):
    """A line whose own hash is right again after an edit."""
    body = json.loads(line)["body"]
    body["public"]["number"] = 77
    raw = json.dumps(body, separators=(",", ":")).encode()
    from hashlib import sha256

    return b'{"hash":"%s","body":%s}\n' % (sha256(raw).hexdigest().encode(), raw)


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_every_manipulation_is_found(journal, places, name):
    """An edited, deleted, reordered, inserted or forged record makes verify fail."""
    fill(journal)
    path = only_segment(places)
    path.write_bytes(b"".join(MANIPULATIONS[name](path.read_bytes().splitlines(keepends=True))))

    outcome = verify_journal(places.journal)
    assert not outcome.ok
    if name in {"edited", "deleted", "reordered"}:
        assert name in {flaw.kind for flaw in outcome.flaws}


def test_one_edit_is_reported_once(journal, places):
    """The record behind an edited one isn't blamed too."""
    fill(journal)
    path = only_segment(places)
    path.write_bytes(b"".join(MANIPULATIONS["edited"](path.read_bytes().splitlines(keepends=True))))
    assert [(flaw.kind, flaw.record) for flaw in verify_journal(places.journal).flaws] == [("edited", 2)]


@pytest.mark.parametrize("what", ["end", "everything", "stream", "rewritten"])
def test_a_checkpoint_shows_what_a_chain_cannot(journal, places, what):
    """Cutting off the end, deleting it all, or writing all of it anew is found with a checkpoint from elsewhere."""
    fill(journal)
    keyring = Keyring(places.keys)
    checkpoint = take_checkpoint(places.journal, keyring)
    claims, flaws = claims_of([("kept", checkpoint.to_json())], checkpoint.key)
    assert not flaws
    assert kinds(places, claims) == []
    path = only_segment(places)
    whole = path.read_bytes().splitlines(keepends=True)
    if what == "end":
        path.write_bytes(b"".join(whole[:-2]))
    elif what == "everything":
        path.write_bytes(b"")
    elif what == "stream":
        path.unlink()
    else:
        journal.close()
        shutil.rmtree(places.journal)
        places.make()
        again = Journal(places, keyring)
        fill(again, 8)
        again.close()

    assert set(kinds(places, claims)) & {"truncated", "edited"}


def test_a_forged_checkpoint_is_not_believed(journal, places):
    """A checkpoint with changed heads, or signed by another key, is named as forged."""
    fill(journal)
    checkpoint = take_checkpoint(places.journal, Keyring(places.keys))
    text = checkpoint.to_json().replace('"0001"', '"0002"')
    for forged, key in ((text, checkpoint.key), (checkpoint.to_json(), "00" * 32), ("{}", checkpoint.key)):
        claims, flaws = claims_of([("x", forged)], key)
        assert [flaw.kind for flaw in flaws] == ["signature"]
        assert claims == []


def test_a_lost_stream_is_missed_by_the_streams_opened_after_it(open_journal, places):
    """Each process notes the heads of the others when it begins, so a deleted stream is found without checkpoint."""
    first, second = open_journal(), open_journal()
    fill(first)
    fill(second)
    lost = list_segments(places.journal)[0].path
    lost.unlink()
    assert "truncated" in kinds(places)


def test_a_deleted_segment_in_the_middle_is_found(open_journal, places):
    """A segment file that is gone is named."""
    journal = open_journal(segment_bytes=500)
    fill(journal, 6)
    segments = list_segments(places.journal)
    assert len(segments) > 3
    assert kinds(places) == []
    segments[1].path.unlink()
    assert "deleted" in kinds(places)


def test_streams_that_are_swapped_are_found(open_journal, places):
    """Two streams whose files changed names don't pass for each other."""
    first, second = open_journal(), open_journal()
    fill(first)
    fill(second)
    one, two = (segment.path for segment in list_segments(places.journal))
    spare = one.with_suffix(".tmp")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)
    assert "reordered" in kinds(places)


def test_a_torn_last_line_is_explained_and_the_next_process_goes_on(open_journal, places):
    """A line that a dying process left unfinished is noted, kept as it is, and the journal stays whole."""
    journal = open_journal()
    fill(journal)
    journal.close()
    path = only_segment(places)
    path.write_bytes(path.read_bytes() + b'{"hash":"00')
    assert kinds(places) == ["torn"]
    assert verify_journal(places.journal).ok

    again = open_journal()
    fill(again, 2)
    assert again.head == ("0001", 9)
    assert kinds(places) == []
    path.write_bytes(path.read_bytes() + b"more")
    assert "edited" in kinds(places)


def test_a_clock_that_goes_back_is_a_note(open_journal, places, monkeypatch):
    """The order of the records counts, not their clock; that it went back is said."""
    from datetime import UTC, datetime

    first = open_journal()
    fill(first, 1)
    first.close()
    monkeypatch.setattr("prodkit.ledger.journal.now", lambda: datetime(2001, 1, 1, tzinfo=UTC))
    second = open_journal()
    fill(second, 1)
    outcome = verify_journal(places.journal)
    assert [flaw.kind for flaw in outcome.flaws] == ["clock"]
    assert outcome.ok


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(places):
    """When the disk takes no more, the record is refused with a fix, and the journal stays whole."""
    script = f"""
import resource, sys
from pathlib import Path
from prodkit.errors import ConfigError
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
places = Places(Path({str(places.state)!r}))
journal = Journal(places, Keyring(places.keys))
journal.append("call", {{}}, "first", "ada")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
written = 1
try:
    while True:
        journal.append("call", {{"n": written}}, "x" * 700, "ada")
        written += 1
except ConfigError as error:
    print(written, error.code)
try:
    journal.append("call", {{}}, "y" * 9000, "ada")
except ConfigError as error:
    print(error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # somebody makes room
journal.append("call", {{}}, "z", "ada")
print(written + 1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert first.endswith("ledger.unwritable")
    assert second == "ledger.unwritable"
    outcome = verify_journal(places.journal)
    assert outcome.flaws == ()
    assert outcome.records == int(third) + 1  # and the opening


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_error(tmp_path):
    """A state folder that can't be written stops the call with one error that says where."""
    places = Places(tmp_path / "fixed" / ".prodkit")
    places.make()
    script = (
        "from pathlib import Path; from prodkit.ledger.journal import Journal; from prodkit.ledger.keys import Keyring;"
        f"from prodkit.ledger.places import Places; p = Places(Path({str(places.state)!r}));"
        "Journal(p, Keyring(p.keys)).append('call', {})"
    )
    for path in (places.journal, places.state):
        path.chmod(0o555)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    command = [sys.executable, "-c", script]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--clear-groups", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    places.state.chmod(0o755)
    assert done.returncode == 1
    assert "[ledger.unwritable]" in done.stderr


def write_records(state, count):
    places = Places(state)
    journal = Journal(places, Keyring(places.keys))
    fill(journal, count)
    journal.close()


def test_processes_that_write_together_never_tear_each_others_lines(places):
    """Four processes at once lose nothing, and their journal verifies."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_records, args=(places.state, 50)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    outcome = verify_journal(places.journal)
    assert outcome.flaws == ()
    calls = [entry for entry in map(chain.decode, lines(places)) if entry.kind == "call"]
    assert len(calls) == 200


def test_a_forked_child_writes_a_stream_of_its_own(journal, places):
    """A child process doesn't go on in its parent's stream; both verify."""
    fill(journal, 3)
    pid = os.fork()
    if pid == 0:
        try:
            fill(journal, 3)
            os._exit(0 if journal.head[0] == "0002" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fill(journal, 3)
    outcome = verify_journal(places.journal)
    assert (outcome.flaws, outcome.streams, outcome.records) == ((), 2, 11)


def test_threads_share_one_stream_and_one_fsync(journal, places):
    """Many threads write at once, each waits for the disk, and the chain is whole."""

    def work():
        for number in range(20):
            journal.append("call", {"number": number}, None).durable()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome = verify_journal(places.journal)
    assert (outcome.flaws, outcome.records) == ((), 321)


def append_until_killed(places, by, delay):
    """Fork a process that appends as fast as it can, kill it with SIGKILL; the last number that it acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            journal = Journal(places, Keyring(places.keys), segment_bytes=20_000)
            number = 0
            while True:
                number += 1
                journal.append("call", {"number": number, "by": by}, "x" * 300, "ada")
                os.write(writing, b"%d\n" % number)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        first = pipe.readline()
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return int(([first, *pipe.readlines()])[-1])


def test_thirty_kills_lose_no_acknowledged_record(places):
    """A process that is killed with SIGKILL in the middle of writing, thirty times, has lost nothing it acknowledged."""
    acknowledged = {by: append_until_killed(places, by, 0.002 * (by % 10)) for by in range(30)}

    outcome = verify_journal(places.journal)
    assert outcome.ok, outcome.flaws
    held = {}
    for entry in map(chain.decode, lines(places)):
        if entry.kind == "call":
            held[entry.public["by"]] = entry.public["number"]
    assert all(held[by] >= number for by, number in acknowledged.items())
    assert outcome.streams == 1


def test_the_shipping_cursor_is_a_witness_too(journal, places):
    """When fewer records are there than have been shipped, the end was cut off."""
    fill(journal)
    last = chain.decode(lines(places)[-1])
    witness = Claim(last.stream, last.seq + 3, "ab" * 32, "the shipping cursor")
    assert kinds(places, [witness]) == ["truncated"]


def test_a_key_that_was_swapped_is_one_clear_error(places):
    """With another project's key the journal's content stays closed, with an error that says what to do."""
    keyring = Keyring(places.keys)
    keys, sealed = keyring.seal("words", ("ada",))
    (places.keys / "project.key").write_bytes(b"0" * 32)
    with pytest.raises(ConfigError, match=r"ledger\.wrong-key"):
        Keyring(places.keys).open(keys, sealed)
