"""The API behind the web console, and the first pages: what happened, to whom, and why (contract, section 7).

Reads come from the store of the engine's last commit, never from a copy; changes go through the engine and answer when
they are on disk.  Nothing here decides anything.
"""

from heliograph.console.access import Access
from heliograph.console.app import build

__all__ = ["Access", "build"]
