"""The topics that there must be: made when they are missing, and judged when they are there."""

from collections.abc import Iterator
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, TopicMetadata  # type: ignore[attr-defined]

from heliograph.adapters.kafka.client import MAX_ENTRY, Way
from heliograph.config import KafkaSetting
from heliograph.decide.times import DAY
from heliograph.ports.stream import DEAD_LETTERS, EFFECTS, FACTS, OUTCOMES, PLAN, RECORDS

MB: Final = 1024 * 1024
FOREVER: Final = -1


class Shape(msgspec.Struct, frozen=True):
    """What a topic must be.  ``keep``: ms, at least; ``largest``: bytes of an entry, at least; ``spread``: cut into as
    many partitions as the settings say, else one."""

    keep: int
    largest: int = MB
    cleanup: str = "delete"
    spread: bool = True


SHAPES: Final = {
    RECORDS: Shape(keep=7 * DAY, largest=2 * MB),  # a merge carries the whole state of a person (256 KB) and more
    EFFECTS: Shape(keep=7 * DAY, largest=4 * MB),  # the record, its effects and the state; as long as records
    OUTCOMES: Shape(keep=7 * DAY),
    FACTS: Shape(keep=7 * DAY),
    PLAN: Shape(keep=FOREVER, largest=MAX_ENTRY, cleanup="compact", spread=False),
    DEAD_LETTERS: Shape(keep=30 * DAY, largest=2 * MB),
}


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a topic, and the mend.  ``grave``: records would be lost, refused or put into disorder."""

    topic: str
    what: str
    mend: str
    grave: bool = True


def ensure_topics(setting: KafkaSetting) -> list[str]:
    """Make those that are missing; their names.  Blocks for a few round trips.  Raises
    :class:`~heliograph.ports.StreamAway` or :class:`~heliograph.ports.StreamRefused`."""
    way = Way(setting)
    admin = AdminClient(way.config())
    there = _known(admin, way)
    missing = [topic for topic in SHAPES if way.name(topic) not in there]
    made = admin.create_topics([_new(way, topic) for topic in missing]) if missing else {}
    names = []
    for topic in missing:
        try:
            made[way.name(topic)].result(way.patience_s)
            names.append(way.name(topic))
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was quicker
                raise way.reaction(error, topic) from error
        except TimeoutError as error:
            raise way.silence(topic, "") from error
    for topic in missing:
        way.partitions(topic, made=True)  # until its leaders are known: whoever appends next finds it
    return names


def _new(way: Way, topic: str) -> NewTopic:
    shape, setting = SHAPES[topic], way.setting
    config = {
        "cleanup.policy": shape.cleanup,
        "retention.ms": str(shape.keep),
        "max.message.bytes": str(shape.largest),
        "min.insync.replicas": str(_in_sync(setting)),
    }
    parts = setting.partitions if shape.spread else 1
    return NewTopic(way.name(topic), parts, setting.replication, config=config)


def _in_sync(setting: KafkaSetting) -> int:
    """Of three copies two: one broker may be away, and what was acknowledged is on another one still."""
    return 2 if setting.replication >= 3 else 1


def check_topics(setting: KafkaSetting) -> list[Fault]:
    """What is wrong with the topics, the gravest first; nothing is changed.  Blocks for a few round trips.  Raises as
    :func:`ensure_topics` does."""
    way = Way(setting)
    admin = AdminClient(way.config())
    there = _known(admin, way)
    names = {topic: way.name(topic) for topic in SHAPES}
    resources = {t: ConfigResource(ConfigResource.Type.TOPIC, name) for t, name in names.items() if name in there}
    asked = admin.describe_configs(list(resources.values())) if resources else {}
    faults: list[Fault] = []
    for topic, name in names.items():
        if name not in there:
            faults.append(Fault(name, "there is no such topic", "heliograph doctor --mend makes it"))
            continue
        try:
            config = {entry.name: entry.value for entry in asked[resources[topic]].result(way.patience_s).values()}
        except KafkaException as error:
            raise way.reaction(error, topic) from error
        faults += _faults(way, topic, there[name], config)
    return sorted(faults, key=lambda fault: not fault.grave)


def _known(admin: AdminClient, way: Way) -> dict[str, TopicMetadata]:
    try:
        topics: dict[str, TopicMetadata] = admin.list_topics(timeout=way.patience_s).topics
    except KafkaException as error:
        raise way.reaction(error, RECORDS) from error
    return topics


def _faults(way: Way, topic: str, found: TopicMetadata, config: dict[str, str]) -> Iterator[Fault]:
    shape, setting, name = SHAPES[topic], way.setting, way.name(topic)
    parts, copies = len(found.partitions), min(len(part.replicas) for part in found.partitions.values())
    wanted = setting.partitions if shape.spread else 1
    if parts != wanted:
        yield Fault(
            name, f"{parts} partitions, where the settings say {wanted}: people would be looked for in the wrong ones",
            f"set kafka.partitions = {parts}" if shape.spread else "delete it while nothing runs, and make it anew",
        )  # fmt: skip
    if copies < setting.replication:
        yield Fault(
            name, f"{copies} copies, where the settings say {setting.replication}",
            f"kafka-reassign-partitions, or kafka.replication = {copies} if less is meant", grave=False,
        )  # fmt: skip
    if silent := [str(number) for number, part in found.partitions.items() if part.leader < 0]:
        yield Fault(name, f"no broker leads partition {', '.join(silent)}", "start the brokers that are down")
    yield from _faults_of_config(way, topic, config)


def _faults_of_config(way: Way, topic: str, config: dict[str, str]) -> Iterator[Fault]:
    shape, name = SHAPES[topic], way.name(topic)
    alter = f"kafka-configs --alter --topic {name} --add-config "
    if config["cleanup.policy"] != shape.cleanup:
        lost = "it would delete by key what is to be kept" if shape.cleanup == "delete" else "plans would be forgotten"
        mend = f"{alter}cleanup.policy={shape.cleanup}"
        yield Fault(name, f"cleanup.policy is {config['cleanup.policy']}: {lost}", mend)
    if (largest := int(config["max.message.bytes"])) < shape.largest:
        mend = f"{alter}max.message.bytes={shape.largest}"
        yield Fault(name, f"max.message.bytes is {largest}: larger entries are refused", mend)
    if (in_sync := int(config["min.insync.replicas"])) != (wanted := _in_sync(way.setting)):
        less = in_sync < wanted
        what = "one broker that dies takes acknowledged entries along" if less else "one broker that is away stops it"
        mend = f"{alter}min.insync.replicas={wanted}"
        yield Fault(name, f"min.insync.replicas is {in_sync}: {what}", mend, grave=less)
    if shape.cleanup == "delete" and FOREVER < (kept := int(config["retention.ms"])) < shape.keep:
        mend = f"{alter}retention.ms={shape.keep}"
        yield Fault(name, f"kept for {kept / DAY:.3g} days, not {shape.keep / DAY:g}", mend, grave=False)
    if config.get("unclean.leader.election.enable") == "true":
        mend = f"{alter}unclean.leader.election.enable=false"
        yield Fault(name, "a broker that lagged behind may lead: acknowledged entries are lost then", mend)
