"""Cost of a verification, beside the bare library call that it cannot do without, in the same run.

Usage: python bench/verify.py [--seconds 1] [--json]
Targets are ratios, so that they mean the same on every machine.  What it compares with is skipped where not installed
(the packages of other languages: ``CHAINWATCH_TOOLS``, default ``.tools``).
"""

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import coincurve
import nacl.bindings

from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, MoneroWallet, SolanaWallet
from chainwatch.verifiers import verify
from chainwatch.verifiers.addresses import RECENT
from chainwatch.verifiers.bitcoin import message_digest
from chainwatch.verifiers.curves import hash160, keccak256, kept_recursion_limit
from chainwatch.verifiers.encodings import segwit_text

ROOT = Path(__file__).parents[1]
TEXT = "Access event summit-24 at 1732060800000"


ROUND = 0.002
"""Seconds: shorter than the time between two switches of a busy machine, so that some rounds have it to themselves."""
LEAST_ROUNDS = 50
"""Of each side, however slow: among so many some meet an idle machine."""


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
        rounds.append(max(1, int(ROUND / max(once, 1e-7))))
    best = [float("inf")] * len(functions)
    until = time.perf_counter() + seconds * len(functions)
    least = LEAST_ROUNDS
    gc.collect()
    gc.disable()  # as timeit does: how often it runs depends on what else has been imported
    while least > 0 or time.perf_counter() < until:
        least -= 1
        for index, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(rounds[index]):
                function()
            best[index] = min(best[index], (time.perf_counter() - start) / rounds[index])
    gc.enable()
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

Call = Callable[[], Any]
WALLETS = 64
"""Wallets asked about in turn, as people at a door are; a table of one address would flatter every cache."""


def in_turn(calls: list[Call]) -> Call:
    """One call that makes the next of ``calls`` each time."""
    turn = cycle(calls)

    def call() -> Any:
        return next(turn)()

    return call


def ours(wallets: Iterable[Any], sign: Callable[[Any], Any], **more: Any) -> Call:
    """Our verification of a text by each of the wallets; ``more``: arguments made of the wallet."""
    return in_turn(
        [
            partial(
                verify,
                address=wallet.address,
                message=TEXT,
                signature=sign(wallet),
                **{name: made(wallet) for name, made in more.items()},
            )
            for wallet in wallets
        ]
    )


def signed(wallet: Any) -> Any:
    return wallet.sign_message(TEXT)


def bitcoin_wallets(kind: Any) -> list[BitcoinWallet]:
    return [BitcoinWallet(f"bench {n}", kind) for n in range(WALLETS)]


EVM = [EvmWallet(f"bench {n}") for n in range(WALLETS)]
SOLANA = [SolanaWallet(f"bench {n}") for n in range(WALLETS)]
HIVE = [HiveWallet(f"bench-{n}") for n in range(WALLETS)]


def bip137(kind: Any) -> Call:
    return ours(bitcoin_wallets(kind), signed)


def hive() -> Call:
    return ours(HIVE, signed, authorities=lambda wallet: [wallet.account])


def bare_recover() -> Call:
    """libsecp256k1's recovery of the same signatures, and nothing else."""
    recover, digest = coincurve.PublicKey.from_signature_and_message, message_digest("BTC", TEXT.encode())
    calls: list[Call] = []
    for wallet in bitcoin_wallets("p2pkh"):
        raw = b64decode(wallet.sign_message(TEXT))
        calls.append(partial(recover, raw[1:] + bytes([(raw[0] - 27) & 3]), digest, hasher=None))
    return in_turn(calls)


def bare_ecdsa() -> Call:
    digest = message_digest("BTC", TEXT.encode())
    calls: list[Call] = []
    for wallet in bitcoin_wallets("p2wpkh"):
        der = wallet.key.sign(digest, hasher=None)
        calls.append(partial(coincurve.PublicKey(wallet.public_key).verify, der, digest, hasher=None))
    return in_turn(calls)


def bare_ed25519() -> Call:
    verified = nacl.bindings.crypto_sign_open
    return in_turn([partial(verified, w.key.sign(TEXT.encode()), bytes(w.key.verify_key)) for w in SOLANA])


def schemes(table: Table) -> None:
    """Each scheme beside the bare call of its curve library."""
    recover = bare_recover()
    for kind in ("p2pkh", "p2wpkh"):
        table.slower(f"BIP-137 {kind.upper()}", bip137(kind), "coincurve recover", recover, 1.6)
    simple = ours(bitcoin_wallets("p2wpkh"), lambda wallet: wallet.sign_bip322(TEXT))
    table.slower("BIP-322 simple P2WPKH", simple, "coincurve ECDSA verify", bare_ecdsa(), 2.5)
    table.slower("Hive signBuffer", hive(), "coincurve recover", recover, 1.6)
    table.slower("EIP-191 (EIP-55 checked)", ours(EVM, signed), "coincurve recover", recover, 2.0)
    table.slower("Solana signMessage", ours(SOLANA, signed), "PyNaCl verify", bare_ed25519(), 1.3)
    (mine,) = best_of(table.seconds, ours([MoneroWallet(f"bench {n}") for n in range(WALLETS)], signed))
    table.rows.append(Row("Monero SigV2", mine, "2 ms", 2000, mine / 2000, 1.0, at_most=True))


def first_seen(table: Table) -> None:
    """What an address costs when it is new: no reading of it is remembered.  Shown, without a target."""
    more = 2 * RECENT  # asked in turn, none is still remembered when its turn comes again
    text, key = TEXT.encode(), BitcoinWallet("bench", "p2wpkh")
    raw = key.sign_message(text)
    addresses = [segwit_text("bc", 0, hash160(n.to_bytes(4, "big"))) for n in range(more)]
    new = in_turn([partial(verify, address=address, message=TEXT, signature=raw) for address in addresses])
    mine, its = best_of(table.seconds, new, bare_recover())
    table.rows.append(
        Row("BIP-137 P2WPKH, new address", mine, "coincurve recover", its, mine / its, None, at_most=True)
    )


def python_libraries(table: Table) -> None:
    """Other Python libraries, doing the same question."""
    os.environ["ECC_BACKEND_CLASS"] = "eth_keys.backends.CoinCurveECCBackend"
    with kept_recursion_limit():
        from eth_account import Account
        from eth_account.messages import encode_defunct

    def recovered(signature: str) -> Any:
        return Account.recover_message(encode_defunct(text=TEXT), signature=signature)

    calls: list[Call] = [partial(recovered, signed(wallet)) for wallet in EVM]
    table.faster("EIP-191", ours(EVM, signed), "eth_account recover_message", in_turn(calls), 2.3)

    from bitcoin.signmessage import BitcoinMessage, VerifyMessage

    wallets = bitcoin_wallets("p2pkh")
    calls = [partial(VerifyMessage, w.address, BitcoinMessage(TEXT), w.sign_message(TEXT)) for w in wallets]
    table.faster("BIP-137 P2PKH", bip137("p2pkh"), "python-bitcoinlib VerifyMessage", in_turn(calls), 10)

    from beemgraphenebase.ecdsasig import verify_message

    calls = [partial(verify_message, TEXT, bytes.fromhex(signed(wallet))) for wallet in HIVE]
    table.faster("Hive signBuffer", hive(), "beem verify_message", in_turn(calls), 150)


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
        "evm": signed(EVM[0]),
        "address": wallet.address,
        "bip322": wallet.sign_bip322(TEXT, prefix=False),
        "hive": signed(HIVE[0]),
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
    """The cost of ``import chainwatch.verifiers``, best of ten fresh processes, the interpreter's start taken off.

    Computing time of the process: what it waits for on a busy machine is not its own.
    """

    def started(code: str) -> float:
        best = float("inf")
        for _ in range(10):
            child = subprocess.Popen([sys.executable, "-c", code])
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0
            best = min(best, used.ru_utime + used.ru_stime)
        return best * 1e6

    cost = started("import chainwatch.verifiers") - started("pass")
    return Row("import chainwatch.verifiers", cost, "80 ms", 80_000, cost / 80_000, 1.0, at_most=True)


def main() -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    assert keccak256(b"")  # loaded before anything is timed
    table = Table(arguments.seconds)
    for part in (schemes, first_seen, python_libraries, other_languages):
        part(table)
    table.rows.append(imports())
    if arguments.json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in table.rows]))
    else:
        table.print()
    return 0 if all(row.met for row in table.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
