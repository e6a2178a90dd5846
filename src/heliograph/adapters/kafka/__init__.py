"""The shared log on Apache Kafka, by confluent-kafka (decision 0052)."""

from heliograph.adapters.kafka.offsets import check_offsets
from heliograph.adapters.kafka.stream import KafkaStream
from heliograph.adapters.kafka.topics import SHAPES, Fault, Shape, check_topics, ensure_topics

__all__ = ["SHAPES", "Fault", "KafkaStream", "Shape", "check_offsets", "check_topics", "ensure_topics"]
