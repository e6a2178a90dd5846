"""A DNS server for tests: UDP and TCP on one port of 127.0.0.1, answering from a table.

``zone`` maps (name, kind) to the texts of records: ``zone["shop.example", "MX"] = ["10 mx.shop.example."]``.  A name
with any record exists; others are NXDOMAIN.  ``broken`` names answer SERVFAIL, ``silent`` ones nothing at all.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.ports import free_port

SOA = "ns.test. hostmaster.test. 1 3600 600 86400 60"


@dataclass
class Zone:
    """``asked``: how often each (name, kind) was asked for."""

    zone: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    ttl: int = 60
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    port: int = 0

    @property
    def nameserver(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set(self, name: str, kind: str, *records: str) -> None:
        self.zone[name, kind] = list(records)

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, name, kind)
        wire = response.to_wire(max_size=65535)
        if len(wire) > 1200 and not tcp:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()
        return wire

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(8):
            if (name, "CNAME") not in self.zone or kind == "CNAME":
                break
            response.answer.append(self._records(name, "CNAME"))
            name = self.zone[name, "CNAME"][0].rstrip(".")
        if (name, kind) in self.zone:
            response.answer.append(self._records(name, kind))
            return
        if not any(known == name or known.endswith("." + name) for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        zone = name.rpartition(".")[2] or name
        response.authority.append(dns.rrset.from_text(zone + ".", self.ttl, "IN", "SOA", SOA))

    def _records(self, name: str, kind: str) -> dns.rrset.RRset:
        return dns.rrset.from_text(name + ".", self.ttl, "IN", kind, *self.zone[name, kind])


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self._zone.answer(data, tcp=False)) is not None:
            self._transport.sendto(answer, addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving_dns(zone: Zone) -> AsyncIterator[Zone]:
    """The zone on a free port, UDP and TCP."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if (answer := zone.answer(await reader.readexactly(size), tcp=True)) is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        writer.close()

    zone.port = free_port()  # of both kinds
    server = await asyncio.start_server(talk, "127.0.0.1", zone.port)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.bind(("127.0.0.1", zone.port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Udp(zone), sock=udp)
    try:
        yield zone
    finally:
        transport.close()
        server.close()
        await asyncio.sleep(0)
