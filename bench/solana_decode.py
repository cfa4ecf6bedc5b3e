"""Decoding Solana JSON against ``orjson.loads`` on the same bytes.

Run: ``python bench/solana_decode.py``.  The input is every recorded ``getBlock`` and ``getTransaction`` answer
under ``$CHAINWATCH_SHARED`` (default: ../shared); each encoding is measured by itself.  The promise is at most
1.2 for the JSON encodings: finding every movement costs about as much as reading the text.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from chainwatch.adapters.solana import decode
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PROMISE = 1.2


def best_of(work: Callable[[], object], rounds: int = 15, repeat: int = 5) -> float:
    """Return the shortest time of one call: noise only ever adds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        times.append((time.perf_counter() - start) / repeat)
    return min(times)


def samples() -> dict[str, list[bytes]]:
    """Return the recorded documents by what they are; whitespace taken out, as nodes send them."""
    groups: dict[str, list[bytes]] = {}
    for file in sorted((SHARED / "chaindata" / "solana").glob("*/*.json")):
        document = orjson.dumps(json.loads(file.read_bytes()))
        try:
            list(decode([document], spec("SOL")))
        except Rejected:
            continue
        kind = "getBlock" if b'"transactions":' in document else "getTransaction"
        encoding = "base64" if b'"base64"' in document else "jsonParsed" if b'"parsed":' in document else "json"
        groups.setdefault(f"{kind} {encoding}", []).append(document)
    return groups


def main() -> int:
    groups = samples()
    if not groups:
        print(f"no recorded data under {SHARED}: nothing measured")
        return 0
    chain = spec("SOL")
    total_ours = total_theirs = 0.0
    for name, documents in sorted(groups.items()):
        ours = best_of(lambda documents=documents: [list(decode([d], chain)) for d in documents])
        theirs = best_of(lambda documents=documents: [orjson.loads(d) for d in documents])
        size = sum(map(len, documents))
        print(
            f"{name:28} {len(documents):3} files {size / 1e3:7.0f} kB   "
            f"decode {ours * 1e3:7.3f} ms   orjson {theirs * 1e3:7.3f} ms   ratio {ours / theirs:5.2f}"
        )
        if not name.endswith("base64"):
            total_ours, total_theirs = total_ours + ours, total_theirs + theirs
    ratio = total_ours / total_theirs
    print(f"solana json+jsonParsed: decode / orjson.loads = {ratio:.2f} (promise: at most {PROMISE})")
    return 0 if ratio <= PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
