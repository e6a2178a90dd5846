"""The store in memory: the twin of every durable one, for tests, simulations and trials."""

from heliograph.adapters.memory.caller import MemoryCaller
from heliograph.adapters.memory.dns import MemoryDns
from heliograph.adapters.memory.store import MemoryStore
from heliograph.adapters.memory.transport import MemoryTransport

__all__ = ["MemoryCaller", "MemoryDns", "MemoryStore", "MemoryTransport"]
