"""How large things are and how fast they grow, by part; with samples of days, and without."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.ledger import growth
from prodkit.ledger.journal import Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
from prodkit.records import now


@pytest.fixture
def places(project):
    found = Places(project.state)
    found.make()
    return found


def test_every_byte_is_some_parts(places):
    """Each file counts once, to the part that it belongs to; what nobody knows is `other`."""
    for name, size in (("artifacts/r/a/x", 7), ("cache/answers.db", 5), ("mlflow.db-wal", 3), ("strange/x", 2)):
        path = places.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    parts = growth.weigh(places.state)
    parts["mlflow"] -= (places.state / "mlflow.db").stat().st_size
    assert {name: parts[name] for name in ("artifacts", "answers", "mlflow", "other")} == {
        "artifacts": 7, "answers": 5, "mlflow": 3, "other": 2,
    }  # fmt: skip
    assert sum(growth.weigh(places.state).values()) == sum(
        path.stat().st_size for path in places.state.rglob("*") if path.is_file()
    )


def test_growth_is_the_difference_to_a_sample(places, monkeypatch):
    """With a sample of ten days ago, growth over 30 days is what came since, and over 7 days what the later one says."""
    (places.state / "ui.log").write_bytes(b"x" * 1000)
    for days, size in ((10, 0), (5, 500)):
        (places.state / "ui.log").write_bytes(b"x" * size)
        with monkeypatch.context() as patch:
            patch.setattr(growth, "now", lambda days=days: now() - timedelta(days=days))
            growth.keep_sample(places.state)
            growth.keep_sample(places.state)
    (places.state / growth.SAMPLES).rename(places.state / "keys" / "away")
    (places.state / "ui.log").write_bytes(b"x" * 1000)
    (places.state / "keys" / "away").rename(places.state / growth.SAMPLES)
    found = growth.measure(places.state)
    size = (places.state / growth.SAMPLES).stat().st_size
    assert found.estimated == ()
    assert found.a_day[7]["other"] == pytest.approx((500 + size) / 5, rel=0.5)
    assert found.a_day[30]["other"] == pytest.approx((1000 + size) / 10, rel=0.5)
    assert found.days_left == pytest.approx(found.free / max(found.rate(7), found.rate(30)))


def test_without_samples_the_journal_says_how_fast(places, monkeypatch):
    """Records of the last two days, in a journal of twenty, make a rate; other parts are taken to keep pace."""
    with monkeypatch.context() as patch:
        journal = Journal(places, Keyring(places.keys))
        for days in (20, 2):
            patch.setattr("prodkit.ledger.journal.now", lambda days=days: now() - timedelta(days=days))
            for _ in range(50):
                journal.append("note", {"text": "x" * 100})
            journal.close()
    (places.state / "mlflow.db").write_bytes(b"x" * 100_000)
    found = growth.measure(places.state)
    assert found.estimated == (7, 30)
    assert found.a_day[7]["journal"] == pytest.approx(found.parts["journal"] / 2 / 7, rel=0.2)
    assert found.a_day[7]["mlflow"] == pytest.approx(50_000 / 7, rel=0.2)
    assert found.a_day[30]["journal"] == pytest.approx(found.parts["journal"] / 20, rel=0.2)


def test_the_doctor_says_size_and_growth(project, places, monkeypatch):
    """`doctor --json` gives the figures, parts and days until the disk is full; the table says them in words."""
    monkeypatch.chdir(project.root)
    (places.state / "ui.log").write_bytes(b"x" * 1000)
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = json.loads(result.output)
    [whole] = [finding for finding in findings if finding.get("figures")]
    assert whole["figures"]["parts"]["other"] >= 1000
    assert {"total", "free", "days_left", "a_day", "retention_frees"} <= whole["figures"].keys()
    assert "retention would free" in whole["what"]
    monkeypatch.setattr(growth.Growth, "days_left", 3.0)
    assert "full in 3 days" in " ".join(CliRunner().invoke(cli, ["doctor"]).output.split())
