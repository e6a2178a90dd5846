"""The HTTP edge: Granian embedded, the door for events, links of mails, the snippet (docs/decisions/0005-http-edge.md).

Read ``app`` first (who answers which path), then ``collect`` (the hot path), ``body``, ``links``.
"""

from heliograph.adapters.http.app import Door, Front
from heliograph.adapters.http.aside import Aside, over
from heliograph.adapters.http.limiter import parse_rate
from heliograph.adapters.http.server import CannotListen, HttpServer

__all__ = ["Aside", "CannotListen", "Door", "Front", "HttpServer", "over", "parse_rate"]
