"""When a job runs: cron lines with a time zone, files for the systems that keep time, and a scheduler of our own."""

from prodkit.jobs.schedules.cron import Cron

__all__ = ["Cron"]
