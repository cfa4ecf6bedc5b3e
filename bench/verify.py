"""How much dearer ``verify`` is than the bare library call under it, in one run on one core.

    python bench/verify.py [--check]

Processor time, not the clock on the wall: other processes do not count.  Ours and the bare call are timed in turns, in
short slices, so that what is left of the machine's moods hits both; the ratio is the median of the slices' ratios.
``--check`` exits with 1 when a limit is broken.  The npm packages of the differential tests are measured too, where
they are installed.
"""

import argparse
import gc
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLICES = 40
SLICE_SECONDS = 0.01
TEXT = "Access event summit-24 at 1732060800000"


@dataclass(frozen=True)
class Row:
    """``ours`` may take at most ``limit`` times as long as ``bare``; with ``faster``, be so many times faster."""

    name: str
    ours: Callable[[], Any]
    bare_name: str
    bare: Callable[[], Any]
    limit: float
    faster: bool = False


def slice_of(call: Callable[[], Any], count: int) -> float:
    """Microseconds of one call, over ``count``."""
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count * 1e6


def measure(row: Row) -> tuple[float, float, float]:
    """``(ours, bare, ratio)``: medians of microseconds, and the median ratio of neighbouring slices."""
    counts = []
    for call in (row.ours, row.bare):
        call()
        once = slice_of(call, 3)
        counts.append(max(1, int(SLICE_SECONDS * 1e6 / once)))
    pairs = [(slice_of(row.ours, counts[0]), slice_of(row.bare, counts[1])) for _ in range(SLICES)]
    ratios = [(bare / ours if row.faster else ours / bare) for ours, bare in pairs]
    ours, bare = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    return ours, bare, statistics.median(ratios)


def checked(**question: Any) -> Callable[[], Any]:
    """A call of ``verify`` that is known to say yes."""
    from chainwatch.verifiers import verify

    assert verify(**question), question
    return lambda: verify(**question)


def evm_rows() -> Iterator[Row]:
    import coincurve
    from eth_account import Account
    from eth_account.messages import encode_defunct

    from chainwatch.verifiers.addresses import eip55
    from chainwatch.verifiers.curves import keccak256
    from chainwatch.verifiers.ethereum import personal_digest

    key = coincurve.PrivateKey(b"\x07" * 32)
    digest = personal_digest(TEXT.encode())
    signed = key.sign_recoverable(digest, hasher=None)
    signature = f"0x{signed[:64].hex()}{27 + signed[64]:02x}"
    address = eip55(keccak256(key.public_key.format(False)[1:])[12:])
    ours = checked(address=address, message=TEXT, signature=signature)

    def bare() -> None:
        coincurve.PublicKey.from_signature_and_message(signed, digest, hasher=None)

    yield Row("EIP-191", ours, "coincurve recover", bare, 2.0)
    yield Row(
        "EIP-191",
        ours,
        "eth_account recover_message",
        lambda: Account.recover_message(encode_defunct(text=TEXT), signature=signature),
        2.3,
        faster=True,
    )
    theirs = javascript("ethers", "const {verifyMessage} = m; run(() => verifyMessage(a.text, a.signature))")
    if theirs:
        yield Row("EIP-191", ours, "ethers verifyMessage", theirs(text=TEXT, signature=signature), 1.0, faster=True)


def hive_rows() -> Iterator[Row]:
    import coincurve

    from chainwatch.verifiers.curves import ripemd160
    from chainwatch.verifiers.encodings import base58_text
    from chainwatch.verifiers.hive import is_canonical

    key = coincurve.PrivateKey(b"\x07" * 32)
    public = key.public_key.format()
    name = "STM" + base58_text(public + ripemd160(public)[:4])
    accounts = {
        "alice": {"name": "alice", "posting": {"weight_threshold": 1, "account_auths": [], "key_auths": [[name, 1]]}}
    }
    for number in range(100):
        text = f"{TEXT} {number}"
        digest = hashlib.sha256(text.encode()).digest()
        signed = key.sign_recoverable(digest, hasher=None)
        if is_canonical(signed[:64]):
            break
    signature = bytes([31 + signed[64]]).hex() + signed[:64].hex()
    ours = checked(address="alice", message=text, signature=signature, authorities=accounts)

    def bare() -> None:
        coincurve.PublicKey.from_signature_and_message(signed, digest, hasher=None)

    yield Row("Hive", ours, "coincurve recover", bare, 1.6)
    try:
        from beemgraphenebase.ecdsasig import verify_message
    except ImportError:
        pass
    else:
        raw = bytes.fromhex(signature)
        yield Row("Hive", ours, "beem verify_message", lambda: verify_message(text, raw), 150, faster=True)
    code = (
        "const {Signature, cryptoUtils} = m;"
        "run(() => Signature.fromString(a.signature).recover(cryptoUtils.sha256(a.text)))"
    )
    theirs = javascript("@hiveio/dhive", code)
    if theirs:
        yield Row("Hive", ours, "dhive recover", theirs(text=text, signature=signature), 1.0, faster=True)


def solana_rows() -> Iterator[Row]:
    from nacl.signing import SigningKey

    from chainwatch.verifiers.encodings import base58_text

    key = SigningKey(b"\x01" * 32)
    data = TEXT.encode()
    signature = key.sign(data).signature
    public = key.verify_key
    ours = checked(address=base58_text(bytes(public)), message=TEXT, signature=base58_text(signature))
    yield Row("Solana", ours, "PyNaCl verify", lambda: public.verify(data, signature), 1.3)


def monero_rows() -> Iterator[Row]:
    ours = checked(
        address="42ey1afDFnn4886T7196doS9GPMzexD9gXpsZJDwVjeRVdFCSoHnv7KPbBeGpzJBzHRCAs9UxqeoyFQMYbqSWYTfJJQAWDm",
        message="Access event evt_42 at 1732060800000",
        signature="SigV2Qzscdrzsy1zgwQbaaGqxx9FS6DHzM52LKEBbRnBZv1rZKUtbq7bcWx4Vio5MsJWvPiE6g2YHmycE3YTNsGQzqFbp",
    )

    def two_milliseconds() -> None:
        end = time.process_time() + 0.002
        while time.process_time() < end:
            pass

    yield Row("Monero", ours, "2 ms", two_milliseconds, 1.0)


# --- the same in JavaScript, timed there

MODULES = Path(os.environ.get("CHAINWATCH_NODES", Path(__file__).parents[1] / ".tools")) / "node_modules"


def javascript(package: str, code: str) -> Callable[..., Callable[[], Any]] | None:
    """A call that takes as long as the JavaScript one, warmed up; None where that is not installed."""
    node = shutil.which("node")
    if node is None or not (MODULES / package).exists():
        return None

    def build(**arguments: Any) -> Callable[[], Any]:
        script = f"""
            const m = require({json.dumps(str(MODULES / package))}); const a = {json.dumps(arguments)};
            function run(f) {{ for (let i = 0; i < 50; i++) f(); const t = process.cpuUsage();
              for (let i = 0; i < 200; i++) f(); const d = process.cpuUsage(t); console.log((d.user + d.system) / 2e8);
              }}
            {code}"""
        done = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=True)
        seconds = float(done.stdout.split()[-1])

        def wait() -> None:
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        return wait

    return build


def rows() -> Iterator[Row]:
    for family in (evm_rows, hive_rows, solana_rows, monero_rows):
        yield from family()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is broken")
    arguments = parser.parse_args()
    broken = 0
    gc.disable()
    print(f"{'scheme':10} {'µs':>8}  {'against':28} {'µs':>9}  {'ratio':>7}  limit")
    for row in rows():
        ours, bare, ratio = measure(row)
        good = ratio >= row.limit if row.faster else ratio <= row.limit
        broken += not good
        sign = "≥" if row.faster else "≤"
        print(
            f"{row.name:10} {ours:8.1f}  {row.bare_name:28} {bare:9.1f}  {ratio:7.2f}  {sign} {row.limit}"
            f"{'' if good else '   BROKEN'}"
        )
    return 1 if broken and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
