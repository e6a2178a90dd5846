"""Kafka keeps every law of the shared log, and what it does in addition: partitions, sizes, topics, locks on doors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from deploy.local.cluster import Cluster

from heliograph.adapters.kafka import KafkaStream, check_topics, ensure_topics
from heliograph.adapters.kafka.client import Way
from heliograph.config import KafkaSetting
from heliograph.events.ids import BUCKETS
from heliograph.events.partitions import partition_key, partition_of
from heliograph.ports import Commit, Relayed
from heliograph.ports.stream import RECORDS, TOPICS, Appender, EntryRefused, Post, StreamAway, StreamGap, StreamRefused
from heliograph.runtime.relay import Relay, row_in
from tests.contracts.test_stream import Owner, StreamLaws, World, gather, posts
from tests.runtime.test_relay import World as RelayWorld


class KafkaWorld:
    def __init__(self, setting: KafkaSetting, cluster: Cluster) -> None:
        self._setting, self._cluster = setting, cluster
        self._streams: list[KafkaStream] = []
        ensure_topics(msgspec.structs.replace(setting, timeout="PT30S"))

    def stream(self) -> KafkaStream:
        self._streams.append(KafkaStream(self._setting))
        return self._streams[-1]

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        self._cluster.pause("kafka")
        yield
        self._cluster.resume("kafka")

    async def close(self) -> None:
        await asyncio.gather(*(stream.close() for stream in self._streams))


@pytest.fixture
async def world(kafka: KafkaSetting, cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Its patience is short where silence is waited for: a pause ends before the session of a member does."""
    silent = request.node.name == "test_while_nobody_answers_it_is_said_and_afterwards_all_goes_on"
    world = KafkaWorld(msgspec.structs.replace(kafka, timeout="PT4S" if silent else "PT30S"), cluster)
    yield world
    await world.close()


class TestKafka(StreamLaws):
    """The suite of the contract, on a real broker."""


@pytest.fixture
async def stream(kafka: KafkaSetting) -> AsyncIterator[KafkaStream]:
    ensure_topics(kafka)
    stream = KafkaStream(kafka)
    yield stream
    await stream.close()


@pytest.mark.parametrize("partitions", [4, 7, 32])
async def test_every_bucket_goes_where_the_clients_of_kafka_put_its_key(kafka: KafkaSetting, partitions: int) -> None:
    """No partition is named: librdkafka's murmur2 decides, which is that of the Java client."""
    setting = msgspec.structs.replace(kafka, partitions=partitions)
    ensure_topics(setting)
    stream = KafkaStream(setting)
    places = await stream.appender().append([Post(RECORDS, partition_key(n), b"") for n in range(BUCKETS)])
    await stream.close()
    assert [place[0] for place in places] == [partition_of(n, partitions) for n in range(BUCKETS)]


async def test_silence_is_told_within_the_time_of_the_settings(kafka: KafkaSetting, cluster: Cluster) -> None:
    ensure_topics(kafka)
    stream = KafkaStream(msgspec.structs.replace(kafka, timeout="PT2S"))
    appender, clock = stream.appender(), asyncio.get_running_loop().time
    await taken_at_last(appender)
    cluster.pause("kafka")
    begun = clock()
    with pytest.raises(StreamAway, match="nothing acknowledged in 2 s"):
        await appender.append(posts(1))
    assert 1.9 < clock() - begun < 30
    with pytest.raises(StreamAway):
        await appender.partitions(RECORDS)
    cluster.resume("kafka")
    await stream.close()


async def taken_at_last(appender: Appender) -> None:
    """A first one may take longer than the time of the settings: a producer has to be made known."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StreamAway):
                await appender.append(posts(1))
                break


async def test_an_address_where_nobody_is_is_told_likewise(kafka: KafkaSetting) -> None:
    stream = KafkaStream(msgspec.structs.replace(kafka, brokers="127.0.0.1:1", timeout="PT3S"))
    with pytest.raises(StreamAway, match="Connection refused"):
        await stream.appender().append(posts(1))
    reader = stream.reader([RECORDS], Owner(), group=None)
    with pytest.raises(StreamAway):
        await gather(reader, 1)
    with pytest.raises(StreamAway):
        ensure_topics(msgspec.structs.replace(kafka, brokers="127.0.0.1:1", timeout="PT1S"))
    await stream.close()


async def test_a_topic_takes_what_its_shape_says_and_the_refusal_says_the_mend(stream: KafkaStream) -> None:
    appender = stream.appender()
    await appender.append([Post("effects", b"", bytes(4_000_000))])
    noise = b"".join(n.to_bytes(8, "big") for n in range(300_000))
    with pytest.raises(EntryRefused, match=r"raise its max.message.bytes"):
        await appender.append([Post("outcomes", b"", noise)])
    with pytest.raises(StreamRefused, match=r"a compacted topic needs a key|Broker failed to validate record"):
        await stream.appender().append([Post("plan", None, b"no key")])  # type: ignore[arg-type]


async def test_an_owner_who_reads_nothing_keeps_partitions_and_misses_nothing(stream: KafkaStream) -> None:
    """More than waits for an owner (8,000), and longer than the thread waits before it stops fetching."""
    reader = stream.reader([RECORDS], owner := Owner(), group="workers")
    appender = stream.appender()
    for first in range(0, 20_000, 2_000):
        await appender.append(posts(2_000, first=first))
    await asyncio.sleep(3)
    entries = await gather(reader, 20_000)
    assert sorted(int(entry.value) for entry in entries) == list(range(20_000))
    assert [what for what, _ in owner.story] == ["assigned"] * 4


async def test_what_retention_took_is_not_passed_over_in_silence(kafka: KafkaSetting) -> None:
    ensure_topics(kafka)
    stream, admin = KafkaStream(kafka), AdminClient({"bootstrap.servers": kafka.brokers})
    await stream.appender().append([Post(RECORDS, b"", b"%d" % n, 0) for n in range(10)])
    place = TopicPartition(f"{kafka.prefix}.{RECORDS}", 0, 6)
    for deleted in admin.delete_records([place]).values():
        deleted.result()
    for gone in (3, 11):  # retention took it; nobody has written that far, so it is another topic
        with pytest.raises(StreamGap, match="what they said is lost"):
            await gather(stream.reader([RECORDS], Owner({(RECORDS, 0): gone}), group=None), 1)
    entries = await gather(stream.reader([RECORDS], Owner(), group=None), 4)
    assert [entry.offset for entry in entries] == [6, 7, 8, 9]
    await stream.close()


async def test_what_an_owner_raises_reaches_whoever_reads(stream: KafkaStream) -> None:
    class Broken(Owner):
        async def assigned(self, partitions: object) -> dict[tuple[str, int], int]:
            raise RuntimeError("the store is away")

    reader = stream.reader([RECORDS], Broken(), group="workers")
    with pytest.raises(RuntimeError, match="the store is away"):
        await gather(reader, 1)
    with pytest.raises(RuntimeError, match="the store is away"):
        await reader.read(1, 0.1)


# -- topics --


def test_topics_are_made_once_and_then_well(kafka: KafkaSetting) -> None:
    assert sorted(ensure_topics(kafka)) == sorted(f"{kafka.prefix}.{topic}" for topic in TOPICS)
    assert ensure_topics(kafka) == []
    assert check_topics(kafka) == []


def test_what_is_wrong_with_a_topic_is_said_with_the_mend(kafka: KafkaSetting) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    for made in admin.create_topics(
        [
            NewTopic(f"{kafka.prefix}.records", 3, 1, config={"cleanup.policy": "compact"}),
            NewTopic(f"{kafka.prefix}.effects", 4, 1, config={"retention.ms": "3600000", "max.message.bytes": "1000"}),
            NewTopic(f"{kafka.prefix}.plan", 1, 1, config={"cleanup.policy": "delete"}),
            NewTopic(f"{kafka.prefix}.outcomes", 4, 1, config={"unclean.leader.election.enable": "true"}),
        ]
    ).values():
        made.result()
    way = Way(kafka)
    for topic in ("records", "effects", "plan", "outcomes"):
        way.partitions(topic, made=True)  # until the broker tells of it
    setting = msgspec.structs.replace(kafka, replication=3)
    faults = {
        (fault.topic.removeprefix(f"{kafka.prefix}."), fault.what.partition(":")[0]) for fault in check_topics(setting)
    }
    assert faults >= {
        ("records", "3 partitions, where the settings say 4"),
        ("records", "cleanup.policy is compact"),
        ("records", "1 copies, where the settings say 3"),
        ("records", "min.insync.replicas is 1"),
        ("effects", "max.message.bytes is 1000"),
        ("effects", "kept for 0.0417 days, not 7"),
        ("plan", "cleanup.policy is delete"),
        ("outcomes", "a broker that lagged behind may lead"),
        ("facts", "there is no such topic"),
        ("dead_letters", "there is no such topic"),
    }
    assert [fault.mend for fault in check_topics(kafka) if "max.message.bytes is 1000:" in fault.what] == [
        f"kafka-configs --alter --topic {kafka.prefix}.effects --add-config max.message.bytes=4194304"
    ]


# -- locks on doors --


def doors(kafka: KafkaSetting, cluster: Cluster) -> dict[str, KafkaSetting]:
    """Ways in, by name: each with all that it needs."""
    there = cluster.addresses["kafka"]
    ca, files = str(there["ca_file"]), {name: str(there[name]) for name in ("certificate_file", "key_file")}
    alice = {"username": "alice", "password": "alice-secret"}
    tls = {"brokers": there["ssl"], "protocol": "ssl", "ca_file": ca}
    both = {"protocol": "sasl_ssl", "ca_file": ca, **alice}
    ways = {
        "tls": tls,
        "tls with a certificate": {**tls, **files},
        "plain": {"brokers": there["sasl_plaintext"], "protocol": "sasl_plaintext", "mechanism": "PLAIN", **alice},
        "plain over tls": {"brokers": there["sasl_ssl"], "mechanism": "PLAIN", **both},
        "scram 256": {"brokers": there["sasl_ssl"], "mechanism": "SCRAM-SHA-256", **both},
        "scram 512": {"brokers": there["sasl_ssl"], "mechanism": "SCRAM-SHA-512", **both},
    }
    return {name: msgspec.structs.replace(kafka, timeout="PT8S", **way) for name, way in ways.items()}


@pytest.mark.parametrize("name", ["tls", "tls with a certificate", "plain over tls", "plain", "scram 256", "scram 512"])
async def test_every_lock_opens_with_its_key(kafka: KafkaSetting, cluster: Cluster, name: str) -> None:
    setting = doors(kafka, cluster)[name]
    assert len(ensure_topics(setting)) == len(TOPICS)
    assert check_topics(setting) == []
    stream = KafkaStream(setting)
    await stream.appender().append(posts(20))
    assert len(await gather(stream.reader([RECORDS], Owner(), group="workers"), 20)) == 20
    await stream.close()


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("plain over tls", {"password": "guess"}, "(?i)authentication failed"),
        ("scram 256", {"password": "guess"}, "(?i)authentication failed"),
        ("scram 512", {"username": "mallory"}, "(?i)authentication failed"),
        ("tls", {"ca_file": ""}, "(?i)certificate|ssl"),
    ],
)
async def test_without_its_key_a_lock_stays_shut_and_it_is_said_why(
    kafka: KafkaSetting, cluster: Cluster, name: str, wrong: dict[str, str], said: str
) -> None:
    ensure_topics(kafka)
    setting = msgspec.structs.replace(doors(kafka, cluster)[name], timeout="PT6S", **wrong)
    stream = KafkaStream(setting)
    with pytest.raises(StreamAway, match=said):
        await stream.appender().append(posts(1))
    await stream.close()


async def test_who_is_not_allowed_is_refused_with_the_command_that_mends_it(
    kafka: KafkaSetting, cluster: Cluster
) -> None:
    ensure_topics(kafka)
    bob = msgspec.structs.replace(doors(kafka, cluster)["scram 256"], username="bob", password="bob-secret")
    deny = [
        AclBinding(ResourceType.TOPIC, f"{kafka.prefix}.records", ResourcePatternType.LITERAL, "User:bob", "*",
                   AclOperation.WRITE, AclPermissionType.DENY),
        AclBinding(ResourceType.TOPIC, f"{kafka.prefix}.effects", ResourcePatternType.LITERAL, "User:bob", "*",
                   AclOperation.READ, AclPermissionType.DENY),
    ]  # fmt: skip
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    for made in admin.create_acls(deny).values():
        made.result()
    stream = KafkaStream(bob)
    with pytest.raises(StreamRefused, match=r"User:bob is not allowed on .*records: kafka-acls --add"):
        async with asyncio.timeout(60):
            while True:  # until the broker, which the controller tells of it
                await stream.appender().append(posts(1))
    with pytest.raises(StreamRefused, match=r"User:bob is not allowed on .*effects"):
        await gather(stream.reader(["effects"], Owner(), group=None), 1)
    await stream.close()


async def test_a_relay_sets_aside_what_a_broker_refuses_and_its_neighbours_arrive(kafka: KafkaSetting) -> None:
    """Also those that librdkafka put into one batch with it."""
    ensure_topics(kafka)
    stream, world = KafkaStream(kafka), RelayWorld()
    relay = Relay(world.store, stream.appender(), world.meter, world.processor.put)
    values = [b"%d" % n for n in range(50)]
    values[20] = b"".join(n.to_bytes(8, "big") for n in range(600_000))  # of the 2 MB that records take
    world.store.commit(Commit(relay=[Relayed(f"r{n}", RECORDS, b"\0\1", value) for n, value in enumerate(values)]))
    while await relay.portion():
        pass
    (letter,) = world.letters()
    row = row_in(letter)
    assert row is not None and row.value == values[20] and "max.message.bytes" in letter.reason
    arrived = [entry.value for entry in await gather(stream.reader([RECORDS], Owner(), group=None), 49)]
    assert list(dict.fromkeys(arrived)) == [*values[:20], *values[21:]]
    await world.stop()
    await stream.close()
