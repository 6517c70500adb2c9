from __future__ import annotations

import pickle

import pytest

from prodkit import errors


def test_error_says_code_what_where_and_fix():
    """An error's text holds its code, what is wrong, where, and the next step."""
    text = str(errors.DataError("data.bad", "It is bad.", where="a.csv:3", fix="mend it"))
    assert text.splitlines() == ["[data.bad] It is bad.", "  where: a.csv:3", "  fix:   mend it"]


def test_notebook_shows_the_text_and_no_stack():
    """IPython gets the short text in place of a traceback."""
    assert errors.DataError("data.bad", "It is bad.")._render_traceback_() == ["DataError: [data.bad] It is bad."]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ConfigError", 78), ("ParameterError", 65), ("DataError", 65), ("BudgetError", 65),
        ("TransientError", 75), ("KernelDiedError", 138), ("TerminatedError", 143), ("ProdkitError", 1),
    ],
)  # fmt: skip
def test_exit_codes_are_what_schedulers_act_on(kind: str, code: int):
    """Each kind of error has the exit code that the runbook promises."""
    assert getattr(errors, kind)("a.b", "c").exit_code == code


def test_error_survives_a_process_boundary():
    """An error that crosses processes keeps its kind and its four parts."""
    sent = pickle.dumps(errors.BudgetError("budget.spent", "All gone.", where="cell", fix="raise it"))
    error = pickle.loads(sent)  # noqa: S301  our own bytes
    assert (type(error), error.code, error.what, error.where, error.fix) == (
        errors.BudgetError, "budget.spent", "All gone.", "cell", "raise it",
    )  # fmt: skip


def test_nearest_names_the_likely_word_or_all_of_them():
    """A misspelt word gets the nearest known one; a strange one gets the list."""
    assert errors.nearest("budjet", ["budget", "name"]) == "did you mean `budget`?"
    assert errors.nearest("zzz", ["b", "a"]) == "known: a, b"


def test_missing_extra_is_one_sentence_with_the_pip_line():
    """A missing optional package says which extra brings it."""
    error = errors.missing_extra("polars", "Checking a polars frame")
    assert error.fix.startswith("pip install 'polars")
    assert "Checking a polars frame" in error.what
