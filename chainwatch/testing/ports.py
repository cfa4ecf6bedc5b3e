"""Ports for programs that bind them a moment later, and again when they come back."""

import contextlib
import random
import socket
from pathlib import Path

LOWEST = 12_000
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int = 1) -> list[int]:
    """Return ports of loopback that are free, and that the system gives to nobody who takes any.

    A port that was got by binding 0 goes to the next server or connection of another test as soon as it is let go.
    """
    chance, end = random.SystemRandom(), _first_given()
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            try:
                one.bind(("127.0.0.1", chance.randrange(LOWEST, end) if end > 2 * LOWEST else 0))
            except OSError:  # taken
                continue
            ports.append(one.getsockname()[1])
        return ports


def _first_given() -> int:
    """Return the first port that the system gives by itself; Linux says which."""
    return int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else 32_768
