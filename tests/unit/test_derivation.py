"""Addresses from public account keys, against the vectors of the BIPs and against embit."""

import pytest
from embit import bip32, script
from embit.descriptor import Descriptor
from embit.networks import NETWORKS

from chainwatch.adapters.derivation import deriver, descriptor_checksum, parse
from chainwatch.adapters.scripts import Prefixes
from chainwatch.config.networks import spec
from chainwatch.errors import Misconfigured

BTC = Prefixes(0, (5,), "bc")
TEST = Prefixes(111, (196,), "tb")
# The seed of BIP-49, BIP-84 and BIP-86 ("abandon … about"), as their texts give it.
SEED = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)
ZPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
XPUB_86 = (
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
)


def root() -> bip32.HDKey:
    return bip32.HDKey.from_seed(SEED)


def public(path: str, version: str = "xpub") -> str:
    return str(root().derive(path).to_public().to_base58(NETWORKS["main"][version]))


def test_bip_84_vector() -> None:
    key = parse(ZPUB)
    assert [key.address(i, BTC) for i in (0, 1)] == [
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
        "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
    ]


def test_bip_86_vector() -> None:
    key = parse(f"tr([73c5da0a/86'/0'/0']{XPUB_86}/0/*)")
    assert [key.address(i, BTC) for i in (0, 1)] == [
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
    ]
    change = parse(f"tr({XPUB_86}/1/*)")
    assert change.address(0, BTC) == "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"


def test_bip_49_vector_on_testnet() -> None:
    upub = root().derive("m/49h/1h/0h").to_public().to_base58(NETWORKS["test"]["ypub"])
    key = parse(upub)
    assert key.test
    assert key.address(0, TEST) == "2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2"


def test_bip_32_public_derivation_vector_2() -> None:
    """Chain m/0 of BIP-32's test vector 2, from the public key of m."""
    key = parse(
        "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB"
    )
    child = key.child(0)
    assert child.public_key.hex() == "02fc9e5af0ac8d9b3cecfe2a888e2117ba3d089d8585886c9c826b6b22a98d12ea"
    assert child.chain_code.hex() == "f0909affaa7ee7abe5dd4e100598d4dc53cd709d5a5c2cac40e7412f232f7c9c"


@pytest.mark.parametrize("index", [0, 1, 19, 20, 1000, 2**31 - 1])
@pytest.mark.parametrize(
    ("path", "version", "make"),
    [
        ("m/44h/0h/0h", "xpub", script.p2pkh),
        ("m/49h/0h/0h", "ypub", lambda k: script.p2sh(script.p2wpkh(k))),
        ("m/84h/0h/0h", "zpub", script.p2wpkh),
    ],
)
def test_every_kind_agrees_with_embit(index: int, path: str, version: str, make: object) -> None:
    expected = make(root().derive(f"{path}/0/{index}").to_public())  # type: ignore[operator]
    key = parse(public(path, version))
    assert key.script(index) == expected.data
    assert key.address(index, BTC) == expected.address()


@pytest.mark.parametrize("shape", ["pkh({})", "wpkh({})", "sh(wpkh({}))", "tr({})"])
def test_descriptors_agree_with_embit(shape: str) -> None:
    text = shape.format(f"[73c5da0a/84h/0h/0h]{public('m/84h/0h/0h')}/0/*")
    theirs = Descriptor.from_string(text)
    ours = parse(f"{text}#{descriptor_checksum(text)}")
    assert [ours.address(i, BTC) for i in range(5)] == [theirs.derive(i).address() for i in range(5)]


def test_a_multipath_descriptor_takes_the_receiving_branch() -> None:
    """BIP-389: what wallets export today."""
    xpub = public("m/84h/0h/0h")
    assert parse(f"wpkh({xpub}/<0;1>/*)").address(3, BTC) == parse(f"wpkh({xpub}/0/*)").address(3, BTC)


def test_a_descriptors_checksum_is_that_of_bip_380() -> None:
    assert descriptor_checksum("raw(deadbeef)") == "89f8spxm"
    with pytest.raises(Misconfigured, match="checksum"):
        parse(f"wpkh({public('m/84h/0h/0h')}/0/*)#qqqqqqqq")


def test_an_evm_account_key_derives_the_addresses_of_bip_44() -> None:
    """m/44'/60'/0'/0/i of this seed, as every EVM wallet shows them."""
    key = parse(public("m/44h/60h/0h"))
    assert [key.evm_address(i) for i in range(3)] == [
        "0x9858EfFD232B4033E47d90003D41EC34EcaEda94",
        "0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0",
        "0xb6716976A3ebe8D39aCEB04372f22Ff8e6802D7A",
    ]


PRIVATE = {
    "xprv": root().derive("m/84h/0h/0h").to_base58(),
    "zprv": root().derive("m/84h/0h/0h").to_base58(NETWORKS["main"]["zprv"]),
    "tprv": root().derive("m/84h/1h/0h").to_base58(NETWORKS["test"]["xprv"]),
    "descriptor": f"wpkh({root().derive('m/84h/0h/0h').to_base58()}/0/*)",
    "damaged xprv": root().derive("m/84h/0h/0h").to_base58()[:-1] + "1",
    "another coin's": root().to_base58(b"\x0f\x00\x00\x01"),
    "WIF": "KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn",  # of the number one
    "old WIF": "5HpHagT65TZzG1PH3CSu63k8DbpvD8s5ip4nEB3kEsreAnchuDf",
    "hex": "0x" + "00" * 31 + "01",
    "seed": "abandon " * 11 + "about",
}


@pytest.mark.parametrize("kind", PRIVATE)
def test_a_private_key_is_refused_and_not_repeated(kind: str) -> None:
    secret = PRIVATE[kind]
    with pytest.raises(Misconfigured, match="private key or seed") as caught:
        parse(secret)
    assert secret[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "xpub", ZPUB[:-1] + "t", ZPUB[:-1], "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "é", 7, None, "a" * 600],
)
def test_what_is_no_key_is_misconfigured(text: object) -> None:
    with pytest.raises(Misconfigured):
        parse(text)


@pytest.mark.parametrize(
    "shape",
    [
        "wpkh({})",
        "wpkh({}/0)",
        "wpkh({}/0h/*)",
        "wsh(pk({}/0/*))",
        "wpkh({}/0/*))",
        "sh(wpkh({}/0/*)",
        "wpkh({}/4294967296/*)",
    ],
)
def test_descriptors_that_are_not_understood_are_refused(shape: str) -> None:
    with pytest.raises(Misconfigured):
        parse(shape.format(public("m/84h/0h/0h")))


def test_hardened_children_do_not_follow_from_a_public_key() -> None:
    with pytest.raises(Misconfigured, match="unhardened"):
        parse(ZPUB).address(2**31, BTC)


# -- for a configured chain --------------------------------------------------------------------------


def test_a_chains_own_addresses_follow_from_its_configured_key() -> None:
    bitcoin = deriver(spec("BTC", options={"xpub": ZPUB}))
    assert bitcoin is not None
    assert bitcoin(0) == "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"
    litecoin = deriver(spec("LTC", options={"xpub": ZPUB}))
    assert litecoin is not None
    assert litecoin(0).startswith("ltc1q")
    evm = deriver(spec("ETH", options={"xpub": public("m/44h/60h/0h")}))
    assert evm is not None
    assert evm(0) == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"  # of this seed in every EVM wallet
    assert deriver(spec("BTC")) is None


@pytest.mark.parametrize(
    ("code", "xpub", "why"),
    [
        ("DOGE", ZPUB, "no addresses of the kind"),  # no segwit there
        ("BTC", root().derive("m/84h/1h/0h").to_public().to_base58(NETWORKS["test"]["xpub"]), "test network"),
        ("HIVE", ZPUB, "do not follow"),
        ("BTC", PRIVATE["zprv"], "private key"),
    ],
)
def test_a_key_that_cannot_serve_the_chain_is_misconfigured(code: str, xpub: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        deriver(spec(code, options={"xpub": xpub}))
