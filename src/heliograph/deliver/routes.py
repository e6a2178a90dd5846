"""Which ways mail may leave: relays by name, or straight to the receivers.  Plain data: the engine makes it from the
settings, mailer processes open their connections by it.

A *route* is the name of a relay (``default`` is ``[smtp]``), or :data:`DIRECT`.  A *receiver* is who takes mail in the
end, by name: ``[receiver.NAME]``, or what :mod:`heliograph.deliver.receivers` knows or makes of a domain.
"""

from typing import Final

import msgspec

DIRECT: Final = "mx"
"""The route that leads to the receivers' own servers."""
DEFAULT: Final = "default"
"""The relay of ``[smtp]``; also the table ``[receiver.default]``."""


class RelayRoute(msgspec.Struct, frozen=True):
    """``connections``: of each mailer.  ``ca_pem``: certificates to trust beside the system's."""

    name: str
    url: str
    connections: int = 10
    ca_pem: str = ""


class DirectRoute(msgspec.Struct, frozen=True):
    """``connections``: of each mailer, to all receivers together.  ``starttls``: optional or required.
    ``private_networks``: of addresses that are not of the world and may be mailed to all the same.  ``folder``: where
    MTA-STS policies outlive a mailer, empty for nowhere."""

    ehlo: str = ""
    port: int = 25
    source_addresses: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    connections: int = 200
    starttls: str = "optional"
    mta_sts: bool = True
    ca_pem: str = ""
    private_networks: tuple[str, ...] = ()
    folder: str = ""


class Reach(msgspec.Struct, frozen=True):
    """What one mailer process may do towards one receiver: its part of what ``[receiver.NAME]`` allows.

    ``connection_limit``: at once; -1 for none, while the others' turn is.  ``connections_per_s``: newly opened.
    ``deliveries_per_connection``: then it is closed.  0: no limit of its own.
    """

    connection_limit: int = 0
    connections_per_s: float = 0.0
    deliveries_per_connection: int = 0


class Routes(msgspec.Struct, frozen=True):
    """Everything a mailer process knows about ways out.  ``receivers``: by name; :data:`DEFAULT` for those without an
    entry.  Only direct mail keeps to them: a relay has its own connections to receivers."""

    relays: tuple[RelayRoute, ...] = ()
    direct: DirectRoute | None = None
    receivers: dict[str, Reach] = {}

    @property
    def connections(self) -> int:
        """Of one mailer, over all routes."""
        return sum(relay.connections for relay in self.relays) + (self.direct.connections if self.direct else 0)


def single(url: str, connections: int = 10) -> Routes:
    """One relay, nothing else."""
    return Routes((RelayRoute(DEFAULT, url, connections),))
