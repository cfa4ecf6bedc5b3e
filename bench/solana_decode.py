"""Decoding Solana JSON against ``orjson.loads`` on the same bytes.

Run: ``python bench/solana_decode.py``.  The input are the recorded answers under ``$CHAINWATCH_SHARED`` (default:
../shared), and a block of mainnet's size made of recorded transactions, three votes to one other.

Two things are measured.  ``decode`` is ``chainwatch decode``: every movement, whoever's.  The promise, at most 1.2, is
held to on full blocks, in each of the two JSON encodings: finding every movement costs less than reading the text.
``daemon`` is what the running service does: it reads no blocks, it asks for the transactions that the node lists for
our accounts, one ``getTransaction`` in jsonParsed each, and looks for what came to *our* accounts among 1 and among
100,000.  Every one of those is about us, so nothing can be passed over, and the text is a few kilobytes: reading it
costs some microseconds, and the replay of the balances in Python some ten more, whatever the size.  That is over 1.2
and is shown as what it is.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

from chainwatch.adapters.solana import decode
from chainwatch.adapters.solana_tx import PROGRAMS, Ours, Table, payments, read
from chainwatch.adapters.solana_wire import Row
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.verifiers.encodings import base58_text

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


def daemon(documents: list[bytes], watched: int) -> tuple[int, float, float]:
    """Return how many answers pay a known asset, and what reading them costs us and orjson in all.

    The last account that a transaction pays is made ours, among ``watched`` others.
    """
    chain, chance = spec("SOL"), random.Random(1)
    table, rows = Table(chain.code, chain.assets), msgspec.json.Decoder(Row)
    others = {base58_text(chance.randbytes(32)): ("wallet", chain.native) for _ in range(watched - 1)}
    count, ours_total, theirs_total = 0, 0.0, 0.0
    for document in documents:
        answer = json.loads(document)
        body = orjson.dumps(answer.get("result", answer))
        reading = read(row := rows.decode(body), row.view(PROGRAMS))
        paid = [(m, a) for m in reading.movements for a in chain.assets if table.code(m, reading.book) == a.code]
        if not paid:
            continue
        movement, asset = paid[-1]
        ours = Ours({**others, str(movement.account): ("wallet", asset)}, set())

        def work(body: bytes = body, ours: Ours = ours) -> object:
            row = rows.decode(body)
            return payments(read(row, row.view(PROGRAMS), ours.accounts), ours, table, None)

        assert work(), "our payment is found"
        mine, theirs = compare(work, lambda body=body: orjson.loads(body), 1_000)
        count, ours_total, theirs_total = count + 1, ours_total + mine, theirs_total + theirs
    return count, ours_total, theirs_total


def main() -> int:
    measured = groups()
    if not measured:
        print(f"no recorded data under {SHARED}: nothing measured")
        return 0
    chain = spec("SOL")
    worst = 0.0
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
            worst = max(worst, ours / theirs)
    singles = measured.get("getTransaction jsonParsed", [])
    for watched in (1, 100_000) if singles else ():
        count, ours, theirs = daemon(singles, watched)
        print(
            f"daemon: getTransaction jsonParsed that pays one of {watched:7,} accounts, {count} answers   "
            f"{ours / count * 1e6:5.1f} us each   orjson {theirs / count * 1e6:5.1f} us   ratio {ours / theirs:5.2f}"
        )
    print(f"solana full blocks: decode / orjson.loads at worst {worst:.2f} (promise: at most {PROMISE})")
    return 0 if worst <= PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
