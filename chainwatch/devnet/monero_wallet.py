"""The simulated view-only wallet: real keys and subaddresses, and blocks processed by its own refresh.

Like the real one it notices a reorganisation only when the new branch shows it another block: while its
daemon has fewer blocks than before and no new ones, it goes on listing what it knew.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from monero.address import IntegratedAddress, address
from monero.backends.offline import OfflineWallet
from monero.seed import Seed
from monero.wallet import Wallet

from chainwatch.testing.fakechain import FakeBlock, FakeTransfer, FakeTx

NO_PAYMENT_ID = "0" * 16
FAR_BLOCK = 2**64 - 1
"""The unlock time of a payment of kind ``locked``: the largest that a transaction can hold, a time that never comes."""

KINDS = frozenset({"transfer", "locked", "double_spend", "burnt", "forged"})
"""Kinds of payments that a buyer can make here:

``locked`` has an unlock time; ``double_spend`` conflicts with another one; ``burnt`` goes to the
one-time key of the last such payment to its address; ``forged`` is listed, but no output carries it."""


class _State(msgspec.Struct):
    seed: str
    made: int = 0


def buyer_address(entropy: bytes, network: str) -> str:
    """Return the primary address of a wallet with 32 bytes of entropy."""
    return str(Seed(entropy.hex()).public_address(net=network.removesuffix("net")))


class SimWallet:
    """One account's wallet: number 0 is its primary address, the others are subaddresses made in order."""

    def __init__(self, entropy: bytes, network: str, file: Path | None) -> None:
        self._file = file
        self._state = _State(entropy.hex())
        if file is not None and file.exists():
            self._state = msgspec.json.decode(file.read_bytes(), type=_State)
        seed = Seed(self._state.seed)
        primary = seed.public_address(net=network.removesuffix("net"))
        self._keys = Wallet(OfflineWallet(primary, view_key=seed.secret_view_key()))
        self.addresses = [str(primary)]
        self.number = {str(primary): 0}
        self._extend(self._state.made)
        self._save()
        self.blocks: list[FakeBlock] = []

    def _extend(self, total: int) -> None:
        for number in range(len(self.addresses), total + 1):
            self.addresses.append(str(self._keys.get_address(0, number)))
            self.number[self.addresses[-1]] = number

    def _save(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(self._file.name + ".new")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(self._state))
        os.replace(draft, self._file)

    def create(self, count: int) -> range:
        """Make ``count`` more subaddresses; return their numbers."""
        first = len(self.addresses)
        self._extend(first + count - 1)
        self._state.made = len(self.addresses) - 1
        self._save()
        return range(first, first + count)

    def refresh(self, chain: Sequence[FakeBlock]) -> int:
        """Process the daemon's chain; return how many blocks were new."""
        common = 0
        for ours, theirs in zip(self.blocks, chain, strict=False):
            if ours.ref.hash != theirs.ref.hash:
                break
            common += 1
        new = chain[common:]
        if new:
            self.blocks[common:] = new
        return len(new)

    # -- what it lists ---------------------------------------------------------------------------

    def _payments(self, tx: FakeTx) -> Iterator[tuple[int, str, list[tuple[int, FakeTransfer]]]]:
        """Yield (subaddress number, payment id, numbered outputs) of a transaction, as far as it is ours."""
        ours: dict[int, list[tuple[int, FakeTransfer]]] = {}
        payment_id = NO_PAYMENT_ID
        for n, transfer in enumerate(tx.transfers):
            payee, own_id = split(transfer.to)
            if payee in self.number:
                ours.setdefault(self.number[payee], []).append((n, transfer))
                payment_id = own_id or payment_id
        for number, outputs in ours.items():
            yield number, payment_id, outputs

    def entries(self, tx: FakeTx, block: FakeBlock | None, seen_ms: int, top: int) -> Iterator[dict[str, Any]]:
        """Yield one wallet-rpc entry for each of our subaddresses in a transaction; ``block`` None: the pool."""
        for number, payment_id, outputs in self._payments(tx):
            amounts = [t.amount for _, t in outputs]
            kinds = {t.kind for _, t in outputs}
            entry = {
                "address": self.addresses[number],
                "amount": sum(amounts),
                "amounts": amounts,
                "double_spend_seen": "double_spend" in kinds,
                "fee": 30_600_000,
                "height": 0 if block is None else block.ref.height,
                "locked": True,
                "note": "",
                "payment_id": payment_id,
                "subaddr_index": {"major": 0, "minor": number},
                "subaddr_indices": [{"major": 0, "minor": number}],
                "timestamp": (seen_ms if block is None else block.time_ms) // 1000,
                "txid": tx.txid,
                "type": "pool" if block is None else "in",
                "unlock_time": FAR_BLOCK if "locked" in kinds else 0,
            }
            if block is not None:
                confirmations = top - block.ref.height + 1
                entry |= {"confirmations": confirmations, "locked": confirmations < 10}
            yield entry

    def outputs(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the one-time outputs held at these subaddresses."""
        count = 0
        for block in self.blocks:
            for tx in block.txs:
                for number, _, outputs in self._payments(tx):
                    for n, transfer in outputs:
                        count += 1
                        if number not in numbers or transfer.kind == "forged":
                            continue
                        key = transfer.to if transfer.kind == "burnt" else f"{tx.txid}:{n}"
                        yield {
                            "amount": transfer.amount,
                            "block_height": block.ref.height,
                            "frozen": False,
                            "global_index": count,
                            "key_image": "",
                            "pubkey": hashlib.sha256(key.encode()).hexdigest(),
                            "spent": False,
                            "subaddr_index": {"major": 0, "minor": number},
                            "tx_hash": tx.txid,
                            "unlocked": True,
                        }


def split(text: str) -> tuple[str, str]:
    """Return the address behind an integrated one and its payment id; others as they are, without one.

    ``ValueError`` for what is no address.
    """
    parsed = address(text)
    if isinstance(parsed, IntegratedAddress):
        return str(parsed.base_address()), str(parsed.payment_id())
    return str(parsed), ""
