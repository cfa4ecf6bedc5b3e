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
from chainwatch.verifiers.chains import Chain, parse_chain
from chainwatch.wallets import canonical_wallet

MAX_INPUT = 256 * 1024 * 1024
"""Bytes of all files together: the largest real block with its traces has a tenth of that."""

MARGIN = 4096
"""Bytes at a document's beginning in which a batch shows: envelopes are short, though ``result`` may come first."""


def lines(chain: str, files: Sequence[str], to: str | None, config: Path | None) -> Iterator[str]:
    """Decode ``files`` (one block's documents); ``Rejected`` for what is not that chain's data."""
    documents = [part for name in files for part in _parts(_read(name))]
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


def _parts(document: bytes) -> list[bytes]:
    """Take the answers of a JSON-RPC batch apart: to every adapter they are what several files are."""
    if not (document[:MARGIN].lstrip().startswith(b"[") and b'"jsonrpc"' in document[:MARGIN]):
        return [document]
    try:
        answers = msgspec.json.decode(document, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [document]  # the adapter says what is wrong with it
    batch = all(bytes(a).startswith(b"{") and b'"jsonrpc"' in bytes(a) for a in answers)
    return [bytes(a) for a in answers] if batch else [document]


def _read(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_INPUT + 1)
        with Path(name).open("rb") as file:
            return file.read(MAX_INPUT + 1)
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror}") from error


def _spec(chain: str, config: Path | None) -> ChainSpec:
    """Return the chain that is meant: by code, plain name or CAIP-2 id as ``verify`` takes them, or as configured."""
    named = parse_chain(chain)
    code = networks.canonical_code(chain if named is None or named.code is None else named.code)
    if code in networks.known():
        spec = networks.spec(code)
        return spec if named is None else _on_network(spec, chain, named)
    chains = settings.load(config, with_secrets=False).chains
    for configured in chains.values():
        if chain == configured.spec.code or code == f"eip155:{configured.spec.chain_id}":
            return configured.spec
    if named is not None and named.code is None:
        raise Misconfigured(f"{chain!r} is a family of chains: say which one, as eip155:1")
    return networks.spec(chain)  # says which chains there are


def _on_network(spec: ChainSpec, chain: str, named: Chain) -> ChainSpec:
    """Return the chain with the addresses of the network that a CAIP-2 id names (``bip122:<genesis>``)."""
    if named.family != "bitcoin" or not named.networks:
        return spec
    reference = chain.partition(":")[2]
    for network in spec.params["networks"].values():
        if network["genesis"].startswith(reference):
            return networks.spec(spec.code, chain_id=network["genesis"])
    return spec
