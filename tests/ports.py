"""Ports that stay free until somebody listens there."""

import contextlib
import random
import socket


def free_port() -> int:
    """Below those that the system gives to connections."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
