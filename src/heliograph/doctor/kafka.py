"""Kafka, through our own administrator: reachable, and its topics as we need them."""

import asyncio
import importlib
from typing import Any, Final

from heliograph.config import KafkaSetting
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient
from heliograph.ports import StreamAway, StreamRefused

EXTRA: Final = "pip install 'heliograph[scale]'"
AWAY: Final = (
    "is it running, are kafka.brokers, protocol and login right, and does it advertise a name that this machine knows?"
)


async def kafka(patient: Patient) -> list[Finding]:
    """One finding for each fault of a topic; with ``mend`` those that are missing are made first."""
    settings = patient.settings
    if settings is None or not settings.kafka.brokers:
        return [skipped("kafka", "no kafka.brokers: this machine is alone and keeps everything by itself")]
    try:
        administrator = importlib.import_module("heliograph.adapters.kafka")
    except ImportError:
        return [fail("kafka", "confluent-kafka is not installed", EXTRA)]
    try:
        return await asyncio.to_thread(_look, administrator, settings.kafka, patient.mend)
    except StreamAway as error:
        return [fail("kafka", str(error), AWAY)]
    except StreamRefused as error:
        return [fail("kafka", f"{settings.kafka.brokers} refuses", str(error))]


def _look(administrator: Any, setting: KafkaSetting, mend: bool) -> list[Finding]:
    made = administrator.ensure_topics(setting) if mend else []
    faults = administrator.check_topics(setting)
    said = f"; made {', '.join(made)}" if made else ""
    names = len(administrator.SHAPES)
    well = [ok("kafka.topics", f"{names} topics of {setting.partitions} partitions are as they should be{said}")]
    found = [
        (fail if fault.grave else warn)(f"kafka.{fault.topic}{_number(faults, number)}", fault.what, fault.mend)
        for number, fault in enumerate(faults)
    ]
    return [ok("kafka", f"{setting.brokers} answers ({setting.protocol})"), *(found or well)]


def _number(faults: list[Any], number: int) -> str:
    """Names of findings are told apart when one topic has several faults."""
    earlier = sum(fault.topic == faults[number].topic for fault in faults[:number])
    return f".{earlier + 1}" if earlier else ""
