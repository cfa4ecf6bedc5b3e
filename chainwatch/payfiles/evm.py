"""EVM chains: one transaction a payment, each with its own nonce, as JSON for a wallet and as EIP-681 URI.

A nonce is used once: a second file with the same nonce rules the first one out.
"""

from typing import Any

import msgspec

from chainwatch.errors import Rejected
from chainwatch.ledger.exports import Item, Plan, Work
from chainwatch.payfiles.options import Options, after_fee, payer

TRANSFER = "a9059cbb"
"""Selector of ``transfer(address,uint256)``."""
NATIVE_GAS, MEMO_GAS = 21_000, 40
"""Gas of a plain payment, and of a byte of memo (EIP-7623: 40 for one that is not zero)."""


def plan(work: Work, options: Options) -> Plan:
    """Return transactions from one account.  ``Rejected``: nonce_needed, fee_needed, bad_account."""
    sender, native = payer(work.spec, options), work.asset.asset_id is None
    fee = options.network_fee
    if fee is None and native and options.max_fee_per_gas is not None:
        fee = NATIVE_GAS * options.max_fee_per_gas
    items = after_fee(work.items, fee)
    nonce = _first_nonce(work, sender, options)
    numbered: list[Item] = []
    transactions: list[dict[str, Any]] = []
    for item in items:
        if item.conflict:  # exported before: the same nonce, so that only one of the two can be mined
            number = int(item.conflict.rpartition(":")[2])
        elif nonce is None:
            raise Rejected("nonce_needed", f"which nonce does {sender} use next?")
        else:
            number, nonce = nonce, nonce + 1
        item = msgspec.structs.replace(item, conflict=f"{sender}:{number}")
        numbered.append(item)
        transactions.append(_transaction(work, item, sender, number, options))
    return Plan(tuple(numbered), {"transactions": transactions}, " ".join(i.conflict for i in numbered))


def _first_nonce(work: Work, sender: str, options: Options) -> int | None:
    if options.nonce is None:
        return None
    mine = [int(n) for account, _, n in (w.rpartition(":") for w in work.taken) if account.lower() == sender.lower()]
    return max([options.nonce, *(n + 1 for n in mine)])


def _transaction(work: Work, item: Item, sender: str, nonce: int, options: Options) -> dict[str, Any]:
    contract, chain_id = work.asset.asset_id, int(work.spec.chain_id)
    memo = item.subject.encode().hex()
    if contract is None:
        data = memo if options.memo else ""
        to, value, gas = item.destination, item.amount, NATIVE_GAS + MEMO_GAS * (len(data) // 2)
        uri = f"ethereum:{item.destination}@{chain_id}?value={item.amount}"
    else:
        words = f"{int(item.destination, 16):064x}{item.amount:064x}"
        data = TRANSFER + words + memo  # what stands behind the arguments is ignored by the token and read by us
        to, value, gas = contract, 0, options.gas_limit
        uri = f"ethereum:{contract}@{chain_id}/transfer?address={item.destination}&uint256={item.amount}"
    transaction: dict[str, Any] = {
        "type": 2,
        "chainId": chain_id,
        "from": sender,
        "nonce": nonce,
        "to": to,
        "value": str(value),
        "data": "0x" + data,
        "gas": gas,
    }
    if options.max_fee_per_gas is not None:
        transaction["maxFeePerGas"] = str(options.max_fee_per_gas)
        transaction["maxPriorityFeePerGas"] = str(options.priority_fee_per_gas or 0)
    return {"subject": item.subject, "transaction": transaction, "uri": uri}
