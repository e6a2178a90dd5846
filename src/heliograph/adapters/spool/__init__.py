"""A spool in plain files: the shared log's stand-in on a collector's own disk."""

from heliograph.adapters.spool.files import FileSpool, SpoolLocked

__all__ = ["FileSpool", "SpoolLocked"]
