"""What systemd hears."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainwatch.notify import Notifier

pytestmark = pytest.mark.network


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"@chainwatch-{secrets.token_hex(8)}"
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(60)
        yield name, sock


def test_each_call_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, sock = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("HIVE 100/100\nREADY=0")
    notifier.alive()
    notifier.stopping()
    assert [sock.recv(4096) for _ in range(4)] == [
        b"READY=1",
        b"STATUS=HIVE 100/100 READY=0",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]
    notifier.reloading()
    assert sock.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_the_watchdog_is_fed_only_when_asked(manager: tuple[str, socket.socket]) -> None:
    address, sock = manager
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())})
    notifier.status("fine")
    assert sock.recv(100) == b"STATUS=fine"
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_the_watchdog_interval_is_ours_only() -> None:
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 60
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert Notifier({"WATCHDOG_USEC": "60000000"}).watchdog_seconds == 60
    for odd in ({}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "-1"}):
        assert Notifier(odd).watchdog_seconds is None


def test_nobody_listening_is_no_failure(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
