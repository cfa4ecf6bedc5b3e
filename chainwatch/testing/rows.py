"""One valid row of each scheme, in the format of ``chainwatch verify --jsonl``, signed here with made-up keys.

Published vectors are facts and stand in ``tests/vectors/official.json``; these are what the proof uses where nobody
published any, so that it needs no other files.
"""

from typing import Any

from chainwatch.testing.wallets import (
    BitcoinWallet,
    CardanoWallet,
    EvmWallet,
    HiveWallet,
    MoneroWallet,
    SolanaWallet,
    TronWallet,
)
from chainwatch.verifiers import solana_envelopes
from chainwatch.verifiers.eip712 import digest
from chainwatch.verifiers.erc6492 import DEPLOYLESS_VALIDATOR
from chainwatch.verifiers.ethereum import ERC6492_SUFFIX, personal_digest

Row = dict[str, Any]
TEXT = "Access event summit-24 at 1732060800000"
SIGN_IN = (
    "tickets.example wants you to sign in with your {}:\n{}\n\nhello\n\nURI: https://tickets.example/\n"
    "Version: 1\nChain ID: {}\nNonce: 0123456789abcdef\nIssued At: 2024-11-20T00:00:00Z\n"
    "Expiration Time: 2024-11-20T00:05:00Z"
)
IN_TIME = "2024-11-20T00:04:59Z"


def signed_rows() -> list[Row]:
    """Valid rows of every scheme that can be valid (``bip322-pof`` never is)."""
    return [*_bitcoin(), *_evm(), *_contracts(), *_solana(), *_hive(), *_others()]


def _row(scheme: str, chain: str, address: str, signature: Any, message: str = TEXT, **extra: Any) -> Row:
    row = {"id": f"{scheme}-{chain}", "scheme": scheme, "chain": chain, "address": address, "message": message}
    return row | {"signature": signature, "valid": True, "extra": extra}


def _bitcoin() -> list[Row]:
    legacy, segwit = BitcoinWallet("rows", "p2pkh"), BitcoinWallet("rows", "p2wpkh")
    nested, taproot = BitcoinWallet("rows", "p2sh-p2wpkh"), BitcoinWallet("rows", "p2tr")
    old = BitcoinWallet("rows", "p2pkh", "DASH"), BitcoinWallet("rows", "p2pkh-uncompressed", "LTC")
    return [
        _row("bip137", "BTC", segwit.address, segwit.sign_message(TEXT)),
        *(_row("bip137", wallet.chain, wallet.address, wallet.sign_message(TEXT)) for wallet in old),
        _row("bip322-legacy", "BTC", legacy.address, legacy.sign_message(TEXT)),
        *(_row("bip322-simple", "BTC", wallet.address, wallet.sign_bip322(TEXT)) for wallet in (segwit, taproot)),
        *(_row("bip322-full", "BTC", wallet.address, wallet.sign_bip322(TEXT)) for wallet in (legacy, nested)),
    ]


def _evm() -> list[Row]:
    wallet = EvmWallet("rows")
    document = {
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
            "Access": [{"name": "event", "type": "string"}, {"name": "seats", "type": "uint8[]"}],
        },
        "primaryType": "Access",
        "domain": {"name": "Tickets", "chainId": 1},
        "message": {"event": "summit-24", "seats": [1, 2]},
    }
    sign_in = SIGN_IN.format("Ethereum account", wallet.address, 1)
    typed = wallet.sign_digest(digest(document)[0])
    return [
        _row("eip191", "eip155:1", wallet.address, wallet.sign_message(TEXT)),
        _row("eip712", "eip155:1", wallet.address, typed, message="", typed_data=document),
        _row("siwe", "eip155:1", wallet.address, wallet.sign_message(sign_in), message=sign_in, now=IN_TIME),
    ]


def _contracts() -> list[Row]:
    """Contract wallets, with what the chain answered: recorded by hand, for exactly this question."""
    owner, contract = EvmWallet("rows"), "0x" + "5a" * 20
    signature = owner.sign_message(TEXT)
    yes = "0x1626ba7e" + "00" * 28
    asked = "0x1626ba7e" + personal_digest(TEXT.encode()).hex() + f"{64:064x}{65:064x}" + signature[2:] + "00" * 31
    ask = {"method": "eth_call", "params": [{"to": contract, "data": asked}, "latest"], "result": yes}
    code = {"method": "eth_getCode", "params": [contract, "latest"], "result": "0x60"}
    delegated = code | {"params": [owner.address, "latest"], "result": "0xef0100" + "11" * 20}
    wrapped = f"{'11' * 20:0>64}{96:064x}{128:064x}{0:064x}{65:064x}{signature[2:]}{'00' * 31}" + ERC6492_SUFFIX.hex()
    size = len(wrapped) // 2
    question = f"{contract[2:]:0>64}{personal_digest(TEXT.encode()).hex()}{96:064x}{size:064x}{wrapped}"
    data = "0x" + DEPLOYLESS_VALIDATOR.hex() + question + "00" * (-size % 32)
    validator = {"method": "eth_call", "params": [{"data": data}, "latest"], "result": "0x01"}
    return [
        _row("erc1271", "eip155:1", contract, signature, rpc=[code, ask]),
        _row("erc6492", "eip155:1", contract, "0x" + wrapped, rpc=[validator]),
        _row("eip7702", "eip155:1", owner.address, signature, rpc=[delegated]),
    ]


def _solana() -> list[Row]:
    wallet, text = SolanaWallet("rows"), TEXT.encode()
    key = bytes(wallet.key.verify_key)
    sign_in = SIGN_IN.format("Solana account", wallet.address, "mainnet")
    envelopes = {
        "solana-offchain-v0": solana_envelopes.envelope_v0(text, key),
        "solana-offchain-v0-sdk": solana_envelopes.envelope_v0_sdk(text),
        "solana-offchain-v1": solana_envelopes.envelope_v1(text, key),
    }
    return [
        _row("solana-raw", "SOL", wallet.address, wallet.sign_message(TEXT)),
        _row("siws", "SOL", wallet.address, wallet.sign_message(sign_in), message=sign_in, now=IN_TIME),
        _row("solana-memo-tx", "SOL", wallet.address, wallet.sign_memo(TEXT)),
        *(_row(name, "SOL", wallet.address, wallet.sign_message(data)) for name, data in envelopes.items()),
    ]


def _hive() -> list[Row]:
    wallet, other = HiveWallet("alice"), HiveWallet("bob")
    signature, accounts = wallet.sign_message(TEXT), [wallet.account]
    posting = {"weight_threshold": 2, "account_auths": [], "key_auths": [[w.public_key, 1] for w in (wallet, other)]}
    shared = [{"name": "alice", "posting": posting}]
    signed, token = wallet.login_token("tickets", 1_732_060_800)
    both = [signature, other.sign_message(TEXT)]
    return [
        _row("hive-buffer", "HIVE", "alice", signature, accounts=accounts),
        _row("hive-buffer", "HIVE", "alice", both, accounts=shared),
        _row("hiveauth-challenge", "HIVE", "alice", signature, accounts=accounts),
        _row(
            "hivesigner-token", "HIVE", "alice", wallet.sign_message(signed), signed, accounts=accounts, app="tickets"
        ),
        _row("hivesigner-token", "HIVE", "alice", token, message="", accounts=accounts, app="tickets"),
    ]


def _others() -> list[Row]:
    monero, tron, cardano = MoneroWallet("rows"), TronWallet("rows"), CardanoWallet("rows")
    signed = cardano.sign_message(TEXT)
    return [
        _row("monero", "XMR", monero.address, monero.sign_message(TEXT)),
        _row("monero", "XMR", monero.address, monero.sign_message(TEXT, version=1), allow_v1=True),
        _row("monero", "XMR", monero.address, monero.sign_message(TEXT, view=True), allow_view_key=True),
        _row("tron-v2", "TRX", tron.address, tron.sign_message(TEXT)),
        _row("cip30", "ADA", cardano.address, signed, key=cardano.cose_key),
        _row("cip8", "ADA", cardano.address, signed, pubkey=cardano.public_key.hex()),
    ]
