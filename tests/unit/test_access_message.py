"""The text a wallet signs at the door: one text a message, and every rule of who may use it when."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.access import AccessMessage, AccessPolicy, AccessReason, derive_nonce, nonce_is_ours
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.verifiers import siwe

KEY = bytes(range(32))
ISSUED = 1_732_060_800_000
POLICY = AccessPolicy(domain="tickets.example", uri_prefix="https://tickets.example/")
WALLETS = {
    "ETH": "0x791A584c430f61a381ff8aA5352f8841789b20a0",
    "MATIC": "0x791A584c430f61a381ff8aA5352f8841789b20a0",
    "BNB": "0x791a584c430f61a381ff8aa5352f8841789b20a0",
    "SOL": "39STcSrTmkjXSgZJW684iVqsnRnLJ3wpyBiGbXvoaHt9",
    "HIVE": "dlux-io",
    "BTC": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "LTC": "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1",
    "DOGE": "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L",
    "DASH": "Xags3HEXJ4G4Uuf8va2eSxLCw2KCyEhiJ7",
    "XMR": "42ey1afDFnn4886T7196doS9GPMzexD9gXpsZJDwVjeRVdFCSoHnv7KPbBeGpzJBzHRCAs9UxqeoyFQMYbqSWYTfJJQAWDm",
    "TRX": "TM1YKkHjtcb1eeKiYAyBVWfYjHojqJGfAz",
    "ADA": "addr1v95v4ft6t8ne89unfl5ywctxtyyp24lf7mqum3lurhuy0rgzh0tpf",
}
WORDS = {"ETH": "Ethereum", "MATIC": "Ethereum", "BNB": "Ethereum", "SOL": "Solana", "HIVE": "Hive", "BTC": "Bitcoin"}
WORDS |= {
    "LTC": "Litecoin",
    "DOGE": "Dogecoin",
    "DASH": "Dash",
    "XMR": "Monero",
    "TRX": "Tron",
    "ADA": "Cardano",
}


def issue(chain: str = "ETH", **more: object) -> AccessMessage:
    values = {
        "domain": "tickets.example",
        "uri": "https://tickets.example/access",
        "event": "summit-24",
        "chain": chain,
        "address": WALLETS.get(chain, WALLETS["ETH"]),
        "issued_ms": ISSUED,
    }
    return AccessMessage.issue(KEY, **(values | more))  # type: ignore[arg-type]


def check(message: AccessMessage, chain: str = "ETH", **more: object) -> AccessReason:
    values = {"event": "summit-24", "chain": chain, "address": WALLETS[chain], "now_ms": ISSUED + 1000}
    return message.check(POLICY, **(values | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("chain", WALLETS)
@pytest.mark.parametrize("form", ["sign-in", "line"])
def test_every_chain_has_a_text_that_parses_back_and_passes_its_own_check(chain: str, form: str) -> None:
    message = issue(chain, form=form)
    text = message.render()
    assert AccessMessage.parse(text) == message
    assert check(message, chain) is AccessReason.OK
    assert text.isascii()
    assert not text[0].isdigit()  # DLUX's own login text is bare unix seconds
    if form == "sign-in":
        assert f" your {WORDS[chain]} account:\n" in text
        assert text.split("\n")[3] == f"Access event summit-24 at {ISSUED}"
    else:
        assert re.fullmatch(r"[\x20-\x7e]+", text)


def test_on_evm_the_text_is_eip4361_and_on_solana_sign_in_with_solana() -> None:
    for chain, number in (("ETH", "1"), ("MATIC", "137"), ("BNB", "56")):
        parsed = siwe.parse_ethereum(issue(chain).render())
        assert (parsed.chain_id, parsed.request_id, parsed.domain) == (number, "summit-24", "tickets.example")
    parsed = siwe.parse_solana(issue("SOL").render())
    assert (parsed.chain_id, parsed.address) == ("mainnet", WALLETS["SOL"])


@given(st.text(max_size=400))
def test_any_text_is_either_refused_or_renders_to_itself(text: str) -> None:
    try:
        message = AccessMessage.parse(text)
    except Rejected:
        return
    assert message.render() == text


@given(st.data())
def test_no_single_change_of_a_text_parses_to_the_same_message(data: st.DataObject) -> None:
    message = issue()
    text = message.render()
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + data.draw(st.sampled_from(["", "x", "\n", "\r", " ", "0", "é"])) + text[at + 1 :]
    try:
        assert AccessMessage.parse(changed) == message or changed != text
        if changed != text:
            assert AccessMessage.parse(changed) != message
    except Rejected:
        assert changed != text


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("domain", "tickets.example\nURI: https://evil.example"),
        ("domain", "tickets.example@evil.example"),
        ("domain", ""),
        ("uri", "https://tickets.example/a\nNonce: attacker1attacker1"),
        ("event", "summit\nNonce: x"),
        ("event", "x" * 65),
        ("event", ""),
        ("address", "vitalik.eth"),
        ("address", "0x791a584c430f61a381ff8aA5352f8841789b20a0"),
        ("chain", "nowhere"),
        ("issued_ms", 5),
        ("issued_ms", 10**18),
    ],
)
def test_a_part_that_the_text_cannot_say_is_refused(part: str, value: object) -> None:
    """WalletConnect utils 280: line breaks in a field forged the lines behind it."""
    with pytest.raises(Rejected):
        issue(**{part: value})


def test_each_rule_has_its_own_reason() -> None:
    message = issue()
    assert check(message, address=WALLETS["BNB"]) is AccessReason.OK  # the same account in lower case
    assert check(message, address="0x" + "11" * 20) is AccessReason.WALLET
    assert check(message, "SOL") is AccessReason.WALLET
    assert check(message, event="summit-25") is AccessReason.EVENT
    assert check(message, chain_id="137") is AccessReason.CHAIN_ID
    assert check(message, timestamp_ms=ISSUED + 1) is AccessReason.TIMESTAMP_MISMATCH
    assert check(message, now_ms=ISSUED - 60_000) is AccessReason.OK
    assert check(message, now_ms=ISSUED - 60_001) is AccessReason.FUTURE
    assert check(message, now_ms=ISSUED + 299_999) is AccessReason.OK
    assert check(message, now_ms=ISSUED + 300_000) is AccessReason.EXPIRED
    assert check(issue(ttl_ms=900_000), now_ms=ISSUED + 300_000) is AccessReason.OK
    assert check(issue(ttl_ms=900_000), now_ms=ISSUED + 300_001) is AccessReason.EXPIRED
    assert check(issue(ttl_ms=900_001)) is AccessReason.TTL
    assert check(issue(domain="other.example")) is AccessReason.DOMAIN
    assert check(issue(uri="https://other.example/access")) is AccessReason.URI


def test_classic_texts_are_read_only_where_the_policy_says_so() -> None:
    loose = AccessPolicy(domain=POLICY.domain, uri_prefix=POLICY.uri_prefix, classic=True)
    for text in (f"Access event summit-24 at {ISSUED}", f"Access summit-24 at {ISSUED}"):
        message = AccessMessage.parse(text)
        assert (message.is_classic, message.render()) == (True, text)
        assert check(message) is AccessReason.CLASSIC_REFUSED
        values = {"event": "summit-24", "chain": "ETH", "address": WALLETS["ETH"]}
        assert message.check(loose, now_ms=ISSUED, **values) is AccessReason.OK
        assert message.check(loose, now_ms=ISSUED + 300_001, **values) is AccessReason.EXPIRED
    assert AccessMessage.classic("summit-24", ISSUED, short=True).render() == f"Access summit-24 at {ISSUED}"
    with pytest.raises(Rejected):
        AccessMessage.classic("a b", ISSUED)


def test_a_nonce_is_ours_only_with_every_value_it_was_made_for() -> None:
    message = issue()
    assert re.fullmatch(r"[A-Za-z0-9]{22}", message.nonce or "")
    assert nonce_is_ours(KEY, AccessMessage.parse(message.render()), chain="ETH", address=WALLETS["ETH"])
    assert nonce_is_ours(KEY, issue(form="line"), chain="ETH", address=WALLETS["ETH"])
    assert not nonce_is_ours(bytes(32), message, chain="ETH", address=WALLETS["ETH"])
    assert not nonce_is_ours(KEY, message, chain="SOL", address=WALLETS["SOL"])
    assert not nonce_is_ours(KEY, message, chain="ETH", address="nobody")
    others = [issue(event="summit-25"), issue(issued_ms=ISSUED + 1), issue(ttl_ms=1), issue(domain="a.example")]
    assert len({message.nonce, *(other.nonce for other in others)}) == 5
    assert not nonce_is_ours(KEY, AccessMessage.classic("summit-24", ISSUED), chain="ETH", address=WALLETS["ETH"])
    with pytest.raises(Misconfigured):
        derive_nonce(b"short", domain="d", event="e", chain="ETH", address=WALLETS["ETH"], issued_ms=1, expires_ms=2)


def test_what_counts_as_used_is_the_nonce_and_for_classic_texts_wallet_event_and_time() -> None:
    """Signatures have several encodings: quest-protocol #267 honoured one twice."""
    assert issue().replay_key("ETH", WALLETS["ETH"]) == issue(form="line").replay_key("ETH", WALLETS["BNB"])
    classic = AccessMessage.classic("summit-24", ISSUED)
    assert classic.replay_key("ETH", WALLETS["ETH"]) == classic.replay_key("BNB", WALLETS["BNB"])
    assert classic.replay_key("ETH", WALLETS["ETH"]) != classic.replay_key("SOL", WALLETS["SOL"])


def test_what_was_used_is_remembered_until_no_check_lets_it_pass() -> None:
    """Myriad #419, Paygate #152: records were dropped one tick before the text died."""
    loose = AccessPolicy(domain=POLICY.domain, uri_prefix=POLICY.uri_prefix, classic=True)
    for message in (issue(), issue(ttl_ms=900_000), AccessMessage.classic("summit-24", ISSUED)):
        end = message.usable_until_ms(loose)
        assert message.check_time(loose, end - 1) is AccessReason.OK
        assert message.check_time(loose, end) is AccessReason.EXPIRED


@pytest.mark.parametrize(
    ("domain", "prefix"),
    [
        ("tickets.example/", "https://tickets.example/"),
        ("tickets.example", "https://tickets.example"),
        ("", "https://a/"),
    ],
)
def test_a_policy_that_would_let_neighbours_in_is_refused(domain: str, prefix: str) -> None:
    with pytest.raises(Misconfigured):
        AccessPolicy(domain=domain, uri_prefix=prefix)
