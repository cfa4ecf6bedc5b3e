"""Cost of a verification, beside the bare library call that it cannot do without, in the same run.

Usage: python bench/verify.py [--seconds 1] [--json]
Targets are ratios, so that they mean the same on every machine.  What it compares with is skipped where not installed
(the packages of other languages: ``CHAINWATCH_TOOLS``, default ``.tools``).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import coincurve
import nacl.bindings

from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, SolanaWallet
from chainwatch.verifiers import curves, verify
from chainwatch.verifiers.encodings import base58_bytes
from chainwatch.verifiers.jsonl import verify_row

ROOT = Path(__file__).parents[1]
TEXT = "Access event summit-24 at 1732060800000"


@dataclass(frozen=True)
class Row:
    """One line of the table.  ``limit``: the most (``at_most``) or the least that ``ratio`` may be."""

    name: str
    microseconds: float
    beside: str
    beside_microseconds: float
    ratio: float
    limit: float | None
    at_most: bool

    @property
    def met(self) -> bool:
        return self.limit is None or (self.ratio <= self.limit if self.at_most else self.ratio >= self.limit)


def best_of(seconds: float, *functions: Callable[[], Any]) -> list[float]:
    """Best microseconds of one call of each function, their rounds interleaved: load of the machine meets all alike."""
    rounds = []
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        once = time.perf_counter() - start
        rounds.append(max(1, int(0.01 / max(once, 1e-7))))
    best = [float("inf")] * len(functions)
    until = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < until:
        for index, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(rounds[index]):
                function()
            best[index] = min(best[index], (time.perf_counter() - start) / rounds[index])
    return [value * 1e6 for value in best]


class Table:
    """Measures pairs and keeps the rows."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[Row] = []

    def slower(self, name: str, ours: Callable[[], Any], beside: str, bare: Callable[[], Any], limit: float) -> None:
        """Ours may cost at most ``limit`` times the bare call."""
        assert ours(), name
        assert bare(), beside
        mine, its = best_of(self.seconds, ours, bare)
        self.rows.append(Row(name, mine, beside, its, mine / its, limit, at_most=True))

    def faster(self, name: str, ours: Callable[[], Any], beside: str, other: Callable[[], Any], limit: float) -> None:
        """Ours must be at least ``limit`` times as fast as the other library."""
        mine, its = best_of(self.seconds, ours, other)
        self.rows.append(Row(name, mine, beside, its, its / mine, limit, at_most=False))

    def print(self) -> None:
        for row in self.rows:
            sign = "<=" if row.at_most else ">="
            goal = f"{sign} {row.limit:g}" if row.limit is not None else ""
            mark = "ok" if row.met else "MISSED"
            print(
                f"{row.name:28} {row.microseconds:9.1f} µs   {row.beside:34} {row.beside_microseconds:9.1f} µs   "
                f"{row.ratio:7.2f} {goal:8} {mark}"
            )


# --- questions


def bitcoin(kind: Any) -> tuple[Callable[[], Any], bytes, bytes, BitcoinWallet]:
    """``(verification, compact signature, its digest, wallet)`` of a legacy message."""
    from base64 import b64decode

    from chainwatch.verifiers.bitcoin import message_digest

    wallet = BitcoinWallet("bench", kind)
    signature = wallet.sign_message(TEXT)
    raw = b64decode(signature)
    compact = raw[1:] + bytes([(raw[0] - 27) & 3])
    return (
        lambda: verify(address=wallet.address, message=TEXT, signature=signature),
        compact,
        message_digest("BTC", TEXT.encode()),
        wallet,
    )


def bare_recover(compact: bytes, digest: bytes) -> Callable[[], Any]:
    recover = coincurve.PublicKey.from_signature_and_message
    return lambda: recover(compact, digest, hasher=None)


def schemes(table: Table) -> None:
    """Each scheme beside the bare call of its curve library."""
    ours, compact, digest, _ = bitcoin("p2pkh")
    bare = bare_recover(compact, digest)
    table.slower("BIP-137 P2PKH", ours, "coincurve recover", bare, 1.6)
    table.slower("BIP-137 P2WPKH", bitcoin("p2wpkh")[0], "coincurve recover", bare, 1.6)

    wallet = BitcoinWallet("bench", "p2wpkh")
    signature = wallet.sign_bip322(TEXT)
    key, der, message = coincurve.PublicKey(wallet.public_key), wallet.key.sign(digest, hasher=None), digest
    table.slower(
        "BIP-322 simple P2WPKH",
        lambda: verify(address=wallet.address, message=TEXT, signature=signature),
        "coincurve ECDSA verify",
        lambda: key.verify(der, message, hasher=None),
        2.5,
    )

    hive = HiveWallet("alice")
    authorities, hive_signature = [hive.account], hive.sign_message(TEXT)
    table.slower(
        "Hive signBuffer",
        lambda: verify(address="alice", message=TEXT, signature=hive_signature, authorities=authorities),
        "coincurve recover",
        bare,
        1.6,
    )

    evm = EvmWallet("bench")
    evm_signature = evm.sign_message(TEXT)
    table.slower(
        "EIP-191 (EIP-55 checked)",
        lambda: verify(address=evm.address, message=TEXT, signature=evm_signature),
        "coincurve recover",
        bare,
        2.0,
    )

    solana = SolanaWallet("bench")
    solana_signature = solana.sign_message(TEXT)
    signed, point = base58_bytes(solana_signature) + TEXT.encode(), base58_bytes(solana.address)
    table.slower(
        "Solana signMessage",
        lambda: verify(address=solana.address, message=TEXT, signature=solana_signature),
        "PyNaCl verify",
        lambda: nacl.bindings.crypto_sign_open(signed, point),
        1.3,
    )

    rows = json.loads((ROOT / "tests" / "vectors" / "official.json").read_text("utf-8"))
    row = next(row for row in rows if row["scheme"] == "monero" and row["id"] == "v2-primary-spend-empty")
    (mine,) = best_of(table.seconds, lambda: verify_row(row))
    table.rows.append(Row("Monero SigV2", mine, "2 ms", 2000, mine / 2000, 1.0, at_most=True))


def python_libraries(table: Table) -> None:
    """Other Python libraries, doing the same question."""
    evm = EvmWallet("bench")
    signature = evm.sign_message(TEXT)
    os.environ["ECC_BACKEND_CLASS"] = "eth_keys.backends.CoinCurveECCBackend"
    from eth_account import Account
    from eth_account.messages import encode_defunct

    table.faster(
        "EIP-191",
        lambda: verify(address=evm.address, message=TEXT, signature=signature),
        "eth_account recover_message",
        lambda: Account.recover_message(encode_defunct(text=TEXT), signature=signature),
        2.3,
    )
    from bitcoin.signmessage import BitcoinMessage, VerifyMessage

    ours, _, _, wallet = bitcoin("p2pkh")
    compact = wallet.sign_message(TEXT)
    table.faster(
        "BIP-137 P2PKH",
        ours,
        "python-bitcoinlib VerifyMessage",
        lambda: VerifyMessage(wallet.address, BitcoinMessage(TEXT), compact),
        10,
    )
    from beemgraphenebase.ecdsasig import verify_message

    hive = HiveWallet("alice")
    authorities, hive_signature = [hive.account], hive.sign_message(TEXT)
    table.faster(
        "Hive signBuffer",
        lambda: verify(address="alice", message=TEXT, signature=hive_signature, authorities=authorities),
        "beem verify_message",
        lambda: verify_message(TEXT, bytes.fromhex(hive_signature)),
        150,
    )


# --- packages of other languages: timed by a loop inside the one process

_SCRIPT = """
const modules = process.argv[1] + "/node_modules/";
const input = JSON.parse(require("fs").readFileSync(0));
const load = (name) => { try { return require(modules + name); } catch { return null; } };
const ethers = load("ethers"), bip322 = load("bip322-js"), dhive = load("@hiveio/dhive");
const cases = {
  ethers: ethers && (() => ethers.verifyMessage(input.text, input.evm)),
  "bip322-js": bip322 && (() => bip322.Verifier.verifySignature(input.address, input.text, input.bip322)),
  dhive: dhive && (() => dhive.Signature.fromString(input.hive).recover(dhive.cryptoUtils.sha256(input.text), "STM")),
};
const out = {};
for (const [name, run] of Object.entries(cases)) {
  if (!run) continue;
  for (let i = 0; i < 50; i++) run();
  let best = Infinity;
  const until = Date.now() + input.seconds * 1000;
  while (Date.now() < until) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 5; i++) run();
    best = Math.min(best, Number(process.hrtime.bigint() - start) / 5000);
  }
  out[name] = best;
}
console.log(JSON.stringify(out));
"""


def other_languages(table: Table) -> None:
    """ethers, bip322-js and dhive on Node.js, against the times measured above."""
    node, folder = shutil.which("node"), Path(os.environ.get("CHAINWATCH_TOOLS", ROOT / ".tools"))
    if node is None or not (folder / "node_modules").is_dir():
        print(f"(node packages not installed in {folder}: not compared)", file=sys.stderr)
        return
    wallet = BitcoinWallet("bench", "p2wpkh")
    question = {
        "seconds": table.seconds,
        "text": TEXT,
        "evm": EvmWallet("bench").sign_message(TEXT),
        "address": wallet.address,
        "bip322": wallet.sign_bip322(TEXT, prefix=False),
        "hive": HiveWallet("alice").sign_message(TEXT),
    }
    done = subprocess.run(
        [node, "-e", _SCRIPT, str(folder)], input=json.dumps(question), capture_output=True, text=True, check=True
    )
    mine = {row.name: row.microseconds for row in table.rows}
    names = {"ethers": "EIP-191 (EIP-55 checked)", "bip322-js": "BIP-322 simple P2WPKH", "dhive": "Hive signBuffer"}
    for package, microseconds in json.loads(done.stdout).items():
        name = names[package]
        table.rows.append(Row(name, mine[name], package, microseconds, microseconds / mine[name], 1.0, at_most=False))


def imports() -> Row:
    """The cost of ``import chainwatch.verifiers``, best of five fresh processes, the interpreter's start taken off."""

    def started(code: str) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            best = min(best, time.perf_counter() - start)
        return best * 1e6

    cost = started("import chainwatch.verifiers") - started("pass")
    return Row("import chainwatch.verifiers", cost, "80 ms", 80_000, cost / 80_000, 1.0, at_most=True)


def main() -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    assert curves.keccak256(b"")  # loaded before anything is timed
    table = Table(arguments.seconds)
    for part in (schemes, python_libraries, other_languages):
        part(table)
    table.rows.append(imports())
    if arguments.json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in table.rows]))
    else:
        table.print()
    return 0 if all(row.met for row in table.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
