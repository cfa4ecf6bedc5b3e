"""``chainwatch keys operator``: who may use the API and the operator's pages."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.terminal import NO, ConfigOption, JsonOption, group, in_ledger, say, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

operator = group("Operators' API keys: several may be active; only hashes are kept.")


@operator.command("add")
def operator_add(
    name: Annotated[str, typer.Argument(help="Whose key it is; stands in the audit log.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="events, money, door or read; all of them when left out.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, this once."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import operators

    def body(connection: "Connection", _settings: "Settings") -> str:
        return operators.add(connection, name, scope or operators.SCOPES, SystemClock().now_ms(), "cli")

    key = in_ledger(config, body, write=True)
    say({"name": name, "key": key}, json, lambda d: print(f"{d['key']}\nkeep it: it is not shown again"))


@operator.command("list")
def operator_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """All keys by name, revoked ones too."""
    from chainwatch.ledger import operators
    from chainwatch.times import format_ms

    def body(connection: "Connection", _settings: "Settings") -> list[dict[str, Any]]:
        return [
            {
                "name": r.name,
                "scopes": r.scopes.split(),
                "created": format_ms(r.created_ms),
                "used": format_ms(r.used_ms),
                "revoked": format_ms(r.revoked_ms),
            }
            for r in operators.listing(connection)
        ]

    def human(rows: list[dict[str, Any]]) -> None:
        names = ("name", "scopes", "created", "used", "revoked")
        table("Operators", names, [[" ".join(r[n]) if n == "scopes" else r[n] for n in names] for r in rows])

    say(in_ledger(config, body), json, human)


@operator.command("revoke")
def operator_revoke(name: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Take a key out of force at once.  Exit 1: there was none of that name."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import operators

    now_ms = SystemClock().now_ms()
    revoked = in_ledger(config, lambda c, _: operators.revoke(c, name, now_ms, "cli"), write=True)
    say({"revoked": revoked}, json, lambda d: print("revoked" if d["revoked"] else f"there is no key {name!r}"))
    raise typer.Exit(0 if revoked else NO)
