"""``python -m heliograph.cli``."""

from heliograph.cli.app import main

main()
