"""Logs of the server and of its mailers: JSON, one line a happening, to standard error."""

import logging
import os
import sys
from typing import TextIO, cast

import structlog

LEVEL = "HELIOGRAPH_LOG_LEVEL"
"""Variable: debug, info (default), warning, error or critical; mailers inherit it."""


class StandardError:
    """Whatever ``sys.stderr`` is at the moment of writing: loggers are made once and live long."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logs(default: str = "info") -> None:
    """``default``: the level where the environment names none; the mailers of this process have it, too."""
    level = logging.getLevelNamesMapping().get(os.environ.setdefault(LEVEL, default).upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, StandardError())),
        cache_logger_on_first_use=True,
    )
