"""The command line: one module per group of commands, each thin above the packages below."""

from heliograph.cli.app import main

__all__ = ["main"]
