"""One resilience layer around a call: retry, deadline, circuit breaker, fallback, and an honest result."""

from prodkit.resilience.call import Call, Served
from prodkit.resilience.policy import Policy, Target
from prodkit.resilience.run import arun_call, run_call

__all__ = ["Call", "Policy", "Served", "Target", "arun_call", "run_call"]
