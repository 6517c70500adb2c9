"""`python -m prodkit` is the `prodkit` command."""

from prodkit.cli import main

main()
