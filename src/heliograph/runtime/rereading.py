"""Dead letters, read again as the calls they were."""

import msgspec

from heliograph.events.decode import CALL_TYPES, decode_call
from heliograph.events.event import EVENT_NAMES
from heliograph.ports import Arrival, DeadLetter

CALL_OF_NAME = {name: call for call, name in EVENT_NAMES.items()}


def reread(letter: DeadLetter, payload: bytes) -> Arrival:
    """A dead letter as it would arrive today, its clock corrected as on the day."""
    return decode_call(call_type(letter, payload), payload, letter.at, lambda: letter.id)


class _Typed(msgspec.Struct):
    type: str | None = None


def call_type(letter: DeadLetter, payload: bytes) -> str:
    """What the payload says, or, for one that came to an endpoint of its own, what its event's name tells."""
    try:
        said = msgspec.json.decode(payload, type=_Typed).type
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = None
    return said if said in CALL_TYPES else CALL_OF_NAME.get(letter.event_name, "track")
