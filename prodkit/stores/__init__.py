"""Where state lies that several processes share: sums of budgets, the history of runs.

SQLite files in the project's folder by default. The rules know none of this: they are handed a store.
"""

from prodkit.stores.database import Database, Schema, Transaction
from prodkit.stores.opening import budget_store, budgets_of

__all__ = ["Database", "Schema", "Transaction", "budget_store", "budgets_of"]
