"""ClickHouse, on a server or inside the process (chDB): where facts are measured.  Imported by whoever loads or asks,
never by a server: the engine is 190 MB of memory and a second of loading."""

from heliograph.adapters.clickhouse.asking import QueryDesk, ask, socket_of
from heliograph.adapters.clickhouse.client import Place, place_of
from heliograph.adapters.clickhouse.sink import ClickhouseSink

__all__ = ["ClickhouseSink", "Place", "QueryDesk", "ask", "place_of", "socket_of"]
