"""What mailer processes are told at their start, from the settings: senders with their keys, and the ways out."""

import socket
from collections.abc import Sequence
from pathlib import Path

from heliograph import render
from heliograph.adapters.dns import Resolver
from heliograph.adapters.smtp import PATIENCE, Trust, probe, sentence, transport
from heliograph.bootstrap.traffic import limits_of_receivers
from heliograph.config import DIRECT as DIRECT_URL
from heliograph.config import ConfigError, DkimSetting, Problem, RelaySetting, SenderSetting, Settings
from heliograph.deliver.rates import per_second
from heliograph.deliver.routes import DEFAULT, DIRECT, DirectRoute, Reach, RelayRoute, Routes
from heliograph.ports import Courier, Parcel, Transport
from heliograph.runtime.mailwire import DkimKey, MailerSender, MailerSettings

POLICIES = "mta-sts"
"""Folder inside the data folder: the receivers' MTA-STS policies."""


def mail_settings(settings: Settings, keys: dict[int, bytes], data: Path | None = None) -> MailerSettings:
    """What a mailer process is told at its start; private keys travel over the local socket only."""
    return MailerSettings(
        routes=routes(settings, data),
        senders={name: mailer_sender(name, sender) for name, sender in settings.sender.items()},
        base_url=settings.project.base_url,
        link_keys={str(number): secret for number, secret in keys.items()},
        timezone=settings.project.timezone,
        project=settings.project.name,
    )


def routes(settings: Settings, data: Path | None = None) -> Routes:
    """The ways out, each mailer's part of them."""
    smtp, direct = settings.smtp, settings.direct
    relays = {name: relay_route(name, relay) for name, relay in settings.relay.items()}
    if smtp.url == DIRECT_URL:
        way = DirectRoute(
            direct.ehlo or own_name(), direct.port, direct.source_addresses, direct.nameservers, direct.connections,
            direct.starttls, direct.mta_sts, read_ca("direct", direct.ca_file), direct.private_networks,
            "" if data is None else str(data / POLICIES),
        )  # fmt: skip
        return Routes(tuple(relays.values()), way, reaches(settings))
    first = RelayRoute(DEFAULT, smtp.url, smtp.connections, read_ca("smtp", smtp.ca_file))
    return Routes((first, *relays.values()), None, reaches(settings))


def own_name() -> str:
    """The machine's name if it is a full one; without, servers are greeted with our address."""
    name = socket.gethostname()
    return name if "." in name else ""


def relay_route(name: str, relay: RelaySetting) -> RelayRoute:
    return RelayRoute(name, relay.url, relay.connections, read_ca(f"relay.{name}", relay.ca_file))


def read_ca(section: str, file: str) -> str:
    """The certificates of a file; ConfigError when they cannot be used, because a mailer that finds out is too late."""
    try:
        pem = Path(file).read_text(encoding="ascii") if file else ""
        Trust(pem)
    except (OSError, ValueError) as error:
        raise ConfigError(
            [Problem(f"{section}.ca_file", f"{section}.ca_file: {file} cannot be read: {error}")]
        ) from None
    return pem


def reaches(settings: Settings) -> dict[str, Reach]:
    """What one of the mailers may do towards each receiver, while there is one machine: its even share, at least one
    connection.  For direct mail with the limits of well-known receivers.  Of several machines each is told its part
    (:class:`~heliograph.runtime.traffic_parts.Division`)."""
    mailers = settings.smtp.mailers
    return {
        name: Reach(
            connection_limit=one.connection_limit and max(one.connection_limit // mailers, 1),
            connections_per_s=per_second(one.max_connection_rate) / mailers,
            deliveries_per_connection=one.max_deliveries_per_connection,
        )
        for name, one in limits_of_receivers(settings).items()
    }


async def trial(ways: Routes, relays: Sequence[str], parcel: Parcel) -> tuple[bool, str]:
    """Send this one now, beside the ledger: over the first of the sender's relays (``relays``, empty for any) that
    takes mail, or straight to the receiver.  Was it accepted, and what is there to say, in one line."""
    said: list[str] = []
    for way in each_alone(ways, relays):

        def opened(courier: Courier, way: Routes = way) -> Transport:
            return transport(way, courier, Resolver, PATIENCE)

        verdict = await probe(opened, parcel)
        said.append(sentence(parcel, verdict))
        if verdict.stage != "connect" or verdict.kind == "bounced":
            return verdict.kind == "sent", "; ".join(said)
    return False, "; ".join(said)


def each_alone(ways: Routes, relays: Sequence[str]) -> list[Routes]:
    """These ways out, one at a time."""
    alone = [Routes((relay,)) for relay in ways.relays if not relays or relay.name in relays]
    straight = ways.direct is not None and (not relays or DIRECT in relays or DEFAULT in relays)
    return [*([Routes((), ways.direct, ways.receivers)] if straight else []), *alone]


def mailer_sender(name: str, sender: SenderSetting) -> MailerSender:
    keys = tuple(dkim_key(name, one) for one in sender.dkim)
    return MailerSender(
        from_=sender.from_, reply_to=sender.reply_to, postal_address=sender.postal_address, dkim=keys,
        return_path=sender.return_path,
    )  # fmt: skip


def dkim_key(sender: str, setting: DkimSetting) -> DkimKey:
    """The key of a file; ConfigError when it cannot sign, because a mailer that finds out is too late."""
    try:
        pem = Path(setting.key_file).read_text(encoding="ascii")
        render.Signer(setting.domain, setting.selector, pem)
    except (OSError, ValueError) as error:
        said = error if isinstance(error, render.DkimKeyError) else "no readable PEM file"
        raise ConfigError(
            [Problem(f"sender.{sender}.dkim", f"{setting.key_file} of [sender.{sender}]: {said}")]
        ) from None
    return DkimKey(setting.domain, setting.selector, pem)
