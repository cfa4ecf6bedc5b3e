"""``chainwatch webhooks``: who is told what, from the shell."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.terminal import ConfigOption, JsonOption, group, in_ledger, say, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings
    from chainwatch.ledger.webhooks import Webhook

webhooks = group("Who is told what happens.")


def _dict(hook: "Webhook") -> dict[str, Any]:
    from chainwatch.times import format_ms

    return {
        "id": str(hook.id),
        "url": hook.url,
        "types": list(hook.types),
        "description": hook.description,
        "enabled": hook.disabled_ms is None,
        "disabled_why": hook.disabled_why,
        "created_at": format_ms(hook.created_ms),
    }


@webhooks.command("list")
def webhooks_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Endpoints, and how many of their messages wait or were given up."""
    from chainwatch.ledger import deliveries
    from chainwatch.ledger import webhooks as ledger

    def body(connection: "Connection", _settings: "Settings") -> list[dict[str, Any]]:
        return [{**_dict(hook), **deliveries.counts(connection, hook.id)} for hook in ledger.listing(connection)]

    def human(rows: list[dict[str, Any]]) -> None:
        names = ("id", "url", "types", "enabled", "disabled_why", "pending", "dead")
        table("Webhooks", names, [[" ".join(r[n]) if n == "types" else r[n] for n in names] for r in rows])

    say(in_ledger(config, body), json, human)


@webhooks.command("add")
def webhooks_add(
    url: str,
    types: Annotated[list[str] | None, typer.Option("--type", help="Message type; several times; all if none.")] = None,
    description: Annotated[str, typer.Option("--description")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tell a URL what happens; prints the secret that signs."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import webhooks as ledger
    from chainwatch.parts import open_issuer

    now_ms = SystemClock().now_ms()

    def body(connection: "Connection", settings: "Settings") -> dict[str, Any]:
        hook = ledger.create(
            connection,
            url,
            types or [ledger.ALL],
            now_ms=now_ms,
            actor="cli",
            description=description,
            allow_private=settings.webhooks.allow_private,
        )
        return {**_dict(hook), "secret": hook.secrets(open_issuer(settings), now_ms)[0]}

    say(in_ledger(config, body, write=True), json, lambda d: print(f"webhook {d['id']}, secret {d['secret']}"))


@webhooks.command("redeliver")
def webhooks_redeliver(
    webhook_id: int,
    delivery: Annotated[int | None, typer.Option("--delivery", help="This one only.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Dead letters from this time on (RFC 3339).")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Send again what was given up, or one delivery."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import deliveries
    from chainwatch.times import parse_ms

    now_ms, since_ms = SystemClock().now_ms(), parse_ms(since) or 0

    def body(connection: "Connection", _settings: "Settings") -> int:
        if delivery is not None:
            deliveries.redeliver(connection, webhook_id, delivery, now_ms=now_ms, actor="cli")
            return 1
        return deliveries.redeliver_dead(connection, webhook_id, since_ms=since_ms, now_ms=now_ms, actor="cli")

    n = in_ledger(config, body, write=True)
    say({"redelivered": n}, json, lambda d: print(f"{d['redelivered']} messages will be sent again"))
