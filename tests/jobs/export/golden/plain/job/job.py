"""plain: the script twin of job.ipynb, made from plain.ipynb.

It takes the job's parameters as `python job.py -p NAME=VALUE` and does what the notebook does, captured alike.
source sha256:571dc35fdb60edf9e116d7e2cb2d3b18b16475fd5b0119b37f52acc4e63b077b
"""

import prodkit
from prodkit.jobs.twin import Twin

_job = Twin(__file__)

# %% c1 (parameters)
batch: str = "2026-11"  # month
_job.set_parameters(globals())

# %% c2
print(batch)
