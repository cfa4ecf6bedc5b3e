"""Our payment URIs and QR codes as other people's libraries read them."""

import base64
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.config import networks
from chainwatch.testing.ports import free_ports
from chainwatch.tickets import qr
from chainwatch.tickets.uri import payment_uri

pytestmark = [pytest.mark.node, pytest.mark.network]

ETH = "0x52908400098527886E0F7030069857D2E4169EE7"
BTC = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
SOL = "So11111111111111111111111111111111111111112"
KEY = "9tT4Wp4kGkJb7mSZ1XrqTjFqQf6S7sQd1TjfNnXhMfQx"
LABEL = "Gala & „Nacht“ 100 % + más"
MEMO = "cw:abcdefghijklmnop"


def uri(code: str, address: str, amount: int, memo: str | None = None, **more: Any) -> str:
    chain = "HIVE" if code == "HBD" else code.partition(":")[0]
    spec = networks.spec(chain)
    asset = next(a for a in spec.assets if a.code == code)
    return payment_uri(spec, asset, address=address, amount=amount, memo=memo, reference=more.pop("ref", None), **more)


def test_bip21(oracle: Callable[[str, str], Any]) -> None:
    ask = oracle("uri", "bip21").ask
    codes = {"BTC": "bitcoin", "LTC": "litecoin", "DOGE": "dogecoin", "DASH": "dash"}
    texts = [uri(code, BTC, 123_456_789, MEMO, label=LABEL) for code in codes]
    for found in ask([{"op": "bip21", "uri": t, "scheme": s} for t, s in zip(texts, codes.values(), strict=True)]):
        assert found == {"address": BTC, "options": {"amount": 1.23456789, "label": LABEL, "message": MEMO}}


def test_eip681(oracle: Callable[[str, str], Any]) -> None:
    ask = oracle("uri", "eth-url-parser").ask
    usdc = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
    coin, token = ask(
        [
            {"op": "eip681", "uri": uri("MATIC", ETH, 5 * 10**15 + 1, MEMO)},
            {"op": "eip681", "uri": uri("ETH:USDC", ETH, 1_500_000, MEMO)},
        ]
    )
    assert (coin["target_address"], coin["chain_id"]) == (ETH, "137")
    assert coin["parameters"] == {"value": "5000000000000001"}
    assert (token["target_address"], token["chain_id"], token["function_name"]) == (usdc, "1", "transfer")
    assert token["parameters"] == {"address": ETH, "uint256": "1500000"}


def test_solana_pay(oracle: Callable[[str, str], Any]) -> None:
    ask = oracle("uri", "@solana/pay").ask
    mint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
    coin, token = ask(
        [
            {"op": "solana", "uri": uri("SOL", SOL, 1, MEMO, ref=KEY, label=LABEL)},
            {"op": "solana", "uri": uri("SOL:USDC", SOL, 1_500_000, MEMO, ref=KEY, label=LABEL)},
        ]
    )
    expected = {"recipient": SOL, "reference": [KEY], "label": LABEL, "memo": MEMO}
    assert coin == {**expected, "amount": "1e-9"} or coin == {**expected, "amount": "0.000000001"}
    assert token == {**expected, "amount": "1.5", "splToken": mint}


def test_hive_uri(oracle: Callable[[str, str], Any]) -> None:
    ask = oracle("uri", "hive-uri").ask
    texts = [uri("HIVE", "dlux-tickets", 5_000, MEMO), uri("HBD", "dlux-tickets", 1, "event:1:wallet:ünï?>")]
    found = ask([{"op": "hive", "uri": t} for t in texts])
    common = {"from": "buyer-1", "to": "dlux-tickets"}
    assert found == [
        [["transfer", {**common, "amount": "5.000 HIVE", "memo": MEMO}]],
        [["transfer", {**common, "amount": "0.001 HBD", "memo": "event:1:wallet:ünï?>"}]],
    ]


def test_a_qr_code_is_read_by_a_decoder_that_is_not_ours(oracle: Callable[[str, str], Any]) -> None:
    ask = oracle("uri", "jsqr").ask
    texts = [
        uri("BTC", BTC, 123_456_789, MEMO, label=LABEL),
        uri("SOL:USDC", SOL, 1_500_000, MEMO, ref=KEY, label=LABEL),
        uri("HIVE", "dlux-tickets", 5_000, MEMO),
        "ticket:6f1b1c7e-3c55-4b52-9d0a-6f1b1c7e3c55:v1:0123456789abcdef",
        "x" * 1024,
    ]
    pictures = [base64.b64encode(qr.png(text, scale=4)).decode() for text in texts]
    assert ask([{"op": "qr", "png": picture} for picture in pictures]) == texts


# -- Monero: the wallet itself reads the URI ---------------------------------------------------------------


@pytest.fixture
def wallet(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    if shutil.which("monero-wallet-rpc") is None:
        pytest.skip("monero-wallet-rpc is not installed (apt-get install monero)")
    (port,) = free_ports()
    process = subprocess.Popen(
        ["monero-wallet-rpc", "--offline", "--wallet-dir", str(tmp_path), "--rpc-bind-ip", "127.0.0.1",
         "--rpc-bind-port", str(port), "--disable-rpc-login", "--log-file", str(tmp_path / "log")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    def call(method: str, **params: Any) -> Any:
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": "0", "method": method, "params": params})
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json_rpc", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return msgspec.json.decode(answer.read())["result"]

    try:
        for _ in range(600):
            try:
                call("get_version")
                break
            except OSError:  # refused, or not answered in time
                time.sleep(0.1)
        call("create_wallet", filename="buyer", password="", language="English")
        yield call
    finally:
        process.terminate()
        process.wait(20)


def test_monero_wallet_rpc(wallet: Callable[..., Any]) -> None:
    address = wallet("get_address")["address"]
    for amount in (1, 239_390_140_000, 9_007_199_254_740_993):
        found = wallet("parse_uri", uri=uri("XMR", address, amount, label=LABEL))["uri"]
        assert (found["address"], found["amount"], found["recipient_name"]) == (address, amount, LABEL)
