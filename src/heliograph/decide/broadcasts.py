"""Broadcasts: one mail to an audience, decided person by person like any other.

A broadcast is a journey of one step in the plan, under a name that no journey of a project can have.
"""

from typing import Final

PREFIX: Final = "broadcast:"


def journey_of(broadcast_id: str) -> str:
    """The name of its journey, in states, messages and facts."""
    return PREFIX + broadcast_id


def broadcast_of(journey: str) -> str:
    """The id of the broadcast that this journey is, "" for any other."""
    return journey[len(PREFIX) :] if journey.startswith(PREFIX) else ""
