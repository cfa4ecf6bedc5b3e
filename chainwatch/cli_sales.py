"""``chainwatch review``, ``purchase`` and ``guests``: what a person decides of money and of who may buy."""

from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from chainwatch.terminal import ConfigOption, JsonOption, amount_of, group, in_ledger, say, table, written

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

review = group("Payments that a person must look at.")
purchase = group("Purchases as buyers opened them.")
guests = group("Who may buy: invites and approvals.")


def _text(memo: bytes | None) -> str:
    """Return a memo for a terminal: whatever the payer wrote, no control character gets through."""
    text = (memo or b"").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:120]


# -- review --------------------------------------------------------------------------------------------


@review.command("list")
def review_list(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    after: Annotated[int, typer.Option("--after", min=0, help="Continue behind this number.")] = 0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What waits for a decision, oldest first, with what it means and what may be done."""
    from chainwatch.ledger import endings
    from chainwatch.ledger import review as items

    found = in_ledger(config, lambda c, _: items.open_items(c, limit, after))
    answer = []
    for i in found:
        ending = endings.of("review", i.reason)
        row = written(msgspec.to_builtins(i, builtin_types=(bytes,)))
        answer.append(row | {"memo": _text(i.memo), "next": ending.next if ending else ""})

    def human(rows: list[dict[str, Any]]) -> None:
        names = ("id", "chain", "amount", "reason", "ref", "memo", "paid_at", "txid", "next")
        shown = [r | {"amount": amount_of(r["asset"], int(r["amount_base"]))} for r in rows]
        table("Review", names, [[r[n] for n in names] for r in shown])

    say(answer, json, human)


@review.command("decide")
def review_decide(
    payment: Annotated[int, typer.Argument(help="Its number in the list.")],
    refund: Annotated[bool, typer.Option("--refund", help="Its money is due back.")] = False,
    assign: Annotated[
        str | None, typer.Option("--assign", help="It pays for the purchase with this reference.")
    ] = None,
    foreign: Annotated[bool, typer.Option("--foreign", help="It is not about tickets.")] = False,
    dust: Annotated[bool, typer.Option("--dust", help="It is not worth returning.")] = False,
    internal: Annotated[bool, typer.Option("--internal", help="We sent it ourselves.")] = False,
    note: Annotated[str, typer.Option("--note", help="Why, for the audit log.")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Decide what becomes of a payment in review; it stays so, however often it is computed again."""
    from chainwatch.clock import SystemClock
    from chainwatch.errors import Misconfigured
    from chainwatch.ledger import review as items
    from chainwatch.parts import contexts, open_issuer

    named = {"refund": refund, "assign": assign is not None, "foreign": foreign, "dust": dust, "internal": internal}
    chosen = [name for name, given in named.items() if given]
    if len(chosen) != 1:
        raise Misconfigured("say one of --refund, --assign REF, --foreign, --dust, --internal")
    decision = items.Decision(action=cast(items.Action, chosen[0]), ref=assign, note=note)

    def body(connection: "Connection", settings: "Settings") -> str:
        by_chain = contexts(settings, open_issuer(settings))
        return items.decide(connection, payment, decision, by_chain, SystemClock().now_ms(), "cli")

    state = in_ledger(config, body, write=True)
    say({"id": payment, "state": state}, json, lambda d: print(f"payment {payment} is {d['state']}"))


# -- purchases -----------------------------------------------------------------------------------------


@purchase.command("show")
def purchase_show(
    ref: Annotated[str, typer.Argument(help="Its reference, as in memos.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """A purchase: what its buyer was told, what came, what it became."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import views
    from chainwatch.times import format_ms

    def body(connection: "Connection", settings: "Settings") -> Any:
        rules = {code: chain.finality for code, chain in settings.chains.items()}
        return views.by_ref(connection, ref, SystemClock().now_ms(), rules)

    found = in_ledger(config, body)

    def human(_: Any) -> None:
        print(f"{found.ref}: {found.state}, event {found.event_id}, wallet {found.wallet}")
        due = amount_of(found.asset, found.amount)
        print(f"due {due}, missing {amount_of(found.asset, found.missing)}, until {format_ms(found.expires_ms)}")
        print(f"to {found.address}, memo {found.memo}, seat held: {'yes' if found.held else 'no'}")
        if found.ticket is not None:
            print(f"ticket {found.ticket.number}, {found.ticket.uuid}, {found.ticket.state}")
        rows = [(p.chain, p.txid, amount_of(p.asset, p.amount), p.state, p.reason, p.confirmations)
                for p in found.payments]  # fmt: skip
        table("\nPayments", ("chain", "txid", "amount", "state", "why", "confirmations"), rows)
        owed = [(r.id, amount_of(r.asset, r.amount), r.reason, r.state) for r in found.refunds]
        table("\nRefunds", ("id", "amount", "why", "state"), owed)

    say(written(msgspec.to_builtins(found)), json, human)


# -- guests --------------------------------------------------------------------------------------------


@guests.command("invite")
def guests_invite(
    event_id: str,
    uses: Annotated[int, typer.Option("--uses", min=1)] = 1,
    wallet: Annotated[str | None, typer.Option("--wallet", help="For this wallet only.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make an invite for an event; its code is shown once."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events, invites

    def body(connection: "Connection", _settings: "Settings") -> str:
        row = events.find(connection, event_id)
        return invites.make(
            connection,
            row.id,
            uses=uses,
            wallet=None if wallet is None else _wallet(wallet),
            now_ms=SystemClock().now_ms(),
            actor="cli",
            public_id=event_id,
        )

    code = in_ledger(config, body, write=True)
    say({"code": code}, json, lambda d: print(d["code"]))


@guests.command("list")
def guests_list(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Invites of an event, and the wallets that ask to be approved."""
    from chainwatch.ledger import events, invites

    def body(connection: "Connection", _settings: "Settings") -> dict[str, Any]:
        row = events.find(connection, event_id)
        made = [
            {"id": i.id, "uses": i.uses, "used": i.used, "wallet": i.wallet, "revoked": i.revoked_ms is not None}
            for i in invites.listing(connection, row.id)
        ]
        return {"invites": made, "asking": [r.wallet for r in invites.requests(connection, row.id)]}

    def human(found: dict[str, Any]) -> None:
        names = ("id", "uses", "used", "wallet", "revoked")
        table("Invites", names, [[i[n] for n in names] for i in found["invites"]])
        table("\nAsking", ("wallet",), [[w] for w in found["asking"]])

    say(in_ledger(config, body), json, human)


@guests.command("revoke")
def guests_revoke(event_id: str, invite: int, config: ConfigOption = None, json: JsonOption = False) -> None:
    """End an invite."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events, invites

    def body(connection: "Connection", _settings: "Settings") -> None:
        row = events.find(connection, event_id)
        invites.revoke(connection, row.id, invite, SystemClock().now_ms(), "cli", event_id)

    in_ledger(config, body, write=True)
    say({"id": invite, "revoked": True}, json, lambda _: print(f"invite {invite} is revoked"))


@guests.command("approve")
def guests_approve(
    event_id: str,
    wallet: str,
    deny: Annotated[bool, typer.Option("--deny", help="Turn the wallet away.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let a wallet buy a ticket of an event that approves its guests, or turn it away."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events, invites

    known = _wallet(wallet)

    def body(connection: "Connection", _settings: "Settings") -> None:
        row = events.find(connection, event_id)
        invites.decide(connection, row.id, known, not deny, SystemClock().now_ms(), "cli", event_id)

    in_ledger(config, body, write=True)
    state = "denied" if deny else "approved"
    say({"wallet": known, "state": state}, json, lambda d: print(f"{d['wallet']} is {d['state']}"))


def _wallet(text: str) -> str:
    from chainwatch.errors import Rejected
    from chainwatch.wallets import canonical_wallet

    if (known := canonical_wallet(text)) is None:
        raise Rejected("bad_wallet", f"{text[:120]!r} is no wallet of any supported chain")
    return known
