"""How much faster the block scanner is than python-bitcoinlib: to look for payments, and with the merkle root proved.

    python bench/bitcoin_scan.py [raw block file …]

Without files it makes a block of 2,500 segwit transactions.  Prints milliseconds and the ratio.
"""

import hashlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bitcoin.core import CBlock

from chainwatch.adapters.rawblock import Format, find, read_block, scan_block

WATCHED = 100_000
LOOKING, PROVED = 20.0, 10.0  # targets: beside deserialisation alone, and with the root proved on both sides


def synthetic(transactions: int = 2500) -> bytes:
    """A block as today's are: two inputs with witness, two or three outputs, one OP_RETURN in a hundred."""
    rng, form = random.Random(1), Format()

    def tx(coinbase: bool, memo: bool) -> bytes:
        inputs = 1 if coinbase else 2
        out = b"\x02\0\0\0\0\x01" + bytes([inputs])
        for _ in range(inputs):
            out += bytes(32) + b"\xff" * 4 if coinbase else rng.randbytes(36)
            out += b"\x04\x03\x40\x42\x0f" + b"\xff" * 4 if coinbase else b"\0\xff\xff\xff\xff"
        scripts = [b"\0\x14" + rng.randbytes(20), b"\x76\xa9\x14" + rng.randbytes(20) + b"\x88\xac"]
        scripts += [b"\x6a\x20" + rng.randbytes(32)] if memo else []
        out += bytes([len(scripts)]) + b"".join(
            rng.randrange(10**9).to_bytes(8, "little") + bytes([len(s)]) + s for s in scripts
        )
        out += (b"\x02\x47" + rng.randbytes(71) + b"\x21" + rng.randbytes(33)) * inputs
        return out + b"\0\0\0\0"

    def sha256d(data: bytes) -> bytes:
        return hashlib.sha256(hashlib.sha256(data).digest()).digest()

    txs = [tx(i == 0, i % 100 == 1) for i in range(transactions)]
    body = b"\xfd" + transactions.to_bytes(2, "little") + b"".join(txs)
    level = []
    for raw in txs:
        inputs_and_outputs = len(raw) - 4 - 107 * raw[6]
        level.append(sha256d(raw[:4] + raw[6:inputs_and_outputs] + raw[-4:]))
    while len(level) > 1:
        level += level[-1:] * (len(level) % 2)
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    raw = b"\x04\0\0\x20" + bytes(32) + level[0] + bytes(12) + body
    read_block(raw, form)
    return raw


def best(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times) * 1000


def main() -> int:
    blocks = {name: Path(name).read_bytes() for name in sys.argv[1:]} or {"synthetic": synthetic()}
    rng, form, looking, proved = random.Random(2), Format(), float("inf"), float("inf")
    for name, raw in blocks.items():
        scripts = [s for tx in read_block(raw, form).txs for _, s in tx.outputs]
        watched = {b"\0\x14" + rng.randbytes(20): "" for _ in range(WATCHED)}
        watched |= dict.fromkeys(rng.sample(scripts, 5), "")
        alone = best(lambda raw=raw: find(raw, {b"": ""}, form), 15)
        look = best(lambda raw=raw, watched=watched: find(raw, watched, form), 15)
        scan = best(lambda raw=raw, watched=watched: scan_block(raw, watched, form), 15)
        read = best(lambda raw=raw: CBlock.deserialize(raw), 3)
        prove = best(lambda raw=raw: CBlock.deserialize(raw).calc_merkle_root(), 3)
        print(
            f"{name}: {len(raw):,} bytes, {WATCHED:,} watched scripts, five payments to them\n"
            f"  looking: library {read:.0f} ms, ours {look:.1f} ms: {read / look:.0f}x "
            f"(one watched script: {alone:.1f} ms)\n"
            f"  merkle root proved, as the daemon does: library {prove:.0f} ms, ours {scan:.1f} ms: {prove / scan:.0f}x"
        )
        looking, proved = min(looking, read / look), min(proved, prove / scan)
    print(f"bitcoin_scan_ratio {looking:.1f} (target {LOOKING:.0f}), proved {proved:.1f} (target {PROVED:.0f})")
    return 0 if looking >= LOOKING and proved >= PROVED else 1


if __name__ == "__main__":
    raise SystemExit(main())
