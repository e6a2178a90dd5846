"""Kafka, through our own administrator: reachable, its topics as we need them."""

from heliograph.doctor.finding import Finding, skipped
from heliograph.doctor.patient import Patient


async def kafka(patient: Patient) -> list[Finding]:
    settings = patient.settings
    if settings is None or not settings.kafka.brokers:
        return [skipped("kafka", "no kafka.brokers: this machine is alone and keeps everything by itself")]
    return []
