"""The transfers in one EVM transaction, from whatever of it is known: the one place that names them.

Identity (DESIGN invariant 3): ``v`` the transaction's own value, ``l<n>`` the n-th log of its receipt,
``t<path>`` a call inside it.  None of them changes when the transaction is included in another block.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from chainwatch.adapters.evm_traces import Internal
from chainwatch.adapters.evm_types import (
    Erc20Transfer,
    Receipt,
    Tx,
    address,
    checksum,
    data_bytes,
    erc20_transfer,
    hash32,
    quantity,
    token_memo,
)
from chainwatch.model import Asset, ChainSpec, Position, Transfer

STATE_SYNC_TOKEN = "0x0000000000000000000000000000000000001010"  # noqa: S105 (a contract, no password)
"""Polygon's native coin as a contract: its logs repeat native transfers and fees, which are counted once already."""


class Names(msgspec.Struct, frozen=True):
    """What a chain's assets are called: contract in lower case to asset, None for the native coin."""

    chain: str
    native: str
    tokens: Mapping[str, Asset]

    @classmethod
    def of(cls, spec: ChainSpec) -> "Names":
        """Collect the names of a chain's assets."""
        tokens = {contract: asset for contract, asset in spec.by_asset_id().items() if contract is not None}
        return cls(spec.code, spec.native.code, tokens)

    def token(self, contract: str) -> tuple[str | None, str]:
        """Return (code or None, contract as it is written) of a token."""
        asset = self.tokens.get(contract)
        return (asset.code, asset.asset_id or contract) if asset else (None, checksum(contract))


def in_transaction(
    names: Names,
    position: Position | None,
    tx: Tx | None,
    receipt: Receipt | None,
    internals: Sequence[Internal] = (),
    *,
    ok: bool | None = None,
) -> Iterator[Transfer]:
    """Yield every transfer of one transaction: its value, its ERC-20 logs, its internal transfers.

    ``ok`` is what is known of its success without a receipt; a receipt overrules it.  Nothing in a transaction that
    failed has moved, whatever logs and traces say.
    """
    txid = hash32(tx.hash) if tx is not None else hash32(receipt.transaction_hash) if receipt is not None else ""
    if receipt is not None:
        ok = receipt.ok if receipt.ok is not None else ok
    value = quantity(tx.value, "value") if tx is not None else 0
    logs = list(_erc20_logs(receipt)) if receipt is not None else []
    alone = bool(value) + len(logs) + len(internals) == 1
    if tx is not None and value:
        to = tx.to or (receipt.contract_address if receipt else None)
        yield Transfer(
            chain=names.chain,
            txid=txid,
            index="v",
            asset=names.native,
            amount=value,
            to=checksum(address(to)) if to else None,
            sender=(checksum(address(tx.sender)),),
            memo=(data_bytes(tx.input, "call data") or None) if alone and tx.to else None,
            ok=ok,
            position=position,
        )
    for ordinal, transfer in logs:
        memo = _behind_arguments(tx, transfer) if alone and tx is not None else None
        yield of_log(names, transfer, txid, f"l{ordinal}", position, memo=memo, ok=ok is not False)
    for internal in internals:
        moved = of_internal(names, internal, txid, position)
        yield moved if ok is not False else msgspec.structs.replace(moved, ok=False)


def of_log(
    names: Names,
    transfer: Erc20Transfer,
    txid: str,
    index: str,
    position: Position | None,
    *,
    memo: bytes | None = None,
    ok: bool | None = True,
) -> Transfer:
    """Return the transfer that an ERC-20 log tells of (a log only exists when its transaction succeeded)."""
    code, asset_id = names.token(transfer.contract)
    return Transfer(
        chain=names.chain,
        txid=txid,
        index=index,
        asset=code,
        amount=transfer.amount,
        to=checksum(transfer.to),
        asset_id=asset_id,
        sender=(checksum(transfer.sender),),
        memo=memo,
        ok=ok,
        position=position,
    )


def of_internal(names: Names, internal: Internal, txid: str, position: Position | None) -> Transfer:
    """Return the transfer that a trace tells of."""
    return Transfer(
        chain=names.chain,
        txid=txid,
        index=internal.index,
        asset=names.native,
        amount=internal.amount,
        to=checksum(internal.to) if internal.to else None,
        sender=(checksum(internal.sender),),
        ok=internal.ok,
        position=position,
    )


def _erc20_logs(receipt: Receipt) -> Iterator[tuple[int, Erc20Transfer]]:
    for ordinal, log in enumerate(receipt.logs):
        transfer = erc20_transfer(log)
        if transfer is not None and transfer.contract != STATE_SYNC_TOKEN:
            yield ordinal, transfer


def _behind_arguments(tx: Tx, transfer: Erc20Transfer) -> bytes | None:
    """Return the memo of a token transfer: the payer called the token itself, and wrote more than it needs."""
    if tx.to is None or tx.to.lower() != transfer.contract:
        return None
    return token_memo(data_bytes(tx.input, "call data"), transfer.to)
