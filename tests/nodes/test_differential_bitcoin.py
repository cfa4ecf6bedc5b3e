"""Bitcoin messages against bitcoinjs-message, bcoin, bip322-js, python-bitcoinlib and btclib-wallet.

What one signs the other accepts; what is damaged both refuse.
"""

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.testing.wallets import BitcoinWallet, Kind
from chainwatch.verifiers import verify
from chainwatch.verifiers.encodings import base58check_text

pytestmark = [pytest.mark.node, pytest.mark.timeout(400)]

Ask = Callable[[str, str], Any]
Messages = Callable[..., list[str]]
Case = tuple[BitcoinWallet, str, str]
KINDS: tuple[Kind, ...] = ("p2pkh", "p2pkh-uncompressed", "p2sh-p2wpkh", "p2wpkh")


def signed(
    messages: list[str], wallets: list[BitcoinWallet], sign: Callable[[BitcoinWallet, str], str], seed: int
) -> tuple[list[Case], list[Case]]:
    """Cases of random wallets, and each of them damaged: a bit of the signature, the text, or another wallet."""
    chance = random.Random(seed)
    whole, damaged = [], []
    for text in messages:
        wallet = chance.choice(wallets)
        signature = sign(wallet, text)
        whole.append((wallet, text, signature))
        kind = chance.randrange(4)
        if kind == 0:
            damaged.append((wallet, text + chance.choice("\n \u200bx"), signature))
        elif kind == 1:
            other = chance.choice([item for item in wallets if item is not wallet and item.kind == wallet.kind])
            damaged.append((other, text, signature))
        else:
            damaged.append((wallet, text, flipped(chance, signature)))
    return whole, damaged


def flipped(chance: random.Random, signature: str) -> str:
    """One bit after the first bytes flipped: the header's and the witness counts' readings differ by policy."""
    prefix = signature[:3] if signature[:3] in ("smp", "ful") else ""
    data = bytearray(base64.b64decode(signature[len(prefix) :]))
    bit = chance.randrange(8 * 8, 8 * 60)
    data[bit // 8] ^= 1 << bit % 8
    return prefix + base64.b64encode(data).decode()


def ours(case: Case, **options: Any) -> bool:
    wallet, text, signature = case
    return verify(address=wallet.address, message=text, signature=signature, chain=wallet.chain, **options).ok


def wallets(*kinds: Kind, chain: str = "BTC") -> list[BitcoinWallet]:
    return [BitcoinWallet(f"{chain} {kind} {number}", kind, chain) for kind in kinds for number in range(3)]


def bitcoin_address(wallet: BitcoinWallet) -> str:
    """The address of the same hash on Bitcoin, for packages that know no other base58 versions."""
    return wallet.address if wallet.chain == "BTC" else base58check_text(b"\0" + wallet.wallet.payload)


def legacy_question(case: Case) -> dict[str, Any]:
    wallet, text, signature = case
    return {
        "op": "legacy",
        "chain": wallet.chain,
        "hash160": bitcoin_address(wallet),
        "text": text,
        "signature": signature,
    }


def test_bitcoinjs_message_agrees_on_every_type_and_chain(oracle: Ask, messages: Messages) -> None:
    makers = [*wallets(*KINDS), *(w for chain in ("LTC", "DOGE", "DASH") for w in wallets("p2pkh", chain=chain))]
    whole, damaged = signed(messages(), makers, lambda wallet, text: wallet.sign_message(text), 137)
    theirs = oracle("bitcoin", "bitcoinjs-message").ask([legacy_question(case) for case in whole + damaged])
    assert theirs == [True] * len(whole) + [False] * len(damaged)
    assert [case for case in whole if not ours(case, scheme="bip137")] == []
    assert [case for case in damaged if ours(case, scheme="bip137")] == []


def test_bitcoinjs_message_agrees_on_bip_322_s_legacy_form(oracle: Ask, messages: Messages) -> None:
    makers = wallets("p2pkh", "p2pkh-uncompressed")
    whole, damaged = signed(messages(), makers, lambda wallet, text: wallet.sign_message(text), 139)
    theirs = oracle("bitcoin", "bitcoinjs-message").ask([legacy_question(case) for case in whole + damaged])
    assert theirs == [True] * len(whole) + [False] * len(damaged)
    assert [case for case in whole if not ours(case, scheme="bip322-legacy")] == []
    assert [case for case in damaged if ours(case, scheme="bip322-legacy")] == []


def test_bcoin_agrees_on_every_type(oracle: Ask, messages: Messages) -> None:
    """By Bitcoin Core's rule, made of bcoin's curve (in JavaScript), hashes and addresses.

    Its RPC call ``verifymessage`` is of another form and no partner: see the next test.
    """
    makers = wallets(*KINDS)
    whole, damaged = signed(messages(), makers, lambda wallet, text: wallet.sign_message(text), 138)
    questions = [{"op": "verify", "address": w.address, "text": t, "signature": s} for w, t, s in whole + damaged]
    theirs = oracle("bcoin", "bcoin").ask(questions)
    assert theirs == [True] * len(whole) + [False] * len(damaged)
    for scheme in ("bip137", "bip322-legacy"):
        served = [case[0].kind.startswith("p2pkh") or scheme == "bip137" for case in whole]
        assert [ours(case, scheme=scheme) for case in whole] == served
        assert not any(ours(case, scheme=scheme) for case in damaged)


def test_bcoin_s_own_verifymessage_is_of_another_form(oracle: Ask) -> None:
    """bcoin 1.0.2 hashes magic and text without their lengths, and takes DER with recovery id 0 instead of 65 bytes.

    So its signatures are none that Bitcoin Core, or anybody else, makes or accepts: it knows only itself, and of what
    itself signs only the half whose recovery id is 0.  (Its wallet's ``signmessage`` is the same code.)
    """
    bcoin = oracle("bcoin", "bcoin")
    wallet = BitcoinWallet("bcoin", "p2pkh")
    wif = base58check_text(b"\x80" + wallet.key.secret + b"\x01")
    texts = [f"summit {number}" for number in range(40)]
    own = bcoin.ask([{"op": "rpcSign", "wif": wif, "text": text} for text in texts])
    assert {base64.b64decode(signature)[0] for signature in own} == {0x30}  # DER's sequence
    rows = [
        {"op": "rpc", "address": wallet.address, "text": t, "signature": s} for t, s in zip(texts, own, strict=True)
    ]
    assert 0 < sum(bcoin.ask(rows)) < len(texts)
    common = [wallet.sign_message(text) for text in texts]
    rows = [row | {"signature": signature} for row, signature in zip(rows, common, strict=True)]
    assert not any(bcoin.ask(rows))
    assert all(ours((wallet, text, signature)) for text, signature in zip(texts, common, strict=True))
    assert not any(ours((wallet, text, signature)) for text, signature in zip(texts, own, strict=True))


def test_what_bitcoinjs_message_signs_we_accept(oracle: Ask, messages: Messages) -> None:
    options = {"p2wpkh": {"segwitType": "p2wpkh"}, "p2sh-p2wpkh": {"segwitType": "p2sh(p2wpkh)"}}
    cases = [
        (wallet, text)
        for wallet, text in zip(wallets("p2pkh", "p2wpkh", "p2sh-p2wpkh") * 40, messages(360), strict=True)
    ]
    questions = [
        {"op": "sign", "key": wallet.key.to_hex(), "text": text, "chain": "BTC", "options": options.get(wallet.kind)}
        for wallet, text in cases
    ]
    for (wallet, text), signature in zip(cases, oracle("bitcoin", "bitcoinjs-message").ask(questions), strict=True):
        assert ours((wallet, text, signature), scheme="bip137"), (wallet.kind, text)


def witness_only(wallet: BitcoinWallet, text: str) -> str:
    """BIP-322 simple without prefix, which is what bip322-js reads; for P2SH-P2WPKH the witness alone."""
    if wallet.kind != "p2sh-p2wpkh":
        return wallet.sign_bip322(text, prefix=False)
    witness = wallet.to_sign(text).inputs[0].witness
    return base64.b64encode(b"\x02" + b"".join(bytes([len(item)]) + item for item in witness)).decode()


def test_bip322_js_agrees_on_simple_signatures(oracle: Ask, messages: Messages) -> None:
    makers = wallets("p2wpkh", "p2tr", "p2sh-p2wpkh")
    whole, damaged = signed(messages(), makers, witness_only, 322)
    questions = [
        {"op": "bip322", "address": wallet.address, "text": text, "signature": signature}
        for wallet, text, signature in whole + damaged
    ]
    theirs = oracle("bitcoin", "bip322-js").ask(questions)
    assert [case for case in whole if not ours(case)] == []
    assert [case for case in damaged if ours(case)] == []
    assert [case for case, said in zip(whole, theirs, strict=False) if said is not True] == []
    # It ignores the sighash byte of segwit v0: there, and only there, it accepts more.
    more = [case for case, said in zip(damaged, theirs[len(whole) :], strict=True) if said]
    assert all(wallet.kind != "p2tr" for wallet, _, _ in more)
    assert len(more) < len(damaged) // 100


def test_what_bip322_js_signs_we_accept(oracle: Ask, messages: Messages) -> None:
    makers = wallets("p2wpkh", "p2tr", "p2sh-p2wpkh")
    cases = list(zip(makers * 40, messages(360), strict=True))
    questions = [
        {
            "op": "sign322",
            "wif": base58check_text(b"\x80" + wallet.key.secret + b"\x01"),
            "address": wallet.address,
            "text": text,
        }
        for wallet, text in cases
    ]
    for (wallet, text), signature in zip(cases, oracle("bitcoin", "bip322-js").ask(questions), strict=True):
        assert ours((wallet, text, signature)), (wallet.kind, text)


@pytest.mark.parametrize(
    ("scheme", "kinds"), [("bip322-simple", ("p2wpkh", "p2tr")), ("bip322-full", ("p2pkh", "p2sh-p2wpkh"))]
)
def test_btclib_s_script_interpreter_agrees(messages: Messages, scheme: str, kinds: tuple[Kind, ...]) -> None:
    bip322 = pytest.importorskip("btclib_wallet.bip322", reason="btclib-wallet is not installed")
    whole, damaged = signed(messages(), wallets(*kinds), lambda wallet, text: wallet.sign_bip322(text), 2)
    for case in whole:
        wallet, text, signature = case
        assert ours(case, scheme=scheme)
        assert bip322.verify(text.encode(), wallet.address, signature, legacy=False)
    for case in damaged:
        wallet, text, signature = case
        assert not ours(case)
        assert not _accepts(bip322, text, wallet.address, signature)


def _accepts(bip322: Any, text: str, address: str, signature: str) -> bool:
    try:
        return bool(bip322.verify(text.encode(), address, signature, legacy=False))
    except Exception:  # it raises for what does not parse
        return False


def test_python_bitcoinlib_agrees_on_p2pkh(messages: Messages) -> None:
    signmessage = pytest.importorskip("bitcoin.signmessage", reason="python-bitcoinlib is not installed")
    makers = wallets("p2pkh", "p2pkh-uncompressed")
    whole, damaged = signed(messages(), makers, lambda wallet, text: wallet.sign_message(text), 3)
    for case in whole:
        wallet, text, signature = case
        assert ours(case)
        assert signmessage.VerifyMessage(wallet.address, signmessage.BitcoinMessage(text), signature)
    for case in damaged:
        wallet, text, signature = case
        assert not ours(case)
        assert not _verifies(signmessage, wallet.address, text, signature)


def _verifies(signmessage: Any, address: str, text: str, signature: str) -> bool:
    try:
        return bool(signmessage.VerifyMessage(address, signmessage.BitcoinMessage(text), signature))
    except Exception:  # it raises for keys that cannot be recovered
        return False
