"""Every bound of the SMTP client, by name."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Times in seconds.  Time-outs are those of RFC 5321, 4.5.3.2: a server may rightly take that long.

    Each message goes to one recipient, so there is one RCPT and one reply to it."""

    connections: int = 10
    """The relay's own bound is usually 20 to 50 for one client (Postfix: 50)."""
    messages_per_connection: int = 1000
    """Then a fresh one, so that a relay behind a load balancer shares the work."""
    idle_s: float = 60.0
    """A connection that carried nothing for so long is closed with QUIT."""

    connect_s: float = 30.0
    greeting_s: float = 300.0
    command_s: float = 300.0
    data_s: float = 120.0
    """From DATA to 354."""
    block_s: float = 180.0
    """Without a byte of the message taken by the network.  Under TLS, whose layer takes everything at once, what holds
    is :attr:`dot_s`."""
    dot_s: float = 600.0
    """From the final dot to its reply.  Giving up earlier makes duplicates (RFC 1047)."""
    quit_s: float = 2.0

    commit: int = 50
    """Messages that pass one commit point together (design, section 2)."""
    backoff_first_s: float = 0.5
    backoff_longest_s: float = 30.0
    """Between attempts to connect after one failed, doubling."""
    ahead: int = 2
    """Rendered messages that may wait, for each connection; what is rendered later shows fresher data."""
    addresses: int = 5
    """Addresses of a receiver's servers tried in one attempt (Postfix: smtp_mx_address_limit)."""
