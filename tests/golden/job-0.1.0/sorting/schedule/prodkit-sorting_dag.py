"""sorting: 0 6 * * 1 in Europe/Berlin. For Airflow 3: put it into the DAGs folder.

Its workers need prodkit on their PATH, and PRODKIT_PROJECT: the project's folder on their machine.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

with DAG(
    dag_id="prodkit-sorting",
    schedule=CronTriggerTimetable("0 6 * * 1", timezone="Europe/Berlin"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(seconds=900),
    tags=["prodkit"],
):
    # the job retries by itself what may pass, in fresh kernels; Airflow's run id is its idempotency key
    BashOperator(
        task_id="run",
        bash_command="prodkit run \"$PRODKIT_PROJECT/jobs/sorting\" --key \"{{ run_id }}\"",
        append_env=True,
        retries=0,
    )
