"""The first visit: keys for whoever tries the built-in network, and where to look."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from chainwatch.devnet.network import SAMPLES
from chainwatch.ledger import devices, events, operators

if TYPE_CHECKING:
    from chainwatch.app import App


class Keys(msgspec.Struct, frozen=True):
    """An operator's key, and a door device's for the first sample event."""

    operator: str
    door: str


def keys(connection: Connection, state_dir: Path, now_ms: int) -> Keys:
    """Return the visitor's keys; the first time they are made, and kept in files that only their owner reads."""
    operator, door = state_dir / "operator-key", state_dir / "door-key"
    if not (held := _held(operator)) or operators.find(connection, held) is None:
        operators.revoke(connection, "first", now_ms, "devnet")
        held = _keep(operator, operators.add(connection, "first", operators.SCOPES, now_ms, "devnet"))
    if not (scanner := _held(door)) or devices.authenticate(connection, scanner, now_ms) is None:
        event = events.find(connection, SAMPLES[0][0])
        scanner = _keep(door, devices.add(connection, event, "first gate", now_ms, "devnet")[1])
    return Keys(held, scanner)


def _held(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _keep(path: Path, key: str) -> str:
    path.unlink(missing_ok=True)  # of a database that is gone
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
    return key


def text(app: "App", visitor: Keys) -> str:
    """Say where to look."""
    url = app.server.url
    return f"""
chainwatch is running on a network of simulated nodes: {", ".join(app.contexts)}.
Buyers come every few seconds; their payments become tickets.  Buy one yourself:

  {url}/      what is on sale: buy, pay with a simulated wallet, see the ticket appear, come in
  {url}/door#key={visitor.door}
               the scanner of the first event: scan the ticket's code, or paste it
  {url}/ops   operations; sign in with {visitor.operator}
  {url}/docs  the HTTP API, to try out
  {url}/metrics, {url}/readyz

In another terminal: .venv/bin/chainwatch status · event list · audit

state, keys and database: {app.settings.state_dir}
Ctrl-C stops it.
"""
