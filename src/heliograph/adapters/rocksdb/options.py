"""RocksDB, tuned for two cores and little memory; the figures are in docs/decisions/0004-embedded-store.md.

Only :func:`families` says which column families there are.  Options that are not set are RocksDB's own.
"""

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options

MB = 1 << 20
BLOCK_CACHE = 96 * MB
"""Shared by all families and holding their indexes and filters too, so that memory does not grow with the data."""
MEMTABLES = 96 * MB
"""All families together."""
WAL_TOTAL = 192 * MB
"""Beyond it the family that pins the oldest write-ahead log is flushed: bounds the replay at a start."""

RECYCLED = 0
"""Log files that are written over instead of made anew: a secondary that meets one may read it for ever."""

WRITE_BUFFERS = {
    "state": 32 * MB,
    "history": 32 * MB,
    "log": 16 * MB,
    "wakeups": 8 * MB,
    "messages": 16 * MB,
    "journal": 16 * MB,
    "ledger": 4 * MB,
    "members": 8 * MB,
    "emails": 4 * MB,
    "dead_letters": 4 * MB,
    "meta": 4 * MB,
    "requests": 4 * MB,
    "broadcasts": 4 * MB,
}
"""Column families, and how much of each is gathered in memory before it is written out."""

POINT_READ = frozenset({"state", "history", "messages", "members"})
"""Families in which a key that is not there is asked for all the time: they get bloom filters (10 bits a key, 1 %)."""

SELDOM_READ = frozenset({"history", "log", "journal", "dead_letters"})
"""Families whose old rows are packed tightly (zstd, large blocks); the others are unpacked for single rows (lz4)."""


def _base() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    return options


def database() -> Options:
    options = _base()
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_db_write_buffer_size(MEMTABLES)
    options.set_max_total_wal_size(WAL_TOTAL)
    options.set_bytes_per_sync(MB)
    options.set_recycle_log_file_num(RECYCLED)
    options.set_allow_concurrent_memtable_write(False)  # one writer: no need to pay for many
    options.set_enable_write_thread_adaptive_yield(False)
    options.set_keep_log_file_num(3)
    options.set_max_log_file_size(4 * MB)
    options.set_stats_dump_period_sec(0)
    options.set_skip_stats_update_on_db_open(True)
    return options


def watcher() -> Options:
    """A secondary must hold every file open: those that its primary compacts away live on as long as it does."""
    options = _base()
    options.set_max_open_files(-1)
    options.set_keep_log_file_num(1)
    options.set_stats_dump_period_sec(0)
    options.set_skip_stats_update_on_db_open(True)
    return options


def families() -> dict[str, Options]:
    cache = Cache(BLOCK_CACHE)
    return {name: _family(name, size, cache) for name, size in WRITE_BUFFERS.items()}


def _family(name: str, write_buffer: int, cache: Cache) -> Options:
    options = _base()
    options.set_write_buffer_size(write_buffer)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_compression_type(DBCompressionType.lz4())
    if name in SELDOM_READ:
        options.set_bottommost_compression_type(DBCompressionType.zstd())
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(16 * 1024 if name in SELDOM_READ else 4 * 1024)
    table.set_format_version(5)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if name in POINT_READ:
        table.set_bloom_filter(10, False)
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(0.02)
    options.set_block_based_table_factory(table)
    return options
