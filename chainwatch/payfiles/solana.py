"""Solana: one transaction a payment, as JSON instructions and as Solana Pay URI with memo and reference.

Sources: the System program's ``Transfer`` (2), SPL Token's ``TransferChecked`` (12), the associated token account
program's ``CreateIdempotent`` (1), Memo v2, https://docs.solanapay.com/spec.  The signer puts a recent blockhash into
it, which we do not know: taking a file back needs two operators.
"""

import hashlib
from typing import Any
from urllib.parse import urlencode

from chainwatch.ledger.exports import Item, Plan, Work
from chainwatch.payfiles.options import Options, after_fee, payer
from chainwatch.units import format_units

SYSTEM = "11111111111111111111111111111111"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 (a program, no password)
ASSOCIATED = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
SIGNATURE_FEE = 5_000
"""Lamports of a transaction with one signature."""

Key = tuple[str, bool, bool]
"""(account, signs, is written)."""


def plan(work: Work, options: Options) -> Plan:
    """Return the transactions of one wallet.  A native refund that pays its fee pays one signature."""
    native = work.asset.asset_id is None
    fee = options.network_fee if options.network_fee is not None or not native else SIGNATURE_FEE
    items = after_fee(work.items, fee)
    sender = payer(work.spec, options)
    return Plan(items, {"transactions": [_transaction(work, item, sender) for item in items]})


def _transaction(work: Work, item: Item, sender: str) -> dict[str, Any]:
    reference = _reference(work, item)
    query = {"amount": format_units(item.amount, work.asset.decimals)}
    if work.asset.asset_id is not None:
        query["spl-token"] = work.asset.asset_id
    query |= {"reference": reference, "memo": item.subject}
    return {
        "subject": item.subject,
        "from": sender,
        "reference": reference,
        "instructions": _instructions(work, item, sender, reference),
        "uri": f"solana:{item.destination}?{urlencode(query)}",
    }


def _reference(work: Work, item: Item) -> str:
    """Return a key that only this payment names; nobody has its private half."""
    from solders.pubkey import Pubkey

    text = f"chainwatch export {work.export_id} {item.subject} {item.destination} {item.amount}"
    return str(Pubkey.from_bytes(hashlib.sha256(text.encode()).digest()))


def _instructions(work: Work, item: Item, sender: str, reference: str) -> list[dict[str, Any]]:
    memo = _instruction(MEMO, (), item.subject.encode())
    named = (reference, False, False)
    if work.asset.asset_id is None:
        data = (2).to_bytes(4, "little") + item.amount.to_bytes(8, "little")
        keys = ((sender, True, True), (item.destination, False, True), named)
        return [memo, _instruction(SYSTEM, keys, data)]
    mint, program = work.asset.asset_id, work.asset.program or TOKEN
    source, target = (_token_account(owner, mint, program) for owner in (sender, item.destination))
    opened = (
        *((sender, True, True), (target, False, True), (item.destination, False, False), (mint, False, False)),
        *((SYSTEM, False, False), (program, False, False)),
    )
    keys = ((source, False, True), (mint, False, False), (target, False, True), (sender, True, False), named)
    data = bytes((12,)) + item.amount.to_bytes(8, "little") + bytes((work.asset.decimals,))
    return [memo, _instruction(ASSOCIATED, opened, b"\x01"), _instruction(program, keys, data)]


def _token_account(owner: str, mint: str, program: str) -> str:
    from solders.pubkey import Pubkey

    seeds = [bytes(Pubkey.from_string(key)) for key in (owner, program, mint)]
    return str(Pubkey.find_program_address(seeds, Pubkey.from_string(ASSOCIATED))[0])


def _instruction(program: str, keys: tuple[Key, ...], data: bytes) -> dict[str, Any]:
    accounts = [{"pubkey": key, "isSigner": signs, "isWritable": written} for key, signs, written in keys]
    return {"programId": program, "accounts": accounts, "data_hex": data.hex()}
