"""Real raw transactions and blocks of the Bitcoin family, for the simulated node.

Serialised by python-bitcoinlib: the adapter's own reader is held against an independent writer.
Everything follows from its arguments, so that a restarted devnet makes the same bytes again.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec

from chainwatch.adapters.rawblock import Format

REWARD = 50 * 10**8
BITS = 0x207FFFFF
"""Easiest target there is (regtest): nobody mines here."""
VERSION, AUX_POW = 0x20000000, 0x00620100
"""Header version (BIP-9); Dogecoin's chain id and the bit of merged mining."""
SPECIAL_COINBASE = 3 | 5 << 16
"""Version and type of Dash's coinbase (DIP-4)."""


class RawTx(msgspec.Struct, frozen=True):
    """A transaction on the wire, its id as text, and its hash with witness as bytes."""

    txid: str
    data: bytes
    wtxid: bytes


def sha256d(data: bytes) -> bytes:
    """Double SHA-256."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """Merkle root as in block headers."""
    level = list(hashes)
    while len(level) > 1:
        level += level[-1:] * (len(level) % 2)
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


class Builder:
    """Writes one chain's bytes."""

    def __init__(self, form: Format) -> None:
        self._form = form

    @cached_property
    def _core(self) -> Any:
        import bitcoin.core  # costs a few dozen milliseconds: only where a node is simulated

        return bitcoin.core

    @cached_property
    def _script(self) -> Any:
        import bitcoin.core.script

        return bitcoin.core.script

    def payment(
        self,
        nonce: int,
        outputs: Sequence[tuple[int, bytes]],
        memo: bytes | None,
        spends: Sequence[tuple[str, int]] = (),
    ) -> RawTx:
        """Return a transaction that pays the outputs, the memo last.

        It spends the outpoints ``spends``, or where there are none the coin number ``nonce``.
        """
        core, script = self._core, self._script
        seed = hashlib.sha256(b"coin %d" % nonce).digest()
        signature, key = seed * 2 + seed[:7], b"\x02" + seed
        vout = [core.CTxOut(amount, script.CScript(s)) for amount, s in outputs]
        if memo is not None:
            vout.append(core.CTxOut(0, script.CScript([script.OP_RETURN, memo])))
        spent = [core.COutPoint(bytes.fromhex(txid)[::-1], n) for txid, n in spends]
        spent = spent or [core.COutPoint(seed, nonce % 4)]
        if self._form.segwit:
            vin = [core.CTxIn(coin) for coin in spent]
            witness = core.CTxInWitness(script.CScriptWitness([signature, key]))
            tx = core.CTransaction(vin, vout, 0, 2, core.CTxWitness([witness] * len(vin)))
        else:
            vin = [core.CTxIn(coin, script.CScript([signature, key])) for coin in spent]
            tx = core.CTransaction(vin, vout, 0, 2)
        data = tx.serialize()
        return RawTx(tx.GetTxid()[::-1].hex(), data, sha256d(data))

    def block(self, height: int, parent: str, txs: Sequence[RawTx], seconds: int, salt: int) -> tuple[str, bytes]:
        """Return a block's id and bytes: coinbase with height (BIP-34), witness commitment (BIP-141), header."""
        coinbase = self._coinbase(height, txs, salt)
        root = merkle_root([bytes.fromhex(t.txid)[::-1] for t in (coinbase, *txs)])
        version = VERSION | AUX_POW if self._form.aux_pow else VERSION
        header = self._core.CBlockHeader(
            nVersion=version,
            hashPrevBlock=bytes.fromhex(parent)[::-1],
            hashMerkleRoot=root,
            nTime=seconds,
            nBits=BITS,
            nNonce=salt & 0xFFFFFFFF,
        ).serialize()
        proof = self._aux_pow(height, sha256d(header)) if self._form.aux_pow else b""
        count = self._compact(len(txs) + 1)
        body = b"".join(t.data for t in (coinbase, *txs))
        return sha256d(header)[::-1].hex(), header + proof + count + body

    def _compact(self, number: int) -> bytes:
        data: bytes = self._core.VarIntSerializer.serialize(number)
        return data

    def _coinbase(self, height: int, txs: Sequence[RawTx], salt: int) -> RawTx:
        core, script = self._core, self._script
        vin = [core.CTxIn(core.COutPoint(), script.CScript([height, salt.to_bytes(8, "big")]))]
        miner = hashlib.sha256(b"miner").digest()[:20]
        vout = [core.CTxOut(REWARD, script.CScript(b"\x76\xa9\x14" + miner + b"\x88\xac"))]
        if self._form.segwit:
            root = merkle_root([bytes(32), *(t.wtxid for t in txs)])
            commitment = b"\xaa\x21\xa9\xed" + sha256d(root + bytes(32))
            vout.append(core.CTxOut(0, script.CScript([script.OP_RETURN, commitment])))
            witness = core.CTxWitness([core.CTxInWitness(script.CScriptWitness([bytes(32)]))])
            tx = core.CTransaction(vin, vout, 0, 2, witness)
        else:
            tx = core.CTransaction(vin, vout, 0, SPECIAL_COINBASE if self._form.special else 1)
        data = tx.serialize()
        if self._form.special:
            payload = height.to_bytes(4, "little") + bytes(34)
            data += self._compact(len(payload)) + payload
            return RawTx(sha256d(data)[::-1].hex(), data, sha256d(data))
        return RawTx(tx.GetTxid()[::-1].hex(), data, sha256d(data))

    def _aux_pow(self, height: int, block_hash: bytes) -> bytes:
        """Return a proof of merged mining: the parent's coinbase, its branch, our branch, the parent's header."""
        parent = Builder(Format(segwit=False))._coinbase(height, (), int.from_bytes(block_hash[:6], "big"))
        branch = self._compact(1) + block_hash + bytes(4)
        return parent.data + bytes(32) + branch + self._compact(0) + bytes(4) + bytes(80)
