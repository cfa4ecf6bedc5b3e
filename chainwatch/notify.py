"""Tell systemd how we are: sd_notify(3), one datagram a message, no dependency.

Without ``$NOTIFY_SOCKET`` (a terminal, a test) every call does nothing.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

_MAX_STATUS = 500  # systemctl shows one line


class Notifier:
    """The service manager's end.  Nothing here is sent unless somebody asks: the watchdog least of all."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        meant_for_us = environ.get("WATCHDOG_PID") in {None, str(os.getpid())}
        microseconds = environ.get("WATCHDOG_USEC", "")
        usable = meant_for_us and microseconds.isascii() and microseconds.isdecimal()
        self.watchdog_seconds: float | None = int(microseconds) / 1e6 if usable and int(microseconds) else None
        """How often systemd wants a sign of life; feed it twice as often.  None: it does not ask."""

    def ready(self) -> None:
        """Started: the database is open and the cursors are read."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send("STATUS=" + " ".join(text.split())[:_MAX_STATUS])

    def alive(self) -> None:
        """Feed the watchdog.  Only the supervisor calls this, and only when every chain's loop progressed."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Begin to read the configuration again; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Begin to stop."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # "@" is the abstract namespace, written with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message.encode("utf-8"), address)
        except OSError as error:
            log.warning("the service manager cannot be told", extra={"why": str(error)})
