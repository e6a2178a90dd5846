"""Anonymous keys that nobody was heard from for P30D are forgotten (design, section 6, bounds).

The runtime looks for them and appends :class:`~heliograph.events.record.Expire`; whether the key goes is decided here,
in log order, so a visitor who comes back in the meantime stays.  Stubs stay, too: they lead to somebody.  History,
journal and messages have their own retention; a person who comes back later begins anew.
"""

from typing import Final

from heliograph.decide.effects import IndexEmail, SetMembership
from heliograph.decide.state import State, new_state
from heliograph.decide.turn import Turn

IDLE_MS: Final = 30 * 86_400_000


def idle_since(state: State) -> int | None:
    """When this key was last heard from; None for a key that is not to be forgotten."""
    busy = state.forward or state.runs or state.pending or state.parked
    if busy or not state.key.startswith("a:"):
        return None
    return state.heard_at or max(state.last_seen, state.created_at)


def is_idle(state: State, t: int, idle_ms: int = IDLE_MS) -> bool:
    since = idle_since(state)
    return since is not None and t - since >= idle_ms


def forget(turn: Turn, idle_ms: int) -> None:
    """Leave every segment, list and address in silence, and become a key of which nothing is known."""
    state = turn.state
    if not is_idle(state, turn.t, idle_ms):
        return
    turn.fact("forgotten", idle_since=idle_since(state))
    for name in state.members:
        turn.emit(SetMembership(name, False, turn.t))
    if state.address:
        turn.emit(IndexEmail(state.address, False))
    turn.state = new_state(state.key)
