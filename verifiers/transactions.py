"""Bitcoin transactions as BIP-322 needs them: strict parsing, and the three signature hashes.

Only SIGHASH_ALL (taproot: DEFAULT or ALL) is computed: BIP-322 requires it.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from chainwatch.verifiers.curves import sha256d
from chainwatch.verifiers.encodings import EncodingError, compact_size, read_compact_size

SIGHASH_DEFAULT = 0
SIGHASH_ALL = 1
MAX_WITNESS_ITEMS = 1000
"""Bitcoin's limit of the stack (MAX_STACK_SIZE): more could never be spent."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is spent (txid ‖ output number, 36 bytes), and by what."""

    outpoint: bytes
    script_sig: bytes = b""
    sequence: int = 0
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction; ``outputs`` are (satoshi, scriptPubKey)."""

    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[int, bytes], ...]
    lock_time: int = 0

    def txid(self) -> bytes:
        """Double SHA-256 of the serialisation without witness, in wire order."""
        return sha256d(self._serialize([(item.outpoint, item.script_sig, item.sequence) for item in self.inputs]))

    def legacy_digest(self, index: int, script_code: bytes) -> bytes:
        """SIGHASH_ALL of the original algorithm: every scriptSig empty, this input's the script code."""
        blank = [
            (item.outpoint, script_code if number == index else b"", item.sequence)
            for number, item in enumerate(self.inputs)
        ]
        return sha256d(self._serialize(blank) + b"\x01\x00\x00\x00")

    def segwit_digest(self, index: int, script_code: bytes, amount: int) -> bytes:
        """SIGHASH_ALL of BIP-143."""
        spent = self.inputs[index]
        return sha256d(
            self.version.to_bytes(4, "little")
            + sha256d(b"".join([item.outpoint for item in self.inputs]))
            + _sequences_digest(tuple([item.sequence for item in self.inputs]))
            + spent.outpoint
            + compact_size(len(script_code))
            + script_code
            + amount.to_bytes(8, "little")
            + spent.sequence.to_bytes(4, "little")
            + sha256d(_serialize_outputs(self.outputs))
            + self.lock_time.to_bytes(4, "little")
            + b"\x01\x00\x00\x00"
        )

    def taproot_digest(self, hash_type: int, script_pubkey: bytes, amount: int) -> bytes:
        """Message of a key-path spend of the only input (BIP-341, ext_flag 0, no annex)."""
        (spent,) = self.inputs
        preimage = (
            bytes([0, hash_type])
            + self.version.to_bytes(4, "little")
            + self.lock_time.to_bytes(4, "little")
            + sha256(spent.outpoint).digest()
            + sha256(amount.to_bytes(8, "little")).digest()
            + sha256(compact_size(len(script_pubkey)) + script_pubkey).digest()
            + sha256(spent.sequence.to_bytes(4, "little")).digest()
            + sha256(_serialize_outputs(self.outputs)).digest()
            + b"\x00"  # spend type: key path, no annex
            + b"\x00\x00\x00\x00"  # input number
        )
        return sha256(_TAP_SIGHASH + preimage).digest()

    def _serialize(self, inputs: list[tuple[bytes, bytes, int]]) -> bytes:
        return (
            self.version.to_bytes(4, "little")
            + compact_size(len(inputs))
            + b"".join(
                [
                    outpoint + compact_size(len(script)) + script + sequence.to_bytes(4, "little")
                    for outpoint, script, sequence in inputs
                ]
            )
            + compact_size(len(self.outputs))
            + _serialize_outputs(self.outputs)
            + self.lock_time.to_bytes(4, "little")
        )


_TAP_SIGHASH = sha256(b"TapSighash").digest() * 2


@lru_cache(maxsize=64)
def _serialize_outputs(outputs: tuple[tuple[int, bytes], ...]) -> bytes:
    return b"".join([value.to_bytes(8, "little") + compact_size(len(script)) + script for value, script in outputs])


@lru_cache(maxsize=64)
def _sequences_digest(sequences: tuple[int, ...]) -> bytes:
    """BIP-143's hashSequence, which is the same for nearly every BIP-322 signature (as are its outputs)."""
    return sha256d(b"".join([sequence.to_bytes(4, "little") for sequence in sequences]))


# --- parsing


def _take(data: bytes, offset: int, size: int) -> tuple[bytes, int]:
    end = offset + size
    if end > len(data):
        raise EncodingError("truncated")
    return data[offset:end], end


def _take_sized(data: bytes, offset: int) -> tuple[bytes, int]:
    size, offset = read_compact_size(data, offset)
    return _take(data, offset, size)


def _take_int(data: bytes, offset: int, size: int) -> tuple[int, int]:
    raw, offset = _take(data, offset, size)
    return int.from_bytes(raw, "little"), offset


def _take_stack(data: bytes, offset: int) -> tuple[tuple[bytes, ...], int]:
    count, offset = read_compact_size(data, offset)
    if count > MAX_WITNESS_ITEMS:
        raise EncodingError("witness: too many items")
    items = []
    for _ in range(count):
        item, offset = _take_sized(data, offset)
        items.append(item)
    return tuple(items), offset


def parse_witness(data: bytes) -> tuple[bytes, ...]:
    """A witness stack, and nothing after it."""
    stack, end = _take_stack(data, 0)
    if end != len(data):
        raise EncodingError("witness: trailing bytes")
    return stack


def parse_transaction(data: bytes) -> Transaction:
    """A transaction in the serialisation of BIP-144, or the original one when no input has a witness."""
    version, offset = _take_int(data, 0, 4)
    segwit = data[offset : offset + 2] == b"\x00\x01"
    count, offset = read_compact_size(data, offset + 2 if segwit else offset)
    inputs = []
    for _ in range(count):  # each takes at least 41 bytes, so the data bounds the loop
        outpoint, offset = _take(data, offset, 36)
        script, offset = _take_sized(data, offset)
        sequence, offset = _take_int(data, offset, 4)
        inputs.append(Input(outpoint, script, sequence))
    count, offset = read_compact_size(data, offset)
    outputs = []
    for _ in range(count):
        value, offset = _take_int(data, offset, 8)
        script, offset = _take_sized(data, offset)
        outputs.append((value, script))
    if segwit:
        for number, item in enumerate(inputs):
            stack, offset = _take_stack(data, offset)
            inputs[number] = Input(item.outpoint, item.script_sig, item.sequence, stack)
        if not any(item.witness for item in inputs):
            raise EncodingError("transaction: superfluous witness")
    lock_time, offset = _take_int(data, offset, 4)
    if offset != len(data):
        raise EncodingError("transaction: trailing bytes")
    return Transaction(version, tuple(inputs), tuple(outputs), lock_time)
