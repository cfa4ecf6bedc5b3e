"""Every snippet of ``docs/verifying.md`` for account and ed25519 wallets runs as it stands, and says yes."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from chainwatch import resolver as resolver_module
from chainwatch.access import AccessMessage
from chainwatch.testing.wallets import EvmWallet, HiveWallet, SolanaWallet
from chainwatch.verifiers import solana
from chainwatch.verifiers.eip712 import digest
from chainwatch.verifiers.recorded import RecordedChain

TEXT = (Path(__file__).parents[2] / "docs" / "verifying.md").read_text("utf-8")
MESSAGE = "Access event summit-24 at 1732060800000"
NONCE = "k3J9xQ2mZ7aBcDeFgHiJkL"


def snippets(heading: str) -> list[str]:
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, heading
    return re.findall(r"^```python\n(.*?)^```", section.group(1), re.MULTILINE | re.DOTALL)


def challenge(chain: str, address: str) -> str:
    return AccessMessage.build(
        domain="tickets.example",
        uri="https://tickets.example/access",
        event="summit-24",
        chain=chain,
        address=address,
        nonce=NONCE,
        issued_ms=4_000_000_000_000,
    ).render()


def metamask() -> dict[str, Any]:
    wallet = EvmWallet("docs")
    document = {
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}],
            "Access": [{"name": "event", "type": "string"}],
        },
        "primaryType": "Access",
        "domain": {"name": "Tickets"},
        "message": {"event": "summit-24"},
    }
    sign_in_text = challenge("ETH", wallet.address)
    return {
        "address": wallet.address,
        "message": MESSAGE,
        "signature": wallet.sign_message(MESSAGE),
        "nonce": NONCE,
        "sign_in_text": sign_in_text,
        "sign_in_signature": wallet.sign_message(sign_in_text),
        "document": document,
        "typed_signature": wallet.sign_digest(digest(document)[0]),
    }


def phantom() -> dict[str, Any]:
    wallet = SolanaWallet("docs")
    sign_in_text = challenge("SOL", wallet.address)
    return {
        "address": wallet.address,
        "message": MESSAGE,
        "signature_bytes": wallet.key.sign(MESSAGE.encode()).signature,
        "nonce": NONCE,
        "sign_in_text": sign_in_text,
        "sign_in_signature": wallet.sign_message(sign_in_text),
        "now": 4_000_000_001,
    }


def ledger() -> dict[str, Any]:
    wallet = SolanaWallet("docs")
    envelope = solana.envelope_v0(MESSAGE.encode(), bytes(wallet.key.verify_key))
    signature = wallet.sign_message(envelope)
    return {"address": wallet.address, "message": MESSAGE, "ledger_signature": signature, "signed_message": envelope}


def monero() -> dict[str, Any]:
    """Source: monero-wallet-rpc 0.18 on the wallet of monero-project's functional tests."""
    return {
        "address": "42ey1afDFnn4886T7196doS9GPMzexD9gXpsZJDwVjeRVdFCSoHnv7KPbBeGpzJBzHRCAs9UxqeoyFQMYbqSWYTfJJQAWDm",
        "message": "Access event evt_42 at 1732060800000",
        "signature": "SigV2Qzscdrzsy1zgwQbaaGqxx9FS6DHzM52LKEBbRnBZv1rZKUtbq7bcWx4Vio5MsJWvPiE6g2YHmycE3YTNsGQzqFbp",
    }


@pytest.mark.parametrize(
    ("heading", "names"),
    [("MetaMask", metamask()), ("Phantom", phantom()), ("Ledger", ledger()), ("Monero", monero())],
    ids=["MetaMask", "Phantom", "Ledger", "Monero"],
)
def test_each_snippet_says_yes(heading: str, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = snippets(heading)
    assert found
    for snippet in found:
        space = dict(names)
        exec(compile(snippet, heading, "exec"), space)
        assert space["result"].ok, (snippet, space["result"])
        assert space["result"].warnings == ()


class Anywhere(RecordedChain):
    """What a snippet's node would answer."""

    given: dict[str, Any]

    def __init__(self, **_: Any) -> None:
        super().__init__(**Anywhere.given)

    async def __aenter__(self) -> "Anywhere":
        return self

    async def __aexit__(self, *_: object) -> None: ...


def run(snippet: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **given: Any) -> Any:
    Anywhere.given = given
    monkeypatch.setattr(resolver_module, "NodeResolver", Anywhere)
    space = dict(names)
    exec(compile(snippet, "docs", "exec"), space)
    return asyncio.run(space["check"]())


def test_the_snippet_for_safe_asks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "0x" + "5a" * 20
    yes = "0x1626ba7e" + "00" * 28
    asked = "0x1626ba7e" + "".join(
        (
            "29045e0310872375aa6d3cf8ddfd2466d4279eb97bf2574c66d041b62ac0c108",  # EIP-191 digest of the text
            f"{64:064x}",
            f"{0:064x}",
        )
    )
    rpc = [
        {"method": "eth_getCode", "params": [address, "latest"], "result": "0x60"},
        {"method": "eth_call", "params": [{"to": address, "data": asked}, "latest"], "result": yes},
    ]
    names = {"address": address, "message": "Access event evt_42 at 1732060800000", "signature": "0x", "node_url": "…"}
    (snippet,) = snippets("Safe")
    result = run(snippet, names, monkeypatch, records=rpc, chain_id=1)
    assert (result.ok, result.method) == (True, "erc1271")
    assert run(snippet, names, monkeypatch, records=[], chain_id=1).status == "unavailable"


def test_the_snippets_for_hive_keychain(monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = HiveWallet("alice")
    names = {"message": MESSAGE, "signature": wallet.sign_message(MESSAGE), "accounts": [wallet.account]}
    given, asked = snippets("Hive Keychain")
    space = dict(names)
    exec(compile(given, "docs", "exec"), space)
    assert space["result"].ok
    assert run(asked, names, monkeypatch, accounts=[wallet.account]).ok
