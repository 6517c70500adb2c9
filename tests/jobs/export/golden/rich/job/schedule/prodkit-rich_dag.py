"""rich: 0 6 * * 1-5 in Europe/Berlin. For Airflow 2 (from 2.9 on) and 3: put it into the DAGs folder.

Its workers need prodkit on their PATH, and PRODKIT_PROJECT: the project's folder on their machine.
Secrets are variables of the workers' environment. A pool that spares a provider's rate limit is named by the variable
PRODKIT_AIRFLOW_POOL where DAGs are read: `airflow pools set prodkit 4 "jobs that call models"`.
"""

import logging
import os
from datetime import datetime, timedelta, timezone

from airflow.timetables.trigger import CronTriggerTimetable

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.exceptions import AirflowException, AirflowFailException
    from airflow.operators.bash import BashOperator

CONTACT = 'Ana Ruiz (https://pager.northwind.test/ana)'
FINAL = (1, 2, 65, 78)  # the notebook's own error, wrong command line, parameters or data, set-up: the same again


class ProdkitRun(BashOperator):
    """`prodkit run`. What trying again can't mend fails at once; all else is Airflow's to try again, under one key."""

    def execute(self, context):
        """Run the command and say by the kind of error whether it may be tried again."""
        done = self.subprocess_hook.run_command(["bash", "-c", self.bash_command], env=self.get_env(context))
        if done.exit_code in FINAL:
            raise AirflowFailException(f"prodkit run ended with {done.exit_code}, which isn't tried again")
        if done.exit_code != 0:
            raise AirflowException(f"prodkit run ended with {done.exit_code}")


def say_who(context):
    """Write into the task's log who answers for a run that has failed for good; page them here if you like."""
    log = logging.getLogger("airflow.task")
    log.error("%s has failed in %s. Call %s.", context["task_instance"].dag_id, context["run_id"], CONTACT)


with DAG(
    dag_id="prodkit-rich",
    schedule=CronTriggerTimetable('0 6 * * 1-5', timezone="Europe/Berlin"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(seconds=6300),
    default_args={"owner": 'ana'},
    doc_md="**rich**: one run of a job that `prodkit export` wrote (jobs/rich).\n\nAnswers for it: Ana Ruiz (https://pager.northwind.test/ana).\n\nRunbook: `README.md` in the job's folder. `prodkit runs` shows how each run ended.\n\nExit codes: 0 done; 1 the notebook's own error; 65 wrong parameters or data; 75 transient; 78 wrong set-up; 138 the kernel died; 143 stopped. 1, 65 and 78 aren't tried again.",
    tags=["prodkit"],
):
    ProdkitRun(
        task_id="run",
        bash_command='prodkit run "$PRODKIT_PROJECT/jobs/rich" --retries 0 --key "{{ run_id }}"',
        append_env=True,
        pool=os.environ.get("PRODKIT_AIRFLOW_POOL", "default_pool"),
        retries=2,
        retry_delay=timedelta(seconds=5),
        retry_exponential_backoff=True,
        execution_timeout=timedelta(seconds=2100),
        on_failure_callback=say_who,
    )
