from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from pandas.testing import assert_frame_equal

from prodkit.contracts import Contract
from prodkit.contracts.mutation import KINDS, mutate, score
from prodkit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from prodkit.contracts.mutation import Killing

EMPTY = Contract.from_yaml(
    "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: draft\nschema:\n  - name: t\n    properties:\n"
    "      - {name: ticket_id, customProperties: [{property: optional, value: true}]}\n"
    "      - {name: amount_eur, customProperties: [{property: optional, value: true}]}\n"
)


def by_kind(killings: tuple[Killing, ...]) -> dict[str, Killing]:
    return {killing.kind: killing for killing in killings}


def test_a_strict_contract_kills_most(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """The demo's contract notices at least nine of ten corruptions, and names the columns in which it misses one."""
    killings = mutate(tickets, tickets_contract)
    assert score(killings) >= 0.9
    assert by_kind(killings)["cells emptied"].missed == ("customer_email", "subject", "label")


def test_an_empty_contract_kills_nothing(tickets: pd.DataFrame) -> None:
    """A contract without rules notices nothing, so a kill is the rules' doing."""
    killings = mutate(tickets, EMPTY)
    assert score(killings) == 0
    assert any(killing.tried for killing in killings)


def test_bad_rows_arent_counted_as_kills(bad_tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Rows that break the contract from the start are left out, so dirty data scores like clean data."""
    dirty, clean = mutate(bad_tickets, tickets_contract), mutate(bad_tickets.iloc[8:], tickets_contract)
    assert score(dirty) == pytest.approx(score(clean), abs=0.05)


def test_the_data_isnt_damaged(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Corruption is injected in copies; the same seed injects the same."""
    before = tickets.copy(deep=True)
    assert mutate(tickets, tickets_contract, seed=3) == mutate(tickets, tickets_contract, seed=3)
    assert_frame_equal(tickets, before)


def test_polars_can_be_mutated(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """A polars frame is damaged like a pandas one."""
    assert score(mutate(pl.from_pandas(tickets), tickets_contract)) >= 0.9


def test_data_that_breaks_everything_is_refused(tickets: pd.DataFrame, tickets_contract: Contract) -> None:
    """Without rows that keep the contract there is nothing to damage, and that is said."""
    with pytest.raises(DataError) as caught:
        mutate(tickets.assign(channel="fax"), tickets_contract)
    assert caught.value.code == "contract.no-clean-rows"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_damages(kind: str, tickets: pd.DataFrame) -> None:
    """Each kind of corruption finds a place in ordinary data and changes it there."""
    import numpy as np

    frame = tickets.assign(count=range(200))
    mutants = [KINDS[kind](frame, name, np.random.default_rng(0)) for name in frame.columns]
    changed = [mutant for mutant in mutants if mutant is not None]
    assert changed
    assert not any(mutant.equals(frame) for mutant in changed)
