"""The Bitcoin family: one transaction for all payments, as PSBT (BIP-174) and as unsigned hex.

Inputs are confirmed outputs of ours that no other file uses; change goes back to us; the transaction signals that it
may be replaced (BIP-125), and a file that replaces it shares an input, so that only one of the two can be mined.
Chains whose wallets know no PSBT (Dogecoin Core) sign the hex (``signrawtransaction``).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from chainwatch.adapters.scripts import Prefixes, prefixes, to_script
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.ledger.coins import Coin
from chainwatch.ledger.exports import Item, Plan, Work
from chainwatch.payfiles.options import Options, payer

DUST = 546
"""Satoshi below which no output is relayed, whatever its kind; a chain's own ``dust`` may be higher."""
MOST_INPUTS = 500
"""About 34 kvB of segwit inputs: well below the 100 kvB that nodes relay."""
OVERHEAD = 11
"""Virtual bytes of version, lock time, counts and the segwit marker."""
REPLACEABLE = 0xFFFFFFFD
LONGEST_MEMO = 80
"""Bytes of an OP_RETURN that every node relays."""


def plan(work: Work, options: Options) -> Plan:
    """Choose coins, take the fee, make the transaction.

    ``Rejected``: fee_rate_needed, not_enough_coins, unknown_coin, bad_destination.
    """
    if options.fee_rate is None or options.fee_rate <= 0:
        raise Rejected("fee_rate_needed", "which fee rate? (satoshi a virtual byte)")
    known = prefixes(work.spec.params, work.spec.options, work.spec.chain_id)
    change = _script(options.change or payer(work.spec, options), known)
    least = max(DUST, work.asset.dust)
    items = [i for i in work.items if i.pays_fee or i.amount >= least]  # one that no node relays stops all the others
    if not items:
        return Plan((), {})
    while True:
        chosen, fee, rest = _choose(work, items, known, change, options)
        share = -(-fee // max(len(items), 1))
        kept = [i for i in items if not i.pays_fee or i.amount - share > least]
        if kept == items:
            break
        items = kept  # its share of the fee would eat a payment: it stays due, and the others are reckoned anew
        if not items:
            return Plan((), {})
    final = [msgspec.structs.replace(i, amount=i.amount - share, pays_fee=False) if i.pays_fee else i for i in items]
    outputs = [(i.amount, _script(i.destination, known)) for i in final]
    if (memo := _memo(final)) is not None:
        outputs.append((0, memo))
    if rest > least:
        outputs.append((rest, change))
    else:
        fee, rest = fee + rest, 0
    document = _document(chosen, outputs, fee, known, options)
    elsewhere = change not in [_script(ours, known) for ours in work.spec.receive]
    return Plan(tuple(final), document, " ".join(c.outpoint for c in chosen), rest if elsewhere else 0)


def _choose(
    work: Work, items: Sequence[Item], known: Prefixes, change: bytes, options: Options
) -> tuple[list[Coin], int, int]:
    """Return coins that pay the items and our part of the fee, the whole fee, and what is left."""
    by_outpoint = {c.outpoint: c for c in work.coins if c.asset == work.asset.code}
    must = [w for w in work.must_use if w in by_outpoint]
    if work.must_use and not must:
        raise Rejected("no_conflict", "none of the coins of the first file is unspent: look at what spent them")
    if unknown := [o for o in options.inputs if o not in by_outpoint]:
        raise Rejected("unknown_coin", f"{unknown[0][:80]} is no free confirmed output of ours")
    offered = list(options.inputs) or sorted(by_outpoint, key=lambda o: -by_outpoint[o].amount)
    order = list(dict.fromkeys([*must, *offered]))
    total = sum(i.amount for i in items)
    outputs = sum(9 + len(_script(i.destination, known)) for i in items) + 9 + len(change)
    memo = _memo(items)
    size = OVERHEAD + outputs + (9 + len(memo) if memo else 0)
    chosen: list[Coin] = []
    held = 0
    for outpoint in order[:MOST_INPUTS]:
        coin = by_outpoint[outpoint]
        chosen.append(coin)
        held += coin.amount
        size += _input_size(_script(coin.address, known))
        fee = -(-size * (options.fee_rate or 0) // 1000)
        borne = -(-fee // max(len(items), 1)) * sum(i.pays_fee for i in items)  # by buyers: not taken from us
        if held >= total + fee - borne and len(chosen) >= max(len(must), len(options.inputs)):
            return chosen, fee, held - total - fee + borne
    raise Rejected("not_enough_coins", f"{held} base units in {len(chosen)} coins do not pay {total} and the fee")


def _script(address: str, known: Prefixes) -> bytes:
    try:
        return to_script(address, known)
    except Misconfigured as error:
        raise Rejected("bad_destination", str(error)) from error


def _is_segwit(script: bytes) -> bool:
    return script[:1] == b"\x00" or 0x51 <= script[0] <= 0x60


def _input_size(script: bytes) -> int:
    """Return the virtual bytes that spending a script takes, with its signature."""
    if len(script) == 22:
        return 68  # P2WPKH
    if script[0] == 0x51:
        return 58  # P2TR by its key
    if script[0] == 0xA9:
        return 91  # P2SH: taken for P2WPKH inside
    return 148 if script[0] == 0x76 else 110  # P2PKH; P2WSH of two signatures


def _memo(items: Sequence[Item]) -> bytes | None:
    """Return an OP_RETURN that names the subjects, where they fit."""
    text = " ".join(i.subject for i in items).encode()
    if not text or len(text) > LONGEST_MEMO:
        return None
    return b"\x6a" + (bytes((len(text),)) if len(text) <= 75 else b"\x4c" + bytes((len(text),))) + text


def _document(
    chosen: Sequence[Coin], outputs: Sequence[tuple[int, bytes]], fee: int, known: Prefixes, options: Options
) -> dict[str, Any]:
    from embit.psbt import PSBT
    from embit.script import Script
    from embit.transaction import Transaction, TransactionInput, TransactionOutput

    vin = []
    for coin in chosen:
        txid, _, number = coin.outpoint.partition(":")
        vin.append(TransactionInput(bytes.fromhex(txid), int(number), sequence=REPLACEABLE))
    vout = [TransactionOutput(amount, Script(script)) for amount, script in outputs]
    psbt = PSBT(Transaction(version=2, vin=vin, vout=vout, locktime=0))
    for entry, coin in zip(psbt.inputs, chosen, strict=True):
        script = _script(coin.address, known)
        raw = options.previous.get(coin.outpoint.partition(":")[0])
        if _is_segwit(script):
            entry.witness_utxo = TransactionOutput(coin.amount, Script(script))
        if raw is not None:
            entry.non_witness_utxo = Transaction.parse(raw)
    return {
        "psbt": psbt.to_string(),
        "unsigned_tx": psbt.tx.serialize().hex(),
        "fee_base": str(fee),
        "inputs": [{"outpoint": c.outpoint, "address": c.address, "amount_base": str(c.amount)} for c in chosen],
    }
