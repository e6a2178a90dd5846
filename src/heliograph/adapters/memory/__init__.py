"""The store in memory: the twin of every durable one, for tests, simulations and trials."""

from heliograph.adapters.memory.cache import MemoryProfiles
from heliograph.adapters.memory.caller import MemoryCaller
from heliograph.adapters.memory.dns import MemoryDns
from heliograph.adapters.memory.share import MemoryShare
from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.memory.store import MemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.memory.transport import MemoryTransport

__all__ = [
    "MemoryBroker",
    "MemoryCaller",
    "MemoryDns",
    "MemoryProfiles",
    "MemoryShare",
    "MemoryStore",
    "MemoryStream",
    "MemoryTransport",
    "SharedMemoryStore",
]
