"""Whom a Postfix asks: who may log in (Dovecot's authentication protocol), what the policy is (access delegation)."""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

Answer = Callable[[dict[str, str]], str]


@contextlib.asynccontextmanager
async def policy(port: int, answer: Answer) -> AsyncIterator[None]:
    """``check_policy_service inet:127.0.0.1:PORT``: ``answer`` gets the attributes of a request, gives an action."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\n\n")).decode()
                attributes = dict(line.split("=", 1) for line in request.splitlines() if "=" in line)
                writer.write(f"action={answer(attributes)}\n\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield


def greylist() -> Answer:
    """Whoever is unknown shall come back later; the second time they are known."""
    seen: Counter[str] = Counter()

    def answer(attributes: dict[str, str]) -> str:
        seen[attributes["recipient"]] += 1
        return "450 4.7.1 greylisted, come back later" if seen[attributes["recipient"]] == 1 else "dunno"

    return answer


@contextlib.asynccontextmanager
async def logins(port: int, users: dict[str, str]) -> AsyncIterator[None]:
    """``smtpd_sasl_type = dovecot``, ``smtpd_sasl_path = inet:127.0.0.1:PORT``: PLAIN only, protocol version 1.2."""
    greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef\nDONE\n"
    known = {base64.b64encode(f"\0{user}\0{word}".encode()).decode(): user for user, word in users.items()}

    def judge(line: str) -> str:
        number, *fields = line.split("\t")[1:]
        response = next((field[5:] for field in fields if field.startswith("resp=")), "")
        return f"OK\t{number}\tuser={known[response]}\n" if response in known else f"FAIL\t{number}\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode())
        with contextlib.suppress(ConnectionError):
            async for raw in reader:
                if raw.startswith(b"AUTH\t"):
                    writer.write(judge(raw.decode().strip()).encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield
