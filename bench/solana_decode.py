"""Decoding Solana JSON against ``orjson.loads`` on the same bytes.

Run: ``python bench/solana_decode.py``.  The input are the recorded answers under ``$CHAINWATCH_SHARED`` (default:
../shared), and a block of mainnet's size made of recorded transactions, three votes to one other.  The promise is
at most 1.2 for full blocks in the two JSON encodings: finding every movement costs about as much as reading the
text (jsonParsed, which the adapter asks for, half of it).  What has
no votes in it (a single transaction, the recorded test block of 25) costs more, some ten microseconds a
movement, and is shown beside it.
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


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Return the least CPU time of one call of each, measured in turns: noise only ever adds."""
    best = [float("inf"), float("inf")]
    for _ in range(15):
        for i, work in enumerate((ours, theirs)):
            start = time.process_time()
            for _ in range(repeat):
                work()
            best[i] = min(best[i], (time.process_time() - start) / repeat)
    return best[0], best[1]


def recorded() -> list[bytes]:
    """Return every recorded document that is Solana data; whitespace taken out, as nodes send them."""
    found = []
    for file in sorted((SHARED / "chaindata" / "solana").glob("*/*.json")):
        document = orjson.dumps(json.loads(file.read_bytes()))
        try:
            list(decode([document], spec("SOL")))
        except Rejected:
            continue
        found.append(document)
    return found


def encoding_of(document: bytes) -> str:
    return "base64" if b'"base64"' in document else "jsonParsed" if b'"parsed":' in document else "json"


def full_block(documents: list[bytes]) -> bytes:
    """Make a block of 1,500 transactions of one encoding: 1,125 votes, and the others as they were recorded."""
    votes, others = [], []
    for document in documents:
        answer = json.loads(document)
        for item in answer if isinstance(answer, list) else [answer]:
            item = item.get("result", item)
            for row in item.get("transactions") or ([item] if "transaction" in item else []):
                text = orjson.dumps(row)
                is_vote = b"Vote111111111111111111111111111111111111111" in text
                if row["transaction"]["signatures"] and row["meta"]:
                    (votes if is_vote else others).append(row)
    rows = [votes[i % len(votes)] if i % 4 else others[i // 4 % len(others)] for i in range(1500)]
    return orjson.dumps({"blockhash": "x", "parentSlot": 1, "blockTime": 1, "transactions": rows})


def groups() -> dict[str, list[bytes]]:
    """Return what is measured, by name."""
    found: dict[str, list[bytes]] = {}
    documents = recorded()
    for document in documents:
        kind = "getBlock" if b'"transactions":' in document else "getTransaction"
        if kind == "getTransaction" or len(document) > 100_000:  # the small blocks were cut to a few transactions
            found.setdefault(f"{kind} {encoding_of(document)}", []).append(document)
    for encoding in ("json", "jsonParsed"):
        of_kind = [d for d in documents if encoding_of(d) == encoding]
        if of_kind:
            found[f"getBlock {encoding}, full size"] = [full_block(of_kind)]
    return found


def main() -> int:
    measured = groups()
    if not measured:
        print(f"no recorded data under {SHARED}: nothing measured")
        return 0
    chain = spec("SOL")
    ours_total = theirs_total = 0.0
    for name, documents in sorted(measured.items()):
        repeat = max(1, 1_000_000 // sum(map(len, documents)))
        ours, theirs = compare(
            lambda documents=documents: [list(decode([d], chain)) for d in documents],
            lambda documents=documents: [orjson.loads(d) for d in documents],
            repeat,
        )
        size = sum(map(len, documents))
        print(
            f"{name:30} {len(documents):3} files {size / 1e3:7.0f} kB   "
            f"decode {ours * 1e3:8.3f} ms   orjson {theirs * 1e3:8.3f} ms   ratio {ours / theirs:5.2f}"
        )
        if name.endswith("full size"):
            ours_total, theirs_total = ours_total + ours, theirs_total + theirs
    ratio = ours_total / theirs_total
    print(f"solana full blocks, json and jsonParsed: decode / orjson.loads = {ratio:.2f} (promise: at most {PROMISE})")
    return 0 if ratio <= PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
