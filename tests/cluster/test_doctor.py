"""The doctor sees real servers as they are, and mends what it may."""

import asyncio
from pathlib import Path

import redis as redis_client
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from heliograph.config.settings import KafkaSetting, PostgresSetting, RedisSetting
from heliograph.doctor.kafka import kafka as look_at_kafka
from heliograph.doctor.postgres import postgres as look_at_postgres
from heliograph.doctor.redis import redis as look_at_redis
from tests.doctor.clinic import patient, said


def kafka_table(setting: KafkaSetting) -> str:
    return (
        f'[kafka]\nbrokers = "{setting.brokers}"\nprefix = "{setting.prefix}"\n'
        f"partitions = {setting.partitions}\nreplication = {setting.replication}\n"
    )


async def test_missing_topics_fail_are_made_and_then_are_well(tmp_path: Path, kafka: KafkaSetting) -> None:
    one = patient(tmp_path, more=kafka_table(kafka))
    found = await said(one, look_at_kafka)
    assert found["kafka"].status == "ok"
    assert found[f"kafka.{kafka.prefix}.records"].status == "fail"
    one.mend = True
    found = await said(one, look_at_kafka)
    assert f"{kafka.prefix}.records" in found["kafka.topics"].seen
    one.mend = False
    assert (await said(one, look_at_kafka))["kafka.topics"].status == "ok"


async def test_a_topic_that_keeps_too_little_is_a_warning_with_the_command(tmp_path: Path, kafka: KafkaSetting) -> None:
    one = patient(tmp_path, more=kafka_table(kafka), mend=True)
    await said(one, look_at_kafka)
    name = f"{kafka.prefix}.records"
    shorter = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[shorter])
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)
    for _ in range(100):  # a broker learns of it in its own time
        if f"kafka.{name}" in (all_found := await said(one, look_at_kafka)):
            break
        await asyncio.sleep(0.1)
    found = all_found[f"kafka.{name}"]
    assert (found.status, "retention.ms=604800000" in found.mend) == ("warn", True)


async def test_more_partitions_than_the_settings_say_fail(tmp_path: Path, kafka: KafkaSetting) -> None:
    await said(patient(tmp_path, more=kafka_table(kafka), mend=True), look_at_kafka)
    wrong = kafka_table(kafka).replace("partitions = 4", "partitions = 8")
    found = (await said(patient(tmp_path, more=wrong), look_at_kafka))[f"kafka.{kafka.prefix}.records"]
    assert (found.status, "kafka.partitions = 4" in found.mend) == ("fail", True)


async def test_kafka_that_is_away_fails(tmp_path: Path) -> None:
    one = patient(tmp_path, more='[kafka]\nbrokers = "127.0.0.1:1"\ntimeout = "PT2S"\n')
    assert (await said(one, look_at_kafka))["kafka"].status == "fail"


async def test_an_empty_database_is_mended_and_its_clock_is_heard(tmp_path: Path, postgres: PostgresSetting) -> None:
    one = patient(tmp_path, more=f'[postgres]\nurl = "{postgres.url}"\n')
    found = await said(one, look_at_postgres)
    assert found["postgres"].status == "ok"
    assert (found["postgres.schema"].status, found["postgres.schema"].mend) == ("fail", "heliograph db upgrade")
    assert found["clock.postgres"].status == "ok"
    one.mend = True
    assert (await said(one, look_at_postgres))["postgres.schema"].status == "ok"
    one.mend = False
    assert (await said(one, look_at_postgres))["postgres.schema"].seen.startswith("migration ")


async def test_a_pool_that_does_not_fit_fails(tmp_path: Path, postgres: PostgresSetting) -> None:
    one = patient(tmp_path, more=f'[postgres]\nurl = "{postgres.url}"\npool = 200\n')
    assert (await said(one, look_at_postgres))["postgres.connections"].status == "fail"


async def test_a_wrong_password_or_database_is_told(tmp_path: Path, postgres: PostgresSetting) -> None:
    one = patient(tmp_path, more=f'[postgres]\nurl = "{postgres.url}_gone"\n')
    found = (await said(one, look_at_postgres))["postgres"]
    assert (found.status, "_gone" in found.seen) == ("fail", True)


async def test_a_redis_that_refuses_when_full_fails(tmp_path: Path, redis: RedisSetting) -> None:
    one = patient(tmp_path, more=f'[redis]\nurl = "{redis.url}"\n')
    client = redis_client.from_url(redis.url)
    before = {key: client.config_get(key)[key] for key in ("maxmemory", "maxmemory-policy")}
    said_of = {}
    try:
        for most, policy in (("0", "noeviction"), ("100mb", "noeviction"), ("100mb", "allkeys-lru")):
            await asyncio.to_thread(client.config_set, "maxmemory", most)
            await asyncio.to_thread(client.config_set, "maxmemory-policy", policy)
            found = await said(one, look_at_redis)
            said_of[most, policy] = found["redis.memory"].status
        assert (found["redis"].status, found["clock.redis"].status) == ("ok", "ok")
    finally:
        for key, value in before.items():
            client.config_set(key, value)
        client.close()
    assert said_of == {("0", "noeviction"): "warn", ("100mb", "noeviction"): "fail", ("100mb", "allkeys-lru"): "ok"}
