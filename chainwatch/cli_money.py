"""``chainwatch payouts``, ``refunds``, ``creator``: money that leaves.

Who runs a command is its operator: the user of the process, and under ``sudo`` who called it.  Where a second operator
is needed it must be another one.
"""

import asyncio
import os
import pwd
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from chainwatch.errors import Misconfigured, Rejected
from chainwatch.terminal import (
    ConfigOption,
    JsonOption,
    amount_of,
    decimal_of,
    group,
    in_ledger,
    say,
    settings_of,
    table,
    written,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.adapters.base import AccountSource, BlockSource
    from chainwatch.config.settings import Settings
    from chainwatch.ledger.context import Context

T = TypeVar("T")
Kind = Literal["payouts", "refunds"]

payouts = group("What creators are owed, and paying it.")
refunds = group("What buyers are owed back, and paying it.")
creator = group("Creators.")


def operator() -> str:
    """Return who runs this command.

    Only root's environment is believed: whoever else writes a name into it would approve their own exports.
    """
    uid = os.getuid()
    if os.geteuid() == 0 and (caller := os.environ.get("SUDO_USER")):
        return f"cli:{caller}"
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user without a name
        return f"cli:{uid}"


def now_ms() -> int:
    """Return the time."""
    from chainwatch.clock import SystemClock

    return SystemClock().now_ms()


def context_of(settings: "Settings", asset_or_chain: str) -> "Context":
    """Return the context of a configured chain, named by itself or by one of its assets."""
    from chainwatch.parts import contexts, open_issuer

    for code, context in contexts(settings, open_issuer(settings)).items():
        if asset_or_chain == code or asset_or_chain in context.assets():
            return context
    raise Misconfigured(f"no configured chain has {asset_or_chain!r}")


def on_chain(context: "Context", watch: list[str], body: "Callable[[BlockSource | AccountSource], Awaitable[T]]") -> T:
    """Ask the chain's node something."""
    from chainwatch import onchain
    from chainwatch.adapters.base import Services, SilentObserver
    from chainwatch.clock import SystemClock

    services = Services(clock=SystemClock(), random=random.SystemRandom(), observer=SilentObserver())
    return asyncio.run(onchain.ask(context.spec, services, watch, body))


# -- lists ---------------------------------------------------------------------------------------------


def _payout(row: Any) -> dict[str, Any]:
    from chainwatch.times import format_ms

    return {
        "id": row.id,
        "event": row.slug or str(row.event_id),
        "creator": row.creator_account,
        "amount": decimal_of(row.asset, row.amount),
        "asset": row.asset,
        "amount_base": str(row.amount),
        "state": row.state,
        "why": row.frozen_why,
        "due": format_ms(row.due_ms),
        "destination": row.destination,
        "export": row.export_id,
        "txid": row.settled_txid,
    }


def _refund(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "amount": decimal_of(row.asset, row.amount),
        "asset": row.asset,
        "amount_base": str(row.amount),
        "reason": row.reason,
        "state": row.state,
        "destination": row.destination,
        "named_by": row.destination_by.partition(":")[0],
        "paid_txid": row.txid,
        "ref": row.ref,
        "export": row.export_id,
        "sent_base": None if row.sent_amount is None else str(row.sent_amount),
        "txid": row.settled_txid,
    }


def _list(kind: Kind, state: str | None, limit: int, config: Path | None, json: bool) -> None:
    from chainwatch.ledger import payouts as due_payouts
    from chainwatch.ledger import refunds as due_refunds

    if state not in (None, *STATES):  # a typing error must not read as "nothing is owed"
        raise Rejected("state", f"--state {state!r}: there are {', '.join(STATES)}")
    listing = due_payouts.listing if kind == "payouts" else due_refunds.listing
    rows = in_ledger(config, lambda c, _: listing(c, limit, 0, state))
    found = [(_payout if kind == "payouts" else _refund)(r) for r in rows]
    shown = ("id", "event", "creator", "amount", "state", "why", "due", "destination", "export", "txid")
    if kind == "refunds":
        shown = ("id", "kind", "amount", "reason", "state", "destination", "named_by", "paid_txid", "export", "txid")

    def cell(row: dict[str, Any], name: str) -> Any:
        return amount_of(row["asset"], int(row["amount_base"])) if name == "amount" else row[name] or None

    say(found, json, lambda rows: table(kind.capitalize(), shown, [[cell(r, n) for n in shown] for r in rows]))


STATES = ("due", "frozen", "exported", "settled", "cancelled")
State = Annotated[str | None, typer.Option("--state", help=f"{', '.join(STATES)}.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]


@payouts.command("list")
def payouts_list(
    state: State = None, limit: Limit = 100, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """What creators are owed, oldest first."""
    _list("payouts", state, limit, config, json)


@refunds.command("list")
def refunds_list(
    state: State = None, limit: Limit = 100, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """What buyers are owed back, oldest first."""
    _list("refunds", state, limit, config, json)


@refunds.command("enter")
def refunds_enter(
    refund_id: int,
    to: Annotated[str, typer.Option("--to", help="The address, as the buyer told you.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Name where a refund goes; one that the buyer has signed stays."""
    from chainwatch.ledger import refunds as due

    def body(connection: "Connection", settings: "Settings") -> None:
        specs = {code: chain.spec for code, chain in settings.chains.items()}
        due.enter(connection, refund_id, to, operator(), now_ms(), specs)

    in_ledger(config, body, write=True)
    say({"id": refund_id, "destination": to}, json, lambda d: print(f"refund {d['id']} goes to {d['destination']}"))


# -- exports -------------------------------------------------------------------------------------------


def _base_units(text: str | None, decimals: int) -> int | None:
    from chainwatch.units import parse_units

    return None if text is None else parse_units(text, decimals)


def _options(settings: "Settings", context: "Context", asset: str, given: dict[str, Any]) -> Any:
    """Return a file's options; what the operator has not said is asked of the node."""
    from chainwatch import onchain
    from chainwatch.ledger import coins
    from chainwatch.payfiles.options import Options, payer

    spec = context.spec
    decimals = context.assets()[asset].decimals
    options = Options(
        account=given["account"],
        network_fee=_base_units(given["network_fee"], decimals),
        nonce=given["nonce"],
        max_fee_per_gas=_base_units(given["max_fee_per_gas"], 9),
        priority_fee_per_gas=_base_units(given["priority_fee_per_gas"], 9),
        gas_limit=given["gas_limit"],
        memo=given["memo"],
        fee_rate=_base_units(given["fee_rate"], 3),
        inputs=tuple(given["inputs"] or ()),
        change=given["change"],
    )
    if spec.family == "evm" and options.nonce is None:
        account = payer(spec, options)
        nonce = on_chain(context, [], lambda source: onchain.next_nonce(source, account))
        return _with(options, nonce=nonce)
    if spec.family == "bitcoin":
        from chainwatch.parts import open_store

        store = open_store(settings)
        try:
            with store.reading() as connection:
                held = coins.unspent(connection, spec.code)[:100]
        finally:
            store.close()
        legacy = {c.outpoint.partition(":")[0]: c.block_hash for c in held if c.address[:1] not in "b"}
        if legacy:  # what is not segwit is signed over the whole transaction that made it
            raw = on_chain(context, [], lambda source: onchain.previous(source, legacy))
            return _with(options, previous=raw)
    return options


def _with(options: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(options, **changes)


def _export(
    kind: Kind, ask: dict[str, Any], given: dict[str, Any], out: Path | None, config: Path | None, json: bool
) -> None:
    from chainwatch.ledger import exports
    from chainwatch.parts import payout_rules
    from chainwatch.payfiles import planner

    settings = settings_of(config)
    context = context_of(settings, ask["asset"])
    if ask["asset"] not in context.assets():
        raise Misconfigured(f"{ask['asset']!r} is no asset of {context.chain}")
    plan = planner(context.spec, _options(settings, context, ask["asset"], given))

    def body(connection: "Connection", settings: "Settings") -> int:
        wanted = exports.Ask(kind=kind, **ask)
        return exports.make(connection, wanted, context, payout_rules(settings), plan, now_ms(), operator())

    export_id = in_ledger(config, body, write=True)  # committed before anything is printed
    _show(export_id, out, config, json)


def _show(export_id: int, out: Path | None, config: Path | None, json: bool) -> None:
    """Print an export's file; where it waits for a second operator, say so."""
    import msgspec

    from chainwatch.ledger import exports

    def body(connection: "Connection", _settings: "Settings") -> dict[str, Any]:
        row = exports.find(connection, export_id)
        if row.state == "waiting":
            return {"export": row.id, "state": row.state, "asset": row.asset, "total_base": str(row.total)}
        return exports.document(connection, export_id)

    data = in_ledger(config, body)
    if out is not None and data["state"] != "waiting":
        text = data["psbt"] if out.suffix == ".psbt" and "psbt" in data else msgspec.json.encode(data).decode()
        out.write_text(text + "\n", "utf-8")

    def human(d: dict[str, Any]) -> None:
        print(f"export {d['export']}: {amount_of(d['asset'], int(d['total_base']))}, {d['state']}")
        if d["state"] == "waiting":
            print("a second operator must approve it before its file is written")
        elif out is not None:
            print(f"written to {out}; sign it with your own wallet")
        else:
            print(msgspec.json.format(msgspec.json.encode(d)).decode())

    say(data, json, human)


Ids = Annotated[list[int] | None, typer.Option("--id", help="Only these; else everything that is due.")]
AssetOption = Annotated[str | None, typer.Option("--asset", help="HIVE, BTC, ETH:USDC … (default: the only one due).")]
Replaces = Annotated[
    int | None, typer.Option("--replaces", help="An export, once more: only one of the two can be paid.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Write the file here; *.psbt takes the PSBT alone.")]
From = Annotated[str | None, typer.Option("--from", help="Which receiving account pays (default: the first).")]
NetworkFee = Annotated[str | None, typer.Option("--network-fee", help="Decimal, in the asset: what one payment costs.")]
Nonce = Annotated[int | None, typer.Option("--nonce", min=0, help="EVM: the account's next; asked of the node.")]
MaxFee = Annotated[str | None, typer.Option("--max-fee", help="EVM: gwei per gas.")]
Tip = Annotated[str | None, typer.Option("--priority-fee", help="EVM: gwei per gas.")]
GasLimit = Annotated[int, typer.Option("--gas-limit", min=21_000, help="EVM: of a token transfer.")]
Memo = Annotated[bool, typer.Option("--memo", help="EVM: write payout:<id> into native payments' call data too.")]
FeeRate = Annotated[str | None, typer.Option("--fee-rate", help="Bitcoin: satoshi a virtual byte.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", help="Bitcoin: spend this output (txid:vout).")]
Change = Annotated[str | None, typer.Option("--change", help="Bitcoin: where change goes (default: first receive).")]


def _add_export(to: typer.Typer, kind: Kind) -> None:
    @to.command("export")
    def export(
        asset: AssetOption = None,
        ids: Ids = None,
        replaces: Replaces = None,
        out: Out = None,
        account: From = None,
        network_fee: NetworkFee = None,
        nonce: Nonce = None,
        max_fee: MaxFee = None,
        priority_fee: Tip = None,
        gas_limit: GasLimit = 100_000,
        memo: Memo = False,
        fee_rate: FeeRate = None,
        inputs: Inputs = None,
        change: Change = None,
        config: ConfigOption = None,
        json: JsonOption = False,
    ) -> None:
        """Write an unsigned payment file of what is due; the intent is committed first."""
        given = {
            "account": account,
            "network_fee": network_fee,
            "nonce": nonce,
            "max_fee_per_gas": max_fee,
            "priority_fee_per_gas": priority_fee,
            "gas_limit": gas_limit,
            "memo": memo,
            "fee_rate": fee_rate,
            "inputs": inputs,
            "change": change,
        }
        ask = {"asset": asset or _due_asset(kind, replaces, config), "ids": tuple(ids or ()), "replaces": replaces}
        _export(kind, ask, given, out, config, json)

    @to.command("show")
    def show(export_id: int, out: Out = None, config: ConfigOption = None, json: JsonOption = False) -> None:
        """Print an export's file again: the same one, as often as wanted."""
        _show(export_id, out, config, json)

    @to.command("approve")
    def approve(
        export_id: int,
        out: Out = None,
        config: ConfigOption = None,
        json: JsonOption = False,
    ) -> None:
        """Let an export leave that waits for a second operator."""
        _approve(export_id, config)
        _show(export_id, out, config, json)

    @to.command("void")
    def void(export_id: int, config: ConfigOption = None, json: JsonOption = False) -> None:
        """Take an export back: at once when it cannot be paid any more, else when a second operator says so too."""
        _void(export_id, config, json)

    @to.command("settle")
    def settle(
        txid: Annotated[str, typer.Option("--txid")],
        chain: Annotated[str | None, typer.Option("--chain", help="Where, if more than one chain has it.")] = None,
        tx_key: Annotated[str | None, typer.Option("--tx-key", help="Monero: what `transfer` answered.")] = None,
        config: ConfigOption = None,
        json: JsonOption = False,
    ) -> None:
        """Hold a transaction of ours against what is exported, by the rule by which it settles itself."""
        _settle(txid, chain, tx_key, config, json)


_add_export(payouts, "payouts")
_add_export(refunds, "refunds")


def _due_asset(kind: Kind, replaces: int | None, config: Path | None) -> str:
    """Return the one asset in which something is due."""
    from chainwatch.ledger import exports
    from chainwatch.ledger import payouts as due_payouts
    from chainwatch.ledger import refunds as due_refunds

    def body(connection: "Connection", _settings: "Settings") -> set[str]:
        if replaces is not None:
            return {exports.find(connection, replaces).asset}
        listing = due_payouts.listing if kind == "payouts" else due_refunds.listing
        return {r.asset for r in listing(connection, due_payouts.MOST, 0, "due") if r.asset}

    found: set[str] = in_ledger(config, body)
    if len(found) != 1:
        due = f"{kind} are due in {', '.join(sorted(found))}" if found else f"no {kind} are due"
        raise Rejected("nothing_to_export" if not found else "which_asset", f"{due}: say --asset")
    return found.pop()


def _approve(export_id: int, config: Path | None) -> None:
    from chainwatch.ledger import exports
    from chainwatch.payfiles import again

    settings = settings_of(config)
    export = in_ledger(config, lambda c, _: exports.find(c, export_id))
    context = context_of(settings, export.chain)
    plan = again(context.spec, export.payload)
    in_ledger(config, lambda c, _: exports.approve(c, export_id, context, plan, now_ms(), operator()), write=True)


def _void(export_id: int, config: Path | None, json: bool) -> None:
    from chainwatch.ledger import exports

    settings = settings_of(config)
    export = in_ledger(config, lambda c, _: exports.find(c, export_id))
    context = context_of(settings, export.chain)
    state = in_ledger(config, lambda c, _: exports.void(c, export_id, context, now_ms(), operator()), write=True)

    def human(d: dict[str, Any]) -> None:
        if d["state"] == "exported":
            print(f"export {export_id} may still be paid: a second operator must void it too")
        else:
            print(f"export {export_id} is {d['state']}")

    say({"export": export_id, "state": state}, json, human)


def _chain_of(settings: "Settings", txid: str, by_key: bool, config: Path | None) -> str:
    """Return the chain on which something left us by a transaction; one that a key proves is Monero's."""
    from chainwatch.ledger import settlements

    if by_key:
        found = [code for code, chain in settings.chains.items() if chain.spec.family == "monero"]
    else:
        found = in_ledger(config, lambda c, _: settlements.chains(c, txid))
    if not found:
        raise Rejected("unknown_transaction", f"nothing that left us by {txid} has been seen on any chain")
    if len(found) > 1:
        raise Rejected("which_chain", f"say which --chain: {', '.join(found)}")
    return str(found[0])


def _settle(txid: str, chain: str | None, tx_key: str | None, config: Path | None, json: bool) -> None:
    import msgspec

    from chainwatch import onchain
    from chainwatch.ledger import exports, settlements

    settings = settings_of(config)
    context = context_of(settings, chain or _chain_of(settings, txid, tx_key is not None, config))
    if tx_key is not None:
        wanted = in_ledger(config, lambda c, _: exports.open_destinations(c, context.chain))
        proofs = on_chain(context, [], lambda source: onchain.prove(source, txid, tx_key, wanted))
        found = in_ledger(config, lambda c, _: settlements.prove(c, proofs, context, now_ms()), write=True)
    else:
        found = in_ledger(config, lambda c, _: settlements.check(c, txid, context, now_ms()), write=True)

    def human(_: Any) -> None:
        for r in found:
            what = f"settles {r.subject}" if r.subject else f"settles nothing ({r.state})"
            print(f"{amount_of(r.asset, r.amount)} to {r.destination or '?'}: {what}")

    say(written(msgspec.to_builtins(found)), json, human)
    if not any(r.subject for r in found):
        raise typer.Exit(1)


# -- creators ------------------------------------------------------------------------------------------


@creator.command("address")
def creator_address(
    account: str,
    chain: Annotated[str | None, typer.Option("--chain")] = None,
    address: Annotated[
        str | None, typer.Option("--set", help="From when [payouts] address_change_hours are over.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Where a creator is paid; with --set, where from later on (payouts are frozen until then)."""
    from chainwatch.ledger import creators
    from chainwatch.times import format_ms

    if address is not None:
        if chain is None:
            raise Rejected("chain_missing", "--set needs --chain")

        def body(connection: "Connection", settings: "Settings") -> int:
            wait_ms = settings.payouts.address_change_hours * 3_600_000
            spec = settings.chains[chain].spec if chain in settings.chains else None
            return creators.set_address(connection, account, chain, address, operator(), now_ms(), wait_ms, spec)

        in_ledger(config, body, write=True)
    rows = [
        {"chain": r.chain, "address": r.address, "set_by": r.set_by, "from": format_ms(r.valid_from_ms)}
        for r in in_ledger(config, lambda c, _: creators.addresses(c, account))
        if chain in (None, r.chain)
    ]
    shown = ("chain", "address", "set_by", "from")
    say(rows, json, lambda found: table(account, shown, [[r[n] for n in shown] for r in found]))
