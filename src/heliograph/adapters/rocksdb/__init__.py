"""The embedded store: RocksDB, in the process that owns the data folder, and views of it beside that process."""

from heliograph.adapters.rocksdb.store import RocksStore
from heliograph.adapters.rocksdb.view import Kept, Logged, RocksView

__all__ = ["Kept", "Logged", "RocksStore", "RocksView"]
