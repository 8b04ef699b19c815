"""``python -m telltale``."""

from telltale.cli import main

main()
