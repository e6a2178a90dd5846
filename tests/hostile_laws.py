"""What holds whatever a receiver does: its account beside what the client says became of each message."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from heliograph.deliver.replies import SESSION_FAULTS
from tests.hostile import Entry, Hostile
from tests.hostile_scripts import NOBODY, first_code


class Fate(NamedTuple):
    """What the client says became of a message: sent, retry (it waits), bounced or unknown; and its reason."""

    kind: str
    reply: str
    suppressed: bool = False


def check(receiver: Hostile, fates: Mapping[str, Fate]) -> None:
    """Every law, for every recipient; AssertionError tells which one is broken for whom."""
    assert not receiver.misheard, f"lines of a message were taken for commands: {receiver.misheard[:3]}"
    for address, fate in fates.items():
        entry = receiver.entries[address]
        broken = [law for law, holds in _laws(receiver, entry, fate).items() if not holds]
        assert not broken, f"{address}: {broken}: {fate}, {entry}"


def together(servers: Sequence[Hostile]) -> Hostile:
    """The account of servers that stand behind one address: one receiver, as far as laws go."""
    whole = Hostile({})
    for server in servers:
        whole.refused_senders += server.refused_senders
        whole.misheard += server.misheard
        for address, entry in server.entries.items():
            one = whole.entries[address]
            one.kept += entry.kept
            one.asked += entry.asked
            one.heard = one.heard or entry.heard
            one.said += entry.said
    return whole


def _laws(receiver: Hostile, entry: Entry, fate: Fate) -> dict[str, bool]:
    kept, kind = entry.kept, fate.kind
    for_good = any(map(_for_good, [*entry.refusals, *receiver.refused_senders]))
    return {
        "nobody has two copies": kept <= 1,
        "what is `sent` was accepted": kind != "sent" or kept == 1 or entry.early,
        "an acceptance that was read is `sent`": not entry.heard or kind == "sent",
        "what the receiver has is not tried again, nor given up": not kept or kind in ("sent", "unknown"),
        "`unknown` only where the final dot can have been written": kind != "unknown" or entry.begun,
        "`bounced` only when this message was refused for good": kind != "bounced" or for_good,
        "suppressed only when the address was said to be dead": (
            not fate.suppressed or any(said.startswith(NOBODY) for said in entry.refusals)
        ),
        "what waits says why": kind in ("sent", "bounced", "unknown", "retry") and bool(fate.reply),
    }


def _for_good(said: bytes) -> bool:
    """A 5yz that is about a message and not about the session."""
    return first_code(said) >= 500 and first_code(said) not in SESSION_FAULTS
