"""A DAG file that Airflow 2 and 3 both read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prodkit.jobs.schedules.targets.fields import plain_fields
from prodkit.jobs.schedules.targets.words import shell_command
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

_FIRST_DAY = (
    "2026, 1, 1"  # Airflow catches nothing up, so any day in the past is right; the same one gives the same bytes
)


def render_dag(plan: Plan) -> dict[str, str]:
    """The DAG file. All that comes from the job stands in it as a string that Python's `repr` wrote."""
    # Airflow renders the command with jinja, so a parameter's own braces are said as text
    command = re.sub(r"\{(?=[{%#])", "{{ '{' }}", shell_command(plan))
    person = plan.needs.accountable
    text = render(
        "schedule/airflow.py.j2",
        plan=plan,
        first_day=_FIRST_DAY,
        when=repr(" ".join(plain_fields(plan.cron))),
        command=repr(command + ' --retries 0 --key "{{ run_id }}"'),
        owner=repr(person.id if person else "prodkit"),
        contact=repr(plan.contact),
        document=repr(_document(plan)),
        wait=max(1, round(plan.how.retry_wait)),
        whole=plan.limit * (plan.how.retries + 1),
    )
    return {f"{plan.unit}_dag.py": text}


def _document(plan: Plan) -> str:
    """What Airflow shows above the DAG, as Markdown."""
    codes = (
        "Exit codes: 0 done; 1 the notebook's own error; 65 wrong parameters or data; 75 transient; 78 wrong set-up; "
        "138 the kernel died; 143 stopped. 1, 65 and 78 aren't tried again."
    )
    rows = [
        f"**{plan.name}**: one run of a job that `prodkit export` wrote ({plan.place}).",
        f"Answers for it: {plan.contact}.",
        "Runbook: `README.md` in the job's folder. `prodkit runs` shows how each run ended.",
        codes,
    ]
    if plan.needs.secrets:
        rows.append(f"Its workers need these secrets in their environment: {', '.join(plan.needs.secrets)}.")
    return "\n\n".join(rows)
