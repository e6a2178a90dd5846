"""The embedded store: RocksDB, in the process that owns the data folder."""

from heliograph.adapters.rocksdb.store import RocksStore

__all__ = ["RocksStore"]
