"""Every snippet of ``docs/verifying.md`` runs as it stands, and says yes."""

import asyncio
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from chainwatch import resolver as resolver_module
from chainwatch.access import AccessMessage
from chainwatch.testing.wallets import (
    BitcoinWallet,
    CardanoWallet,
    EvmWallet,
    HiveWallet,
    SolanaWallet,
    TronWallet,
)
from chainwatch.verifiers import SCHEMES, Reason, Status, solana_envelopes
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
    envelope = solana_envelopes.envelope_v0(MESSAGE.encode(), bytes(wallet.key.verify_key))
    signature = wallet.sign_message(envelope)
    return {
        "address": wallet.address,
        "message": MESSAGE,
        "ledger_signature": signature,
        "signed_message": envelope,
        "memo_transaction": wallet.sign_memo(MESSAGE),
    }


def monero() -> dict[str, Any]:
    """Source: monero-wallet-rpc 0.18 on the wallet of monero-project's functional tests."""
    return {
        "address": "42ey1afDFnn4886T7196doS9GPMzexD9gXpsZJDwVjeRVdFCSoHnv7KPbBeGpzJBzHRCAs9UxqeoyFQMYbqSWYTfJJQAWDm",
        "message": "Access event evt_42 at 1732060800000",
        "signature": "SigV2Qzscdrzsy1zgwQbaaGqxx9FS6DHzM52LKEBbRnBZv1rZKUtbq7bcWx4Vio5MsJWvPiE6g2YHmycE3YTNsGQzqFbp",
    }


def electrum() -> dict[str, Any]:
    """Source: bitcoinjs-message, test/fixtures.json."""
    return {
        "dogecoin_signature": "H6k+dZwJ8oOei3PCSpdj603fDvhlhQ+sqaFNIDvo/bI+Xh6zyIKGzZpyud6YhZ1a5mcrwMVtTWL+VXq/hC5Zj7s="
    }


def unisat() -> dict[str, Any]:
    wallet = BitcoinWallet("docs", "p2tr")
    return {"message": MESSAGE, "taproot_address": wallet.address, "ecdsa_signature": wallet.sign_message(MESSAGE)}


def trezor() -> dict[str, Any]:
    wallet, composed = BitcoinWallet("docs"), "Zoë"
    decomposed = unicodedata.normalize("NFD", composed)
    return {"address": wallet.address, "message": decomposed, "signature": wallet.sign_message(composed)}


def further() -> dict[str, Any]:
    tron, cardano = TronWallet("docs"), CardanoWallet("docs")
    return {
        "message": MESSAGE,
        "tron_address": tron.address,
        "tron_signature": tron.sign_message(MESSAGE),
        "cardano_address": cardano.address,
        "signed": {"signature": cardano.sign_message(MESSAGE), "key": cardano.cose_key},
    }


SECTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "MetaMask": (metamask(), set()),
    "Phantom": (phantom(), set()),
    "Ledger": (ledger(), set()),
    "Monero GUI and Feather": (monero(), set()),
    "Electrum": (electrum(), set()),
    "Sparrow": ({}, set()),
    "UniSat and Xverse": (unisat(), {"lenient_p2sh"}),
    "Trezor": (trezor(), {"nfc"}),
    "TronLink, Eternl and Lace": (further(), set()),
}
"""Heading: what its snippets take as given, and the warnings that all of them together give."""
ASKING = {"Safe": 1, "Hive Keychain": 3}
"""Heading: number of snippets, in sections where some ask a chain; each has a test of its own below."""
WITHOUT_PYTHON = {"What it is held against", "From the shell", "What the answers mean"}


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_snippet_says_yes(heading: str) -> None:
    names, warned = SECTIONS[heading]
    found = snippets(heading)
    assert found
    seen: set[str] = set()
    for snippet in found:
        space = dict(names)
        exec(compile(snippet, heading, "exec"), space)
        assert space["result"].ok, (snippet, space["result"])
        seen |= set(space["result"].warnings) - {"high_s"}
    assert seen == warned


def test_no_snippet_is_left_out() -> None:
    headings = set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))
    assert headings == {*SECTIONS, *ASKING, *WITHOUT_PYTHON}
    run = sum(len(snippets(heading)) for heading in SECTIONS) + sum(ASKING.values())
    assert run == TEXT.count("```python")
    assert {heading: len(snippets(heading)) for heading in ASKING} == ASKING


def test_the_wallets_that_people_have_are_named() -> None:
    for wallet in (
        *("MetaMask", "Safe", "Phantom", "Ledger", "Electrum", "Sparrow", "UniSat", "Xverse", "Trezor"),
        *("Hive Keychain", "Monero GUI", "Feather", "Rabby", "Solflare", "HiveAuth", "HiveSigner", "TronLink"),
    ):
        assert wallet in TEXT


def test_every_status_and_every_reason_is_explained() -> None:
    _, _, table = TEXT.partition("## What the answers mean")
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.+) \|$", table, re.MULTILINE)
    explained = {status: set(re.findall(r"`(\w+)`", reasons)) for status, reasons in rows}
    assert explained == {status: {reason for reason in Reason if reason.status is status} for status in Status}


def test_the_line_for_the_shell_is_answered() -> None:
    (line,) = re.findall(r"^```sh\necho '(.*?)'", TEXT, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-m", "chainwatch", "verify", "--jsonl", "-"]
    done = subprocess.run(
        command, input=line.replace("\n", ""), capture_output=True, text=True, check=True, timeout=240
    )
    assert json.loads(done.stdout) == {"id": 1, "valid": True, "status": "valid", "scheme": "bip137", "reason": "ok"}


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
    given, asked, login = snippets("Hive Keychain")
    space = dict(names)
    exec(compile(given, "docs", "exec"), space)
    assert space["result"].ok
    assert run(asked, names, monkeypatch, accounts=[wallet.account]).ok
    space = names | {"token": wallet.login_token("tickets", 1_732_060_800)[1], "now": 1_732_060_900}
    exec(compile(login, "docs", "exec"), space)
    assert (space["result"].ok, space["result"].scheme, space["result"].warnings) == (True, "hivesigner-token", ())


def test_every_scheme_names_what_it_is_held_against() -> None:
    """The table is whole, and what it names is what the test set-up installs and a test asks."""
    section = TEXT.partition("## What it is held against")[2]
    table = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", section, re.MULTILINE))
    assert set(table) == set(SCHEMES)
    root = Path(__file__).parents[2]
    asked = "".join(path.read_text("utf-8") for path in (root / "tests" / "nodes").glob("test_differential_*.py"))
    npm = json.loads((root / "tests" / "setup" / "package.json").read_text("utf-8"))["dependencies"]
    elsewhere = {"python-bitcoinlib", "btclib-wallet", "monero-wallet-rpc", "openssl"}
    for scheme, partners in table.items():
        named = [name for name in (*npm, *elsewhere) if re.search(rf"(?<![\w-]){name}(?![\w-])", partners.lower())]
        assert bool(named) is (scheme != "bip322-pof"), scheme
        assert all(name in asked.lower() for name in named), named
