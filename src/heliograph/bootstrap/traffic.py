"""From the settings to what the engine knows about traffic: limits of receivers, senders and relays, in one's words."""

from heliograph.config import DIRECT as DIRECT_URL
from heliograph.config import ReceiverSetting, RelaySetting, SenderSetting, Settings, SmtpSetting
from heliograph.decide.times import ms
from heliograph.deliver.limits import Limits, Receiver, RelayLimits, Rule, SenderLimits, Shaping
from heliograph.deliver.receivers import Receivers
from heliograph.deliver.routes import DEFAULT, DIRECT


def shaping(settings: Settings) -> Shaping:
    """Everything that the settings say of traffic."""
    direct = settings.smtp.url == DIRECT_URL
    first = DIRECT if direct else DEFAULT
    mailers = settings.smtp.mailers
    relays = {first: relay_limits(settings.smtp, mailers)}
    relays |= {name: relay_limits(relay, mailers) for name, relay in settings.relay.items()}
    return Shaping(
        relays=relays,
        senders={name: sender_limits(sender, first) for name, sender in settings.sender.items()},
        receivers={name: receiver(one) for name, one in settings.receiver.items()},
        rollup=direct or settings.smtp.mx_rollup,
    )


def relay_limits(setting: SmtpSetting | RelaySetting, mailers: int) -> RelayLimits:
    return RelayLimits(
        weight=setting.weight,
        connections=setting.connections * mailers,
        max_message_rate=setting.max_message_rate,
        max_messages_per_day=setting.max_messages_per_day,
    )


def sender_limits(setting: SenderSetting, first: str) -> SenderLimits:
    """``first``: the route that ``default`` stands for."""
    limits = SenderLimits(
        max_message_rate=setting.max_message_rate,
        max_messages_per_day=setting.max_messages_per_day,
        relays=tuple(first if name == DEFAULT else name for name in setting.relays),
    )
    if (warmup := setting.warmup) is None:
        return limits
    return SenderLimits(
        max_message_rate=limits.max_message_rate,
        max_messages_per_day=limits.max_messages_per_day,
        relays=limits.relays,
        tiers=tuple((tier.per_hour, tier.per_day) for tier in warmup.tiers),
        bounces=share(warmup.bounces),
        complaints=share(warmup.complaints),
    )


def share(text: str) -> float:
    """Of ``2%``."""
    return float(text.removesuffix("%")) / 100


def receiver(setting: ReceiverSetting) -> Receiver:
    return Receiver(
        domains=setting.domains,
        mx=setting.mx,
        rules=tuple(Rule(one.match, one.action, ms(one.for_), one.rate) for one in setting.on_reply),
        connection_limit=setting.connection_limit,
        max_connection_rate=setting.max_connection_rate,
        max_deliveries_per_connection=setting.max_deliveries_per_connection,
        max_message_rate=setting.max_message_rate,
    )


def limits_of_receivers(settings: Settings) -> dict[str, Limits]:
    """Of every receiver that has any, as mailers have to keep them, and ``default`` for the others."""
    told = shaping(settings)
    receivers = Receivers(told.receivers, direct=told.direct)
    names = {*told.receivers, DEFAULT} | (set(receivers.named()) if told.direct else set())
    found = {name: receivers.limits(name) for name in sorted(names)}
    return {name: limits for name, limits in found.items() if limits != Limits()}
