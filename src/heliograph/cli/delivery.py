"""delivery: what waits for whom, how fast it goes, and what is suspended until when and why."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.cli.client import ProjectOption, TokenOption, UrlOption, server_for
from heliograph.cli.holding import told
from heliograph.cli.show import print_json, say, table, when

Figures = dict[str, Any]


def delivery(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Receivers, senders and relays: what waits, how fast it goes, what is suspended until when and why."""
    found = server_for(project, url, token).get("/delivery")
    if as_json:
        print_json(found)
        return
    for one in found["paused"]:
        name = one["journey"] or f"broadcast {one['broadcast_id']}"
        say(f"{name} {told(one['paused'])}", "yellow")
    table(("relay", "state", "under way", "limit", "today", "why"), _relays(found["relays"]))
    if found["senders"]:
        table(("sender", "limit", "today", "warm-up"), _senders(found["senders"]))
    if found["receivers"]:
        table(("receiver", "queued", "under way", "limit", "state", "why"), _receivers(found["receivers"]))
    else:
        say("nothing waits for any receiver")


SHOWN = 3
"""Troubles told beside a broadcast."""


def troubles(found: Figures) -> list[str]:
    """What keeps mail from going anywhere, for somebody who wonders."""
    down = [
        f"relay {name} is down until {when(one['down_until'])}: {one['reason']}"
        for name, one in sorted(found["relays"].items())
        if not one["works"]
    ]
    suspended = [
        f"receiver {name} is suspended until {when(one['suspended_until'])}: {one['reason']} ({one['queued']:,} wait)"
        for name, one in found["receivers"].items()
        if one["suspended_until"]
    ]
    warming = [
        f"sender {name} warms up, {_warmup(one['warmup'])}: what does not fit waits, as long as `freshness` lets it"
        for name, one in sorted(found["senders"].items())
        if one["warmup"] and not one["warmup"]["warm"]
    ]
    return [*down, *suspended, *warming][:SHOWN]


def _relays(relays: dict[str, Figures]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            "works" if one["works"] else f"down until {when(one['down_until'])}",
            f"{one['in_flight']:,}",
            one["max_message_rate"] or "-",
            _today(one["sent_today"], one["max_messages_per_day"]),
            one["reason"] or "",
        )
        for name, one in sorted(relays.items())
    ]


def _senders(senders: dict[str, Figures]) -> list[tuple[str, ...]]:
    return [
        (name, one["max_message_rate"] or "-", _today(one["sent_today"], one["max_messages_per_day"]),
         _warmup(one["warmup"]))
        for name, one in sorted(senders.items())
    ]  # fmt: skip


def _receivers(receivers: dict[str, Figures]) -> list[tuple[str, ...]]:
    return [
        (name, f"{one['queued']:,}", f"{one['in_flight']:,} of {one['window']:,}", _limit(one), _state(one),
         one["reason"] or "")
        for name, one in receivers.items()
    ]  # fmt: skip


def _today(sent: int | None, most: int | None) -> str:
    if most:
        return f"{sent or 0:,} of {most:,}"
    return "-" if sent is None else f"{sent:,}"


def _warmup(warmup: Figures | None) -> str:
    if warmup is None:
        return "-"
    if warmup["warm"]:
        return "warm"
    tier = f"tier {warmup['tier']} of {warmup['tiers']}"
    return f"{tier}: {warmup['per_hour']:,}/h, {warmup['sent_today']:,} of {warmup['per_day']:,} today"


def _limit(one: Figures) -> str:
    return one["slowed_to"] or one["backed_off_to"] or one["max_message_rate"] or "-"


def _state(one: Figures) -> str:
    if one["suspended_until"]:
        return f"suspended until {when(one['suspended_until'])}"
    if one["slowed_to"]:
        return f"slowed until {when(one['slowed_until'])}"
    return "backing off" if one["backed_off_to"] else "open"


COMMANDS = (delivery,)
