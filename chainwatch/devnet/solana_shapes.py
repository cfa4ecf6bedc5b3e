"""The simulated Solana node's slots and the shapes of its answers."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from solders.hash import Hash

from chainwatch.adapters.solana_tx import SPL
from chainwatch.devnet.node import RpcFault
from chainwatch.model import Asset
from chainwatch.testing.fakechain import FakeTx

SKIP_EVERY = 16
"""One slot in so many has no block."""


def slot_of(height: int) -> int:
    """Return the slot of the block at ``height``: one slot in ``SKIP_EVERY`` has none."""
    return height + height // (SKIP_EVERY - 1)


def height_of(slot: int) -> int | None:
    """Return the height of the block in ``slot``, None when it was skipped."""
    return None if slot % SKIP_EVERY == SKIP_EVERY - 1 else slot - slot // SKIP_EVERY


def block_hash(height: int, parent: str, txids: Sequence[str], salt: int) -> str:
    """Return a block hash in base58."""
    return str(Hash(hashlib.sha256(repr((height, parent, tuple(txids), salt)).encode()).digest()))


def camel(name: str) -> str:
    """Return an RPC method's name."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def need_version(options: Mapping[str, Any]) -> None:
    """Refuse a caller that did not say which versions it reads, as real nodes do."""
    if "maxSupportedTransactionVersion" not in options:
        raise RpcFault(
            -32015,
            "Transaction version (0) is not supported by the requesting client. "
            "Please try the request again with the following configuration parameter: "
            '"maxSupportedTransactionVersion": 0',
        )


def memos_of(tx: FakeTx) -> list[bytes]:
    """Return a transaction's memos, each once."""
    return list(dict.fromkeys(t.memo for t in tx.transfers if t.memo is not None))


def error_of(tx: FakeTx) -> dict[str, Any] | None:
    """One instruction that fails undoes the transaction."""
    failed = [i for i, t in enumerate(tx.transfers) if not t.ok]
    return {"InstructionError": [failed[0], {"Custom": 1}]} if failed else None


def ui(amount: int, asset: Asset) -> dict[str, Any]:
    """Return a token amount as the node writes it."""
    text = f"{amount // 10**asset.decimals}.{amount % 10**asset.decimals:0{asset.decimals}d}".rstrip("0").rstrip(".")
    return {"amount": str(amount), "decimals": asset.decimals, "uiAmount": float(text), "uiAmountString": text}


def token_balance(index: int, owner: str, asset: Asset, amount: int) -> dict[str, Any]:
    """Return one entry of pre- and postTokenBalances."""
    return {
        "accountIndex": index,
        "mint": asset.asset_id,
        "owner": owner,
        "programId": asset.program or SPL,
        "uiTokenAmount": ui(amount, asset),
    }


def account_info(lamports: int, owner: str, data: Any) -> dict[str, Any]:
    """Return an account."""
    return {"lamports": lamports, "owner": owner, "data": data, "executable": False, "rentEpoch": 0, "space": 0}
