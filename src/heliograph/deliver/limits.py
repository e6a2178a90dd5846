"""The words of shaping, as data: what receivers, relays and senders bear, and what a reply asks for.  KumoMTA's words,
with its meanings."""

from typing import Final

import msgspec

from heliograph.deliver.routes import DEFAULT, DIRECT

ACTIONS: Final = {
    "suspend": "nothing goes to this receiver for a time",
    "slow": "it gets at most `rate` for a time, or half of what it got",
    "pass": "the reply says nothing of our pace: it is not counted",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver bears, over all mailers.  0 and "": no limit."""

    connection_limit: int = 0
    max_connection_rate: str = ""
    max_deliveries_per_connection: int = 0
    max_message_rate: str = ""


class Rule(msgspec.Struct, frozen=True):
    """When a reply (its code, its enhanced code, its words, in one line) matches: ``action`` (:data:`ACTIONS`) for
    ``for_ms``.  ``match``: RE2, ignoring case.  ``source`` and ``example``: of a built-in one."""

    match: str
    action: str
    for_ms: int
    rate: str = ""
    source: str = ""
    example: str = ""


class Receiver(Limits, frozen=True, kw_only=True):
    """``[receiver.NAME]`` of the settings.  ``domains``: of addresses; ``mx``: ends of MX host names; ``rules``: go
    before the built-in ones."""

    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class SenderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What ``[sender.NAME]`` says of traffic.  ``relays``: which may carry its mail, none for any.  ``tiers``: pairs
    (per hour, per day) of its warm-up, None without one."""

    max_message_rate: str = ""
    max_messages_per_day: int = 0
    relays: tuple[str, ...] = ()
    tiers: tuple[tuple[int, int], ...] | None = None
    bounces: float = 0.02
    complaints: float = 0.001


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What ``[relay.NAME]`` says of traffic.  ``connections``: over all mailers."""

    weight: int = 1
    connections: int = 10
    max_message_rate: str = ""
    max_messages_per_day: int = 0


class Shaping(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the engine knows about traffic from the settings.

    ``relays``: by the name of their route (:mod:`heliograph.deliver.routes`), in order; ``senders``: by name; one that
    is not there has no limits.  ``rollup``: receivers are told by their MX.
    """

    relays: dict[str, RelayLimits] = msgspec.field(default_factory=lambda: {DEFAULT: RelayLimits()})
    senders: dict[str, SenderLimits] = {}
    receivers: dict[str, Receiver] = {}
    rollup: bool = False

    @property
    def direct(self) -> bool:
        """Some mail goes straight to its receivers."""
        return DIRECT in self.relays
