"""Addresses of every chain: published vectors, one canonical form, and nothing that a chain would refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.verifiers import Wallet, detect_wallet, is_wallet
from chainwatch.verifiers.addresses import Finding, find_fault, wallet_for
from chainwatch.verifiers.chains import parse_chain
from chainwatch.verifiers.curves import keccak256
from chainwatch.verifiers.encodings import B58_ALPHABET, BECH32_ALPHABET, cn_base58_bytes, cn_base58_text

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).parents[3] / "shared"))
KEY_IO = SHARED / "chaindata" / "bitcoin" / "vectors"

# BIP-350, "Test vectors": valid segwit addresses and their scriptPubKeys.
SEGWIT_VALID = {
    "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
    "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7": (
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"
    ),
    "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y": (
        "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6"
    ),
    "BC1SW50QGDZ25J": "6002751e",
    "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs": "5210751e76e8199196d454941c45d1b3a323",
    "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy": (
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"
    ),
    "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c": (
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"
    ),
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0": (
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    ),
}
# BIP-350, "Test vectors": invalid segwit addresses.
SEGWIT_INVALID = [
    "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
    "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf",
    "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
    "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
    "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
    "bc1pw5dgrnzv",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
    "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j",
    "bc1gmk9yu",
]
# EIP-55, "Test cases": all upper, all lower, and mixed.
EIP55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
# docs.getmonero.org: the project's donation address, a subaddress, and an integrated address with its standard form.
MONERO_DONATION = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A"
MONERO_SUBADDRESS = "8C5zHM5ud8nGC4hC2ULiBLSWx9infi8JUUmWEat4fcTf8J4H38iWYVdFmPCA9UmfLTZxD43RsyKnGEdZkoGij6csDeUnbEB"
MONERO_STANDARD = "4AdUndXHHZ6cfufTMvppY6JwXNouMBzSkbLYfpAV5Usx3skxNgYeYTRj5UzqtReoS44qo9mtmXCqY45DJ852K5Jv2684Rge"
MONERO_INTEGRATED = (
    "4LL9oSLmtpccfufTMvppY6JwXNouMBzSkbLYfpAV5Usx3skxNgYeYTRj5UzqtReoS44qo9mtmXCqY45DJ852K5Jv2bYXZKKQePHES9khPK"
)

# (address, chain, network, kind); sources: bitcoin wiki, BIP-341, Litecoin and Dogecoin documentation, the Dash
# developer reference, Solana's wrapped-SOL mint and System program, Tron's USDT contract, CIP-19.
KNOWN = [
    ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "BTC", "main", "p2pkh"),
    ("3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "BTC", "main", "p2sh"),
    ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "BTC", "test", "p2pkh"),
    ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "BTC", "regtest", "p2wpkh"),
    ("bc1pfeessrawgf", "BTC", "main", "witness_unknown"),
    ("LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9", "LTC", "main", "p2pkh"),
    ("ltc1qdhd5ee26ylh5lj647c4gc87gs5s9ax6s2rpx3g", "LTC", "main", "p2wpkh"),
    ("DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L", "DOGE", "main", "p2pkh"),
    ("XwnLY9Tf7Zsef8gMGL2fhWA9ZmMjt4KPwg", "DASH", "main", "p2pkh"),
    ("7gnwGHt17heGpG9Crfeh4KGpYNFugPhJdh", "DASH", "main", "p2sh"),
    ("So11111111111111111111111111111111111111112", "SOL", "main", "account"),
    ("11111111111111111111111111111111", "SOL", "main", "account"),
    ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "TRX", "main", "account"),
    (
        "addr1qx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzer3n0d3vllmyqwsx5wktcd8cc3sq835lu7drv2xwl2wywfgse35a3x",
        "ADA",
        "main",
        "base",
    ),
    ("stake1uyehkck0lajq8gr28t9uxnuvgcqrc6070x3k9r8048z8y5gh6ffgw", "ADA", "main", "stake"),
    ("dlux-io", "HIVE", "main", "account"),
    ("alice.smith", "HIVE", "main", "account"),
    ("abc", "HIVE", "main", "account"),
    ("a--b", "HIVE", "main", "account"),
    (MONERO_DONATION, "XMR", "main", "standard"),
    (MONERO_SUBADDRESS, "XMR", "main", "subaddress"),
    (MONERO_INTEGRATED, "XMR", "main", "integrated"),
]
CHECKED = [known[0] for known in KNOWN if known[1] not in ("HIVE", "SOL")] + [*list(SEGWIT_VALID), *EIP55[4:]]


def script(wallet: Wallet) -> str:
    """The scriptPubKey of a Bitcoin address, in hex."""
    if wallet.kind == "p2pkh":
        return f"76a914{wallet.payload.hex()}88ac"
    if wallet.kind == "p2sh":
        return f"a914{wallet.payload.hex()}87"
    opcode = 0x50 + wallet.witness_version if wallet.witness_version else 0
    return f"{opcode:02x}{len(wallet.payload):02x}{wallet.payload.hex()}"


@pytest.mark.parametrize(("address", "chain", "network", "kind"), KNOWN)
def test_a_published_address_is_read_as_its_chain_reads_it(address: str, chain: str, network: str, kind: str) -> None:
    wallet = detect_wallet(address)[0]
    assert (wallet.chain, wallet.network, wallet.kind) == (chain, network, kind)


@pytest.mark.parametrize(("address", "expected"), SEGWIT_VALID.items())
def test_official_segwit_addresses_give_their_script(address: str, expected: str) -> None:
    (wallet,) = detect_wallet(address)
    assert script(wallet) == expected
    assert wallet.canonical == address.lower()


@pytest.mark.parametrize("address", SEGWIT_INVALID)
def test_official_invalid_segwit_addresses_are_no_bitcoin_address(address: str) -> None:
    assert all(wallet.family != "bitcoin" for wallet in detect_wallet(address))


@pytest.mark.parametrize("name", ["key_io_valid.json", "key_io_invalid.json"])
def test_bitcoin_core_key_io_vectors_hold(name: str) -> None:
    path = KEY_IO / name
    if not path.exists():
        pytest.skip(f"{path} is not there (set CHAINWATCH_SHARED)")
    rows = json.loads(path.read_text())
    assert len(rows) >= 50
    for row in rows:
        readings = [wallet for wallet in detect_wallet(row[0]) if wallet.chain == "BTC"]
        if len(row) == 3 and not row[2]["isPrivkey"]:
            assert script(readings[0]) == row[1], row
            assert readings[0].network == {"signet": "test"}.get(row[2]["chain"], row[2]["chain"]) or (
                row[2]["chain"] == "regtest" and readings[0].network == "test"
            )
        else:
            assert not readings, row


@pytest.mark.parametrize("address", EIP55)
def test_an_evm_account_is_accepted_in_either_case_and_with_its_checksum(address: str) -> None:
    canonical = detect_wallet(address)[0].canonical
    for form in (canonical, "0x" + canonical[2:].lower(), "0x" + canonical[2:].upper()):
        (wallet,) = detect_wallet(form)
        assert (wallet.family, wallet.chain, wallet.canonical) == ("evm", None, canonical)
    if address in EIP55[4:]:
        assert canonical == address


def test_a_wrong_mixed_case_is_refused_and_named() -> None:
    mistyped = EIP55[4].replace("aAeb", "aaeb")
    assert not detect_wallet(mistyped)
    assert find_fault(mistyped) is Finding.EIP55_MISMATCH
    assert find_fault(EIP55[4]) is None
    assert find_fault("0x1234") is Finding.NO_CHAIN


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "Alice",
        "alice.",
        ".alice",
        "alice.sm",
        "1alice",
        "alice-",
        "-alice",
        "alice.1bob",
        "a_b",
        "alice smith",
        "a" * 17,
        "alıce",
        "alice\n",
        "alice..bob",
        "bob.x-",
    ],
)
def test_names_that_hive_refuses_are_none(name: str) -> None:
    assert not is_wallet(name)


def test_an_integrated_monero_address_notes_its_standard_form() -> None:
    wallet = detect_wallet(MONERO_INTEGRATED)[0]
    standard = detect_wallet(MONERO_STANDARD)[0]
    assert wallet.base == standard.canonical
    assert wallet.payload == standard.payload


@pytest.mark.parametrize(
    ("prefix", "network", "kind"),
    [(53, "test", "standard"), (63, "test", "subaddress"), (24, "stage", "standard"), (36, "stage", "subaddress")],
)
def test_monero_test_networks_are_told_by_their_prefix(prefix: int, network: str, kind: str) -> None:
    body = bytes([prefix]) + cn_base58_bytes(MONERO_DONATION)[1:65]
    wallet = detect_wallet(cn_base58_text(body + keccak256(body)[:4]))[0]
    assert (wallet.network, wallet.kind) == (network, kind)


def test_litecoin_s_old_script_prefix_is_ambiguous_and_both_readings_are_given() -> None:
    assert [w.chain for w in detect_wallet("3EfN14SyT9157ErRxGqPC2JPgprMnhmntJ")] == ["BTC", "LTC"]


@pytest.mark.parametrize(
    ("text", "chain", "network"),
    [
        (f"eip155:1:{EIP55[4]}", "ETH", "1"),
        (f"eip155:137:{EIP55[4].lower()}", "MATIC", "137"),
        (f"eip155:31337:{EIP55[4]}", "eip155:31337", "31337"),
        ("bip122:000000000019d6689c085ae165831e93:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "BTC", "main"),
        ("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:So11111111111111111111111111111111111111112", "SOL", "main"),
        ("hive:beeab0de000000000000000000000000:dlux-io", "HIVE", "main"),
        (f"monero:main:{MONERO_DONATION}", "XMR", "main"),
    ],
)
def test_caip10_names_chain_and_address(text: str, chain: str, network: str) -> None:
    (wallet,) = detect_wallet(text)
    assert (wallet.chain, wallet.network) == (chain, network)


@pytest.mark.parametrize(
    "text",
    [
        f"eip155:0:{EIP55[4]}",
        f"eip155:01:{EIP55[4]}",
        f"eip155::{EIP55[4]}",
        f"solana:x:{EIP55[4]}",
        f"monero:test:{MONERO_DONATION}",
        f"eip155:1:{EIP55[4]} ",
        "bip122:000000000933ea01ad0ee984209779ba:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        f"eip155:1:eip155:1:{EIP55[4]}:",
    ],
)
def test_a_caip10_text_of_another_chain_or_shape_is_refused(text: str) -> None:
    assert not detect_wallet(text)


def test_chain_names_codes_and_references_agree() -> None:
    assert parse_chain("POL") == parse_chain("MATIC") == parse_chain("eip155:137")
    assert parse_chain("bitcoin") == parse_chain("BTC")
    for name in ("", "bitcoin:", "eip155:x", "FOO", None, 5, "eip155:" + "1" * 40, "bip122:" + "0" * 32):
        assert parse_chain(name) is None
    chain = parse_chain("LTC")
    assert chain is not None
    assert wallet_for("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", chain) is None


@pytest.mark.parametrize("address", CHECKED)
def test_one_changed_character_is_refused_where_there_is_a_checksum(address: str) -> None:
    """A mistyped address must not become somebody else's wallet."""
    segwit = address.lower().startswith(("bc1", "tb1", "bcrt1", "ltc1", "addr1", "stake1"))
    alphabet = BECH32_ALPHABET if segwit else ("0123456789abcdefABCDEF" if address.startswith("0x") else B58_ALPHABET)
    if address.isupper():
        alphabet = alphabet.upper()
    accepted = []
    for index in range(2 if address.startswith("0x") else 0, len(address)):
        for char in alphabet:
            changed = address[:index] + char + address[index + 1 :]
            if changed != address:
                accepted += [wallet for wallet in detect_wallet(changed) if wallet.family != "hive"]
    # EIP-55 has no bits for digits: about one changed digit in 2^15 keeps a checksum; it must stay that rare.
    assert len(accepted) <= (3 if address.startswith("0x") else 0), accepted


@given(
    st.one_of(
        st.text(max_size=300), st.binary(max_size=300), st.none(), st.integers(), st.floats(), st.lists(st.text())
    )
)
@settings(max_examples=400, deadline=None)
def test_any_value_gives_an_answer_and_never_an_exception(value: object) -> None:
    assert is_wallet(value) == bool(detect_wallet(value))
    find_fault(value)


@given(
    st.one_of(
        st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex()),
        st.text(B58_ALPHABET, min_size=25, max_size=44),
        st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=3, max_size=16),
        st.sampled_from([known[0] for known in KNOWN] + list(SEGWIT_VALID)),
    )
)
@settings(max_examples=400, deadline=None)
def test_the_canonical_form_is_a_fixpoint(text: str) -> None:
    for wallet in detect_wallet(text):
        again = [w for w in detect_wallet(wallet.canonical) if w.chain == wallet.chain]
        assert again == [wallet]


def test_hot_paths_load_no_crypto_for_what_is_obviously_no_address() -> None:
    """The memo parser asks this of every word; and importing the package must not cost a daemon its start."""
    code = (
        "import sys; from chainwatch.verifiers import is_wallet\n"
        "assert not any(map(is_wallet, ['hello world', '0x12', 'x' * 95, 'Thanks!', '', '5' * 40, None]))\n"
        "heavy = {'coincurve', 'nacl', 'Cryptodome', 'aiohttp', 'sqlalchemy', 'web3', 'beem', 'solana', 'solders',"
        " 'eth_account', 'msgspec', 'asyncio', 'btclib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
