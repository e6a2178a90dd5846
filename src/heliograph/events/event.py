"""An event as the brain sees it: one Segment call, decoded, its clock corrected."""

from typing import Any

import msgspec

EVENT_NAMES = {"identify": "Identified", "page": "Page Viewed", "screen": "Screen Viewed"}
"""Conditions name calls that carry no event name of their own by these words (contract, section 3)."""

API_ENTRY = "API Entry"
"""The name of the event with which the API asks somebody into a journey."""

PRODUCT_EVENTS = frozenset(
    {"Email Sent", "Email Delivered", "Email Opened", "Email Clicked", "Email Bounced", "Email Complained",
     "Email Unsubscribed", "Email Skipped", "Segment Entered", "Segment Left"}
)  # fmt: skip
"""Only Heliograph emits these; a client that sends one is refused."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call.  Stored as a msgpack array: fields are only ever appended.

    ``occurred_at`` is ``min(corrected timestamp, received_at)``, int64 ms UTC.  ``name`` is what conditions match:
    the track name, or the word in :data:`EVENT_NAMES`; ``""`` for group and alias, which no condition sees.
    """

    event_id: str
    type: str
    name: str
    occurred_at: int
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}

    @property
    def historical(self) -> bool:
        """Imported: updates every condition whatever its age, enters, resumes and exits nothing."""
        return self.context.get("historical") is True
