"""Monero signatures against monero-wallet-rpc itself, in both directions.

Needs Debian's package ``monero``.  The wallet process runs offline on loopback, on an empty directory.
"""

import http.client
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import pytest

from chainwatch.testing.ports import free_ports
from chainwatch.verifiers import Policy, verify
from chainwatch.verifiers.curves import keccak256
from chainwatch.verifiers.encodings import cn_base58_bytes, cn_base58_text
from chainwatch.verifiers.monero import ORDER, hash_v2

pytestmark = [pytest.mark.node, pytest.mark.network]

SECONDS_TO_START = 60.0


class WalletRpc:
    """JSON-RPC to one monero-wallet-rpc, over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, **params: Any) -> Any:
        """The result, or None for an error.  Raw UTF-8: wallet-rpc reads ``\\ud83d\\ude80`` as two characters."""
        body = json.dumps({"jsonrpc": "2.0", "id": "0", "method": method, "params": params}, ensure_ascii=False)
        self._connection.request("POST", "/json_rpc", body.encode(), {"Content-Type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        return answer.get("result")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wallet(tmp_path: Path) -> Iterator[WalletRpc]:
    program = shutil.which("monero-wallet-rpc")
    if program is None:
        pytest.skip("monero-wallet-rpc is not installed (apt: monero)")
    (port,) = free_ports()
    command = [program, "--offline", "--disable-rpc-login", "--rpc-bind-ip", "127.0.0.1", "--rpc-bind-port", str(port)]
    command += ["--wallet-dir", str(tmp_path), "--log-file", str(tmp_path / "log"), "--log-level", "0"]
    command += ["--non-interactive", "--max-concurrency", "1"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=tmp_path)
    try:
        rpc = _connected(port, process)
        rpc.ask("create_wallet", filename="w", password="", language="English")
        yield rpc
        rpc.close()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _connected(port: int, process: subprocess.Popen[bytes]) -> WalletRpc:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        rpc = WalletRpc(port)
        try:
            if rpc.ask("get_version"):
                return rpc
        except OSError:
            rpc.close()
            time.sleep(0.1)  # between tries to connect to a process that is starting
    pytest.skip("monero-wallet-rpc does not start here")
    raise AssertionError


def sendable(text: str) -> bool:
    """Texts that epee's JSON carries unchanged: no control characters but line feed and tab."""
    return all(char in "\n\t" or ord(char) >= 32 for char in text)


def sign(spend_secret: int, keys: bytes, message: bytes, chance: random.Random) -> str:
    """SigV2 by the spend key: the prover of Monero's ``generate_signature``, for tests only."""
    k = chance.randrange(1, ORDER)
    point = sodium.crypto_scalarmult_ed25519_base_noclamp(k.to_bytes(32, "little"))
    prefix = hash_v2(keys[:32], keys[32:], 0, message)
    c = int.from_bytes(keccak256(prefix + keys[:32] + point), "little") % ORDER
    r = (k - c * spend_secret) % ORDER
    return "SigV2" + cn_base58_text(c.to_bytes(32, "little") + r.to_bytes(32, "little"))


def test_the_wallet_and_we_agree_on_two_thousand_messages(
    wallet: WalletRpc, messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(18)
    wallet.ask("create_address", account_index=0, count=3)
    addresses = [a["address"] for a in wallet.ask("get_address", account_index=0)["addresses"]]
    secret = int.from_bytes(bytes.fromhex(wallet.ask("query_key", key_type="spend_key")["key"]), "little")
    keys = cn_base58_bytes(addresses[0])[1:65]
    texts = [text for text in messages() if sendable(text)]
    assert len(texts) > 0.7 * len(messages())
    while len(texts) < len(messages()):
        texts.append("".join(chance.choice("abc é漢🎟\n") for _ in range(chance.randrange(200))))
    for text in texts:
        index = chance.randrange(len(addresses))
        theirs = wallet.ask("sign", data=text, account_index=0, address_index=index)["signature"]
        assert verify(address=addresses[index], message=text, signature=theirs), text

        own = sign(secret, keys, text.encode(), chance)
        assert wallet.ask("verify", data=text, address=addresses[0], signature=own)["good"] is True
        assert verify(address=addresses[0], message=text, signature=own)

        changed_text, changed = mutated(chance, text, theirs)
        answer = wallet.ask("verify", data=changed_text, address=addresses[index], signature=changed)
        accepted = bool(answer and answer["good"])
        assert verify(address=addresses[index], message=changed_text, signature=changed).ok is accepted is False


def mutated(chance: random.Random, text: str, signature: str) -> tuple[str, str]:
    """One bit of the proof, one character of the signature, or one character more of text."""
    kind = chance.randrange(3)
    if kind == 0:
        return text + chance.choice("\n x"), signature
    if kind == 1:
        proof = bytearray(cn_base58_bytes(signature[5:]))
        bit = chance.randrange(len(proof) * 8)
        proof[bit // 8] ^= 1 << bit % 8
        return text, signature[:5] + cn_base58_text(bytes(proof))
    at = chance.randrange(len(signature))
    return text, signature[:at] + ("x" if signature[at] != "x" else "y") + signature[at + 1 :]


def test_the_wallet_takes_a_view_key_signature_that_we_take_only_when_asked_to(wallet: WalletRpc) -> None:
    address = wallet.ask("get_address", account_index=0)["address"]
    signed = wallet.ask("sign", data="summit", signature_type="view")["signature"]
    answer = wallet.ask("verify", data="summit", address=address, signature=signed)
    assert (answer["good"], answer["signature_type"]) == (True, "view")
    assert not verify(address=address, message="summit", signature=signed)
    allowed = Policy(unsafe_allow_view_key=True)
    assert verify(address=address, message="summit", signature=signed, policy=allowed)
