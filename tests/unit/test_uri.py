"""Payment URIs, by the text of each standard."""

import base64
import json
from decimal import Decimal, localcontext
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch import memo as memo_grammar
from chainwatch.config import networks
from chainwatch.errors import Rejected
from chainwatch.tickets.uri import MEMO_IN_URI, payment_uri

MEMO = memo_grammar.short_form("abcdefghijklmnop")
ADDRESSES = {
    "BTC": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "LTC": "LaMT348PWRnrqeeWArpwQPbuanpXDZGEUz",
    "DOGE": "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L",
    "DASH": "XagqqFetxiDb9wbartKDrXgnqLah9SqX2S",
    "ETH": "0x52908400098527886E0F7030069857D2E4169EE7",
    "MATIC": "0x52908400098527886E0F7030069857D2E4169EE7",
    "BNB": "0x52908400098527886E0F7030069857D2E4169EE7",
    "SOL": "So11111111111111111111111111111111111111112",
    "HIVE": "dlux-tickets",
    "XMR": "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
}


def uri(code: str, amount: int, memo: str | None = None, reference: str | None = None, label: str = "") -> str:
    chain = "HIVE" if code == "HBD" else code.partition(":")[0]
    asset = next(a for a in networks.spec(chain).assets if a.code == code)
    return payment_uri(
        networks.spec(chain),
        asset,
        address=ADDRESSES[chain],
        amount=amount,
        memo=memo,
        reference=reference,
        label=label,
    )


@pytest.mark.parametrize(
    ("code", "amount", "expected"),
    [
        ("BTC", 5_000_000, f"bitcoin:{ADDRESSES['BTC']}?amount=0.05"),
        ("BTC", 1, f"bitcoin:{ADDRESSES['BTC']}?amount=0.00000001"),  # never 1e-08
        ("LTC", 21 * 10**14, f"litecoin:{ADDRESSES['LTC']}?amount=21000000"),
        ("DOGE", 10**8, f"dogecoin:{ADDRESSES['DOGE']}?amount=1"),
        ("DASH", 123_456_789, f"dash:{ADDRESSES['DASH']}?amount=1.23456789"),
        ("ETH", 5 * 10**15, f"ethereum:{ADDRESSES['ETH']}@1?value=5000000000000000"),
        ("MATIC", 1, f"ethereum:{ADDRESSES['ETH']}@137?value=1"),
        ("BNB", 10**30, f"ethereum:{ADDRESSES['ETH']}@56?value={10**30}"),
        (
            "ETH:USDC",
            1_500_000,
            "ethereum:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48@1/transfer"
            f"?address={ADDRESSES['ETH']}&uint256=1500000",
        ),
        ("SOL", 10_000_000, f"solana:{ADDRESSES['SOL']}?amount=0.01"),
        ("XMR", 239_390_140_000, f"monero:{ADDRESSES['XMR']}?tx_amount=0.23939014"),
    ],
)
def test_each_chain_in_its_own_form(code: str, amount: int, expected: str) -> None:
    assert uri(code, amount) == expected


def test_an_amount_never_goes_through_a_float() -> None:
    """AcceptXMR writes its ``monero:`` URIs from an f64, which has no 0.3 and loses digits beyond the fifteenth."""
    assert uri("XMR", 300_000_000_000).endswith("tx_amount=0.3")
    assert uri("XMR", 9_007_199_254_740_993).endswith("tx_amount=9007.199254740993")  # 2**53 + 1: no float is this
    assert uri("ETH", 2**256 - 1).endswith(f"value={2**256 - 1}")


@given(st.sampled_from(["BTC", "DOGE", "SOL", "SOL:USDC", "XMR"]), st.integers(0, 10**40))
def test_the_amount_that_is_written_is_the_amount(code: str, amount: int) -> None:
    asset = next(a for a in networks.spec(code.partition(":")[0]).assets if a.code == code)
    query = dict(parse_qsl(urlsplit(uri(code, amount)).query))
    written = query.get("tx_amount") or query["amount"]
    assert "e" not in written.lower()
    with localcontext(prec=60):
        assert Decimal(written).scaleb(asset.decimals) == amount


def test_solana_pay_names_mint_reference_memo_and_label() -> None:
    key = "9tT4Wp4kGkJb7mSZ1XrqTjFqQf6S7sQd1TjfNnXhMfQx"
    text = uri("SOL:USDC", 1_500_000, MEMO, key, "Gala & more? 100%+")
    parts = urlsplit(text)
    assert (parts.scheme, parts.path) == ("solana", ADDRESSES["SOL"])
    mint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
    expected = {"amount": "1.5", "spl-token": mint, "reference": key, "label": "Gala & more? 100%+", "memo": MEMO}
    assert dict(parse_qsl(parts.query)) == expected
    assert "+" not in text  # a plus is a space to some readers


def hive_operation(text: str) -> list[object]:
    encoded = text.removeprefix("hive://sign/op/")
    decoded: list[object] = json.loads(base64.b64decode(encoded.replace(".", "="), altchars=b"-_"))
    return decoded


def test_hive_signs_a_transfer_with_all_its_decimals() -> None:
    assert not set(uri("HIVE", 5_000, MEMO)) & set("=+")  # hive-uri's own base64: - _ . in the place of + / =
    name, fields = hive_operation(uri("HIVE", 5_000, MEMO))
    assert name == "transfer"
    assert fields == {"from": "__signer", "to": "dlux-tickets", "amount": "5.000 HIVE", "memo": MEMO}
    assert hive_operation(uri("HBD", 1_234_567, None))[1] == {
        "from": "__signer",
        "to": "dlux-tickets",
        "amount": "1234.567 HBD",
        "memo": "",
    }
    assert hive_operation(uri("HIVE", 1, "event:1:wallet:ünï"))[1]["memo"] == "event:1:wallet:ünï"  # type: ignore[index]


@pytest.mark.parametrize("code", ["HIVE", "SOL", "SOL:USDC", "BTC", "ETH", "ETH:USDC", "XMR"])
def test_the_memo_is_in_the_transaction_exactly_where_we_say_so(code: str) -> None:
    """EIP-681 has keys for value, gas and the types of a call, none for call data; BIP-21's ``message`` is for eyes."""
    text = uri(code, 1, MEMO)
    family = networks.spec(code.partition(":")[0]).family
    carried = MEMO in unquote(text) or (code == "HIVE" and MEMO in str(hive_operation(text)))
    assert carried == (family in MEMO_IN_URI or family == "bitcoin")
    assert ("data=" in text) is False


def test_labels_are_cut_and_cannot_add_parameters() -> None:
    text = uri("BTC", 1, None, None, "x&amount=9" + "é" * 1000)
    query = parse_qsl(urlsplit(text).query)
    assert [key for key, _ in query] == ["amount", "label"]
    assert len(query[1][1]) == 200


def test_what_has_no_standard_is_refused() -> None:
    spec = networks.spec("BTC", family="abacus")
    with pytest.raises(Rejected, match="abacus"):
        payment_uri(spec, spec.native, address="x", amount=1, memo=None, reference=None)
    with pytest.raises(Rejected, match="no amount"):
        uri("BTC", -1)


def test_every_known_chain_has_a_uri() -> None:
    for code in networks.known():
        assert ":" in uri(networks.spec(code).native.code, 1)
