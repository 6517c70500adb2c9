"""sorting: the script twin of job.ipynb, made from sorting.ipynb.

It takes the job's parameters as `python job.py -p NAME=VALUE` and does what the notebook does, captured alike.
source sha256:5961e8b6a69d9ff685a63bb565f72f07d981c7ec9c1a2a48411632a5d4e9cf40
"""

import prodkit
from prodkit.jobs.twin import Twin

_job = Twin(__file__)

# %% cell-1 (parameters)
month: str = "2026-11"  # which tickets
_job.set_parameters(globals())

# %% cell-3
tickets = prodkit.read("tickets", month=month)

# %% count
with prodkit.run("count", inputs=["tickets"]):
    counts = tickets["queue"].value_counts().to_dict()

# %% cell-5
print("counted", counts)
