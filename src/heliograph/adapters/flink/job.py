"""The job: ``records`` and ``plan`` in, the brain, ``records``, ``effects``, ``facts`` and ``outcomes`` out.

Run it through ``heliograph flink submit``.  Operators have fixed ids, so a savepoint of one version fits the next.
Outputs are at least once: whatever is said twice has the same id, and who reads it knows (decision 0055).
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from py4j.java_gateway import get_java_class
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema, RowFieldExtractorSchema
from pyflink.datastream import CheckpointingMode, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetResetStrategy,
    KafkaOffsetsInitializer,
    KafkaSink,
    KafkaSource,
    KafkaTopicPartition,
)
from pyflink.java_gateway import get_gateway

from heliograph import __version__
from heliograph.adapters.flink import JOB, KAFKA_VARIABLE
from heliograph.adapters.flink.brain import PLAN, PLANS, RECORDS, Brain, key_of
from heliograph.adapters.flink.options import words
from heliograph.events.ids import BUCKETS

BYTES: Final = Types.PRIMITIVE_ARRAY(Types.BYTE())
POSTED: Final = Types.ROW([Types.STRING(), BYTES, BYTES])
"""Topic, key, value."""
SETTINGS: Final = {
    "python.fn-execution.bundle.time": "20",
    "execution.buffer-timeout.interval": "2ms",
    "state.backend.type": "rocksdb",
    "execution.checkpointing.incremental": "true",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.tolerable-failed-checkpoints": "10",
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.initial-backoff": "500ms",
    "restart-strategy.exponential-delay.max-backoff": "30s",
    "pipeline.generic-types": "true",
}
PRODUCER: Final = {"linger.ms": "2", "batch.size": "262144", "compression.type": "lz4", "max.request.size": "8388608"}

OLDEST: Final = -2
"""Instead of an offset: `KafkaPartitionSplit.EARLIEST_OFFSET`."""
TRANSACTIONS: Final = {"transaction.timeout.ms": "600000"}
"""Shorter than the broker's bound (15 min), longer than a restart."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = words().parse_args(arguments)
    kafka: dict[str, str] = json.loads(os.environ.get(KAFKA_VARIABLE, "{}"))
    env = _environment(options)
    records = env.from_source(
        _source(options, kafka, RECORDS, _first(options)), WatermarkStrategy.no_watermarks(), RECORDS, type_info=BYTES
    ).uid(RECORDS)
    plan = _source(options, kafka, PLAN, KafkaOffsetsInitializer.earliest())
    plans = env.from_source(plan, WatermarkStrategy.no_watermarks(), PLAN, type_info=BYTES).uid(PLAN).set_parallelism(1)
    people = records.key_by(key_of, key_type=Types.STRING())
    said = people.connect(plans.broadcast(PLANS)).process(
        Brain(options.into or options.prefix, options.facts), output_type=POSTED
    )
    said.uid("brain").name("brain").sink_to(_sink(options, kafka)).uid("said").name("said")
    env.execute(f"{JOB} {options.into or options.prefix}")


def _environment(options: argparse.Namespace) -> StreamExecutionEnvironment:
    config = Configuration()
    for name, value in SETTINGS.items():
        config.set_string(name, value)
    config.set_string("restart-strategy.type", options.restarts)
    config.set_string("python.execution-mode", options.mode)
    config.set_string("pipeline.global-job-parameters", f"heliograph.version:{__version__}")
    env = StreamExecutionEnvironment.get_execution_environment(config)
    env.set_parallelism(options.parallelism)
    env.set_max_parallelism(BUCKETS)
    env.enable_checkpointing(options.checkpoint, CheckpointingMode.EXACTLY_ONCE)
    return env


def _first(options: argparse.Namespace) -> KafkaOffsetsInitializer:
    """The oldest record.  What a savepoint or a checkpoint says instead must still be there: a job passes over records
    that nobody decided only when it is told to."""
    if options.past_gap:
        return KafkaOffsetsInitializer.earliest()
    topic = f"{options.prefix}.{RECORDS}"
    parts = {KafkaTopicPartition(topic, number): OLDEST for number in range(BUCKETS)}
    return KafkaOffsetsInitializer.offsets(parts, KafkaOffsetResetStrategy.NONE)


def _source(
    options: argparse.Namespace, kafka: Mapping[str, str], topic: str, first: KafkaOffsetsInitializer
) -> KafkaSource:
    """From ``first`` on, unless a savepoint or a checkpoint says where."""
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(options.brokers)
        .set_topics(f"{options.prefix}.{topic}")
        .set_group_id(f"{options.into or options.prefix}.brain")
        .set_starting_offsets(first)
        .set_value_only_deserializer(ByteArraySchema())
    )
    for name, value in kafka.items():
        builder = builder.set_property(name, value)
    return builder.build()


def _sink(options: argparse.Namespace, kafka: Mapping[str, str]) -> KafkaSink:
    """One sink for all topics: the first field of a row names the topic, the others are key and value.  Kafka's own
    partitioner places them by the key.  (``KafkaSinkBuilder.set_record_serializer`` would put a Python function in
    front that makes such rows; ours come as rows.)"""
    once = options.exactly_once
    builder = (
        KafkaSink.builder()
        .set_bootstrap_servers(options.brokers)
        .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE if once else DeliveryGuarantee.AT_LEAST_ONCE)
        .set_transactional_id_prefix(f"{options.into or options.prefix}.brain")
    )
    builder._j_builder.setRecordSerializer(_serializer())
    for name, value in {**PRODUCER, **(TRANSACTIONS if once else {}), **kafka}.items():
        builder = builder.set_property(name, value)
    return builder.build()


def _serializer() -> Any:
    jvm = get_gateway().jvm
    kafka = jvm.org.apache.flink.connector.kafka.sink
    topic_of = jvm.org.apache.flink.python.util.PythonConnectorUtils.createFirstColumnTopicSelector(
        get_java_class(kafka.TopicSelector)
    )
    builder = kafka.KafkaRecordSerializationSchema.builder()
    builder.setTopicSelector(topic_of)
    builder.setKeySerializationSchema(RowFieldExtractorSchema(1)._j_serialization_schema)
    builder.setValueSerializationSchema(RowFieldExtractorSchema(2)._j_serialization_schema)
    return builder.build()


if __name__ == "__main__":
    main()
