"""``chainwatch devices``: door scanners from the shell."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.terminal import NO, ConfigOption, JsonOption, group, in_ledger, say, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

devices = group("Door scanners of an event: added, listed, revoked.")

EventArgument = Annotated[str, typer.Argument(help="The event's id.")]


@devices.command("add")
def add(
    event: EventArgument,
    name: Annotated[str, typer.Option("--name", help="What people call it: a gate, or who holds it.")],
    url: Annotated[
        str | None, typer.Option("--url", help="Where devices reach the daemon; [http] public_url, if left out.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add a scanner; prints the link that sets it up, and its QR code.  The key in it is shown this once."""
    from chainwatch.api.devices import enrol_url
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import devices as ledger
    from chainwatch.ledger import events
    from chainwatch.parts import open_issuer

    def body(connection: "Connection", settings: "Settings") -> dict[str, Any]:
        row = events.find(connection, event)
        device_id, key = ledger.add(connection, row, name, SystemClock().now_ms(), "cli")
        base = url or settings.http.public_url or f"http://{settings.http.listen}"
        pin = open_issuer(settings).signer("manifest").public
        return {"id": device_id, "event": event, "name": name, "key": key, "enrol_url": enrol_url(base, key, pin)}

    made = in_ledger(config, body, write=True)
    say(made, json, _show_link)


def _show_link(made: dict[str, Any]) -> None:
    import segno

    print(f"device {made['id']}, {made['name']!r} of event {made['event']}. Open this on it, or scan the code:\n")
    print(f"  {made['enrol_url']}\n")
    if sys.stdout.isatty():
        segno.make(made["enrol_url"], error="l", micro=False).terminal(compact=True)
    if made["enrol_url"].startswith("http://") and "//127.0.0.1" not in made["enrol_url"]:
        print("Browsers give the camera and offline work to https alone: put the daemon behind a proxy that has it.")


@devices.command("list")
def show(event: EventArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """An event's scanners, and when each was last heard of."""
    from chainwatch.ledger import devices as ledger
    from chainwatch.ledger import events
    from chainwatch.times import format_ms

    def body(connection: "Connection", _settings: "Settings") -> list[dict[str, Any]]:
        return [
            {
                "id": d.id,
                "name": d.name,
                "created_at": format_ms(d.created_ms),
                "seen_at": format_ms(d.seen_ms),
                "revoked_at": format_ms(d.revoked_ms),
            }
            for d in ledger.listing(connection, events.find(connection, event))
        ]

    found = in_ledger(config, body)
    columns = ("id", "name", "created", "last heard of", "revoked")
    say(found, json, lambda rows: table("Devices", columns, [tuple(d.values()) for d in rows]))


@devices.command("revoke")
def revoke(
    event: EventArgument,
    device: Annotated[int, typer.Argument(help="The device's id, as `devices list` shows it.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Refuse a scanner from its next request on; what it scanned stays.  Exit 1: it was revoked already."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import devices as ledger
    from chainwatch.ledger import events

    def body(connection: "Connection", _settings: "Settings") -> bool:
        row = events.find(connection, event)
        return ledger.revoke(connection, row, device, SystemClock().now_ms(), "cli")

    done = in_ledger(config, body, write=True)
    say({"id": device, "revoked": done}, json, lambda d: print("revoked" if d["revoked"] else "was revoked already"))
    raise typer.Exit(0 if done else NO)
