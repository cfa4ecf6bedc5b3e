"""``chainwatch decode``: recorded chain data in, one JSON line per value transfer out."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from chainwatch import adapters, memo
from chainwatch.config import networks, settings
from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec, InBlock, Transfer
from chainwatch.wallets import canonical_wallet

MAX_INPUT = 256 * 1024 * 1024
"""Bytes of all files together: the largest real block with its traces has a tenth of that."""


def lines(chain: str, files: Sequence[str], to: str | None, config: Path | None) -> Iterator[str]:
    """Decode ``files`` (one block's documents); ``Rejected`` for what is not that chain's data."""
    documents = [_read(name) for name in files]
    if sum(map(len, documents)) > MAX_INPUT:
        raise Misconfigured(f"more than {MAX_INPUT} bytes at once")
    wanted = None if to is None else (canonical_wallet(to) or to)
    for transfer in adapters.decode(documents, _spec(chain, config)):
        if wanted is None or transfer.to in (to, wanted):
            yield msgspec.json.encode(line(transfer)).decode()


def line(t: Transfer) -> dict[str, Any]:
    """Return a transfer as ``decode`` prints it."""
    read = memo.parse(t.memo, canonical_wallet)
    known = read if isinstance(read, memo.Memo) else memo.Memo()
    text: str | None = None
    raw: str | None = None
    if t.memo is not None:
        try:
            text = t.memo.decode("utf-8")
        except UnicodeDecodeError:
            raw = t.memo.hex()
    senders = list(t.sender)
    return {
        "chain": t.chain,
        "txid": t.txid or None,
        "index": t.index or None,
        "height": t.position.block.height if isinstance(t.position, InBlock) else None,
        "asset": t.asset,
        "asset_id": t.asset_id,
        "amount_base": str(t.amount),
        "from": senders if len(senders) > 1 else (senders[0] if senders else None),
        "to": t.to,
        "memo": text,
        **({"memo_hex": raw} if raw is not None else {}),
        "event_id": known.event_id,
        "wallet": known.wallet,
        "ok": t.ok,
    }


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read(MAX_INPUT + 1) if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror}") from error


def _spec(chain: str, config: Path | None) -> ChainSpec:
    if networks.canonical_code(chain) in networks.known():
        return networks.spec(chain)
    chains = settings.load(config, with_secrets=False).chains
    if chain in chains:
        return chains[chain].spec
    return networks.spec(chain)  # says which chains there are
