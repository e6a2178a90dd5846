"""Ports that stay free until somebody listens there."""

import contextlib
import os
import random
import socket
from typing import Final

FIRST: Final = 20_000
EACH: Final = 1_500
PROCESS: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
"""Of those that share the tests; each has ports of its own, below those that the system gives to connections."""

_given: set[int] = set()


def free_port() -> int:
    """One that was not given lately."""
    if len(_given) > EACH // 2:
        _given.clear()
    mine = range(FIRST + PROCESS * EACH, FIRST + (PROCESS + 1) * EACH)
    for port in random.sample(sorted({*mine} - _given), 100):
        _given.add(port)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
