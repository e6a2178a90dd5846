"""The SMTP transport with the limits of a test, for mailer processes: ``--transport tests.impatient:transport``."""

from heliograph.adapters.smtp import Limits, Pool, parse_url
from heliograph.deliver.routes import Routes
from heliograph.ports import Courier, Transport

QUICK = Limits(
    connections=2, connect_s=2, greeting_s=0.3, command_s=0.3, data_s=0.3, dot_s=0.3, quit_s=0.1,
    backoff_first_s=0.01, backoff_longest_s=0.02,
)  # fmt: skip
"""Two connections, so that a few messages meet first, later, kept and pipelined places of a dialogue."""


def transport(routes: Routes, courier: Courier) -> Transport:
    """To the first relay, giving up on a silent one after 0.3 s."""
    return Pool(parse_url(routes.relays[0].url), courier, QUICK)
