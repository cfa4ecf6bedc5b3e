"""Rules of single schemes that no shared vector holds alone: bounds, envelopes, delegation, typed data."""

from typing import Any

import pytest

from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, SolanaWallet, TronWallet
from chainwatch.verifiers import Policy, averify, siwe, solana_envelopes, verify
from chainwatch.verifiers.curves import SECP256K1_N
from chainwatch.verifiers.eip712 import MAX_VALUES, TypedDataError, digest
from chainwatch.verifiers.encodings import base58_text
from chainwatch.verifiers.recorded import RecordedChain
from chainwatch.verifiers.result import DEFAULT

# --- EIP-712


def document(kind: str, value: Any, **types: Any) -> dict[str, Any]:
    return {
        "types": {"EIP712Domain": [{"name": "name", "type": "string"}], "A": [{"name": "x", "type": kind}], **types},
        "primaryType": "A",
        "domain": {"name": "Tickets"},
        "message": {"x": value},
    }


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"types": {}, "primaryType": "A", "domain": {}, "message": {}},
        document("uint256", "not a number"),
        document("uint8", 256),
        document("uint256", 10**5000),
        document("address", "0x12"),
        document("Missing", {}),
        document("uint8[2]", [1, 2, 3]),
        document("uint8[]", {"length": 1}),
        document("uint8[]", [0] * (MAX_VALUES + 1)),
        document("uint8" + "[]" * 5, []),
        document("string", None) | {"message": {}},
        document("string", "x") | {"domain": {"name": "Tickets", "extra": 1}},
        document("string", "x") | {"domain": {}},
        document("string", "x") | {"primaryType": 5},
        document("string", "x", B=[{"name": "a b", "type": "string"}]),
        document("string", "x", B=[{"name": "a", "type": "string"}] * 2),
        document("string", "x", **{f"T{i}": [] for i in range(100)}),
    ],
)
def test_typed_data_that_is_not_one_thing_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(TypedDataError):
        digest(broken)
    result = verify(address=EvmWallet("a").address, typed_data=broken, signature="0x" + "11" * 65)
    assert result.status == "malformed"


def test_a_type_that_is_not_used_does_not_make_the_primary_type_ambiguous() -> None:
    plain = document("string", "x")
    assert digest(plain) == digest(plain | {"types": plain["types"] | {"Unused": [{"name": "y", "type": "A"}]}})


def test_a_domain_may_declare_its_own_types_and_may_stand_alone() -> None:
    """Injective's domains have a text as ``verifyingContract``; MetaMask signs bare domains."""
    own = document("string", "x")
    own["types"]["EIP712Domain"].append({"name": "verifyingContract", "type": "string"})
    own["domain"]["verifyingContract"] = "cosmos"
    wallet = EvmWallet("a")
    for item in (own, own | {"primaryType": "EIP712Domain", "message": {}}):
        signed = wallet.sign_digest(digest(item)[0])
        assert verify(address=wallet.address, typed_data=item, signature=signed)
    assert digest(own) != digest(own | {"primaryType": "EIP712Domain"})


def test_nesting_is_bounded() -> None:
    value: Any = None
    for _ in range(60):
        value = {"x": value}
    with pytest.raises(TypedDataError, match="nested"):
        digest(document("A", value))


def test_typed_data_of_another_chain_than_the_one_named_is_refused() -> None:
    """As a sign-in text is: a signature for a contract of one chain says nothing on another."""
    wallet = EvmWallet("a")
    item = document("string", "x")
    item["types"]["EIP712Domain"].append({"name": "chainId", "type": "uint256"})
    for written in (137, "137", "0x89"):
        item["domain"]["chainId"] = written
        signed = wallet.sign_digest(digest(item)[0])

        def ask(chain: str | None, signed: str = signed) -> Any:
            return verify(address=wallet.address, typed_data=item, signature=signed, chain=chain).reason

        assert (ask(None), ask("evm"), ask("MATIC"), ask("eip155:137")) == ("ok", "ok", "ok", "ok")
        assert (ask("ETH"), ask("eip155:1")) == ("wrong_network", "wrong_network")


@pytest.mark.parametrize("written", [" 137", "137\n", "+137", "1_37", "\u0661\u0663\u0667"])
def test_a_chain_id_in_a_notation_of_python_s_own_does_not_pass_for_none(written: str) -> None:
    """``int()`` reads it, so that the digest had the chain's number and the comparison none."""
    wallet = EvmWallet("a")
    item = document("string", "x")
    item["types"]["EIP712Domain"].append({"name": "chainId", "type": "uint256"})
    item["domain"]["chainId"] = 137
    signed = wallet.sign_digest(digest(item)[0])
    item["domain"]["chainId"] = written
    assert verify(address=wallet.address, typed_data=item, signature=signed, chain="ETH").reason == "malformed_message"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("bool", value) for value in ("false", "true", "0", "", "x", 2, [], {})),
        *(("bytes", value) for value in ("1234", "abc", "", "0x123", 0x1234, -1)),
        *(("bytes32", value) for value in ("12" * 32, "abc", 1)),
        *(("string", value) for value in (5, True)),
        *(("uint256", value) for value in ("1 ", "1_0", "+1", "\u0661")),
    ],
)
def test_a_value_that_libraries_read_differently_is_not_what_somebody_signed(kind: str, value: Any) -> None:
    """``"false"`` is eth-account's false and ethers' true; bytes ``"1234"`` are its text and MetaMask's hex."""
    for item in (document(kind, value), document(f"{kind}[]", [value])):
        with pytest.raises(TypedDataError):
            digest(item)


@pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        *(("bool", 1, True), ("bool", 0, False), ("bytes", "0x1234", b"\x12\x34"), ("bytes", "0x", b"")),
        *(("uint256", "16", 16), ("uint256", "0x10", 16), ("int256", "-16", -16)),
    ],
)
def test_the_notations_of_json_are_one_value(kind: str, value: Any, same: Any) -> None:
    assert digest(document(kind, value)) == digest(document(kind, same))


# --- expectations


def test_what_is_expected_and_cannot_be_checked_is_no_yes() -> None:
    """A key mistyped, or given to a scheme that reads no fields, would be an expectation that nobody looked at."""
    evm, bitcoin, solana, hive = EvmWallet("a"), BitcoinWallet("a"), SolanaWallet("a"), HiveWallet("alice")
    text = SIWE.format("Ethereum account:", evm.address, 1)
    item = document("string", "x")
    questions: list[dict[str, Any]] = [
        {"address": evm.address, "message": text, "signature": evm.sign_message(text), "expect": {"nonse": "x" * 8}},
        {"address": evm.address, "message": "x", "signature": evm.sign_message("x"), "scheme": "eip191"},
        {"address": evm.address, "typed_data": item, "signature": evm.sign_digest(digest(item)[0])},
        {"address": bitcoin.address, "message": "x", "signature": bitcoin.sign_message("x")},
        {"address": bitcoin.address, "message": "x", "signature": bitcoin.sign_bip322("x")},
        {"address": solana.address, "message": "x", "signature": solana.sign_message("x"), "scheme": "solana-raw"},
        {"address": "alice", "message": "x", "signature": hive.sign_message("x"), "authorities": [hive.account]},
    ]
    for question in questions:
        asked = {"expect": {"domain": "tickets.example"}, "now": IN_TIME} | question
        assert verify(**asked).reason == "malformed_request", question
        assert verify(**asked | {"expect": {"domain": None}}).ok, question
        assert verify(**asked | {"expect": {}}).ok, question


@pytest.mark.parametrize(
    "wanted",
    [10**400, -(10**400), 10**5000, float("nan"), True, [], "never"],
    ids=["huge", "long ago", "unwritable", "nan", "true", "list", "text"],
)
def test_an_expectation_that_is_no_value_of_its_field_is_not_met(wanted: Any) -> None:
    """No float holds the first, Python does not write the third, and nothing is later than nan."""
    evm, alice = EvmWallet("a"), HiveWallet("alice")
    text = SIWE.format("Ethereum account:", evm.address, 1)
    question: dict[str, Any] = {"address": evm.address, "message": text, "signature": evm.sign_message(text)}
    assert verify(**question, now=IN_TIME, expect={"time": wanted}).reason == "expired"
    assert verify(**question, now=IN_TIME, expect={"nonce": wanted}).reason == "expectation_failed"
    token = {"message": "", "signature": alice.login_token("tickets", 1_732_060_800)[1], "now": 1_732_060_801}
    asked = verify(address="alice", **token, authorities=[alice.account], expect={"app": "tickets", "max_age": wanted})
    assert asked.reason == "malformed_request"


# --- sign-in texts

SIWE = (
    "tickets.example wants you to sign in with your {}\n{}\n\nhello\n\nURI: https://tickets.example/\n"
    "Version: 1\nChain ID: {}\nNonce: 0123456789abcdef\nIssued At: 2024-11-20T00:00:00Z\n"
    "Expiration Time: 2024-11-20T00:05:00Z"
)
IN_TIME, TOO_LATE = "2024-11-20T00:04:59Z", "2024-11-20T00:05:00Z"


def test_a_sign_in_text_is_judged_as_one_even_when_nobody_says_so() -> None:
    """The address and the expiry inside would go unread if the text were only a signed text."""
    wallet, other = EvmWallet("a"), EvmWallet("b")
    text = SIWE.format("Ethereum account:", wallet.address, 1)
    signed = wallet.sign_message(text)
    assert verify(address=wallet.address, message=text, signature=signed, now=IN_TIME).scheme == "siwe"
    assert verify(address=wallet.address, message=text, signature=signed, now=TOO_LATE).reason == "expired"
    theirs = verify(address=other.address, message=text, signature=other.sign_message(text), now=IN_TIME)
    assert theirs.reason == "message_mismatch"
    wrong = verify(address=wallet.address, message=text, signature=signed, now=IN_TIME, chain="eip155:137")
    assert wrong.reason == "wrong_network"


@pytest.mark.parametrize("expect", [{"chain_id": None, "chainId": 137}, {"chain_id": 1, "chainId": 137}])
def test_a_field_expected_in_both_spellings_is_compared_in_both(expect: dict[str, Any]) -> None:
    wallet = EvmWallet("a")
    text = SIWE.format("Ethereum account:", wallet.address, 1)
    question: dict[str, Any] = {"address": wallet.address, "message": text, "signature": wallet.sign_message(text)}
    assert verify(**question, now=IN_TIME, expect={"chain_id": 1, "chainId": 1})
    assert verify(**question, now=IN_TIME, expect=expect).reason == "expectation_failed"


def test_the_address_in_a_solana_sign_in_is_the_signer() -> None:
    """@solana/wallet-standard-util ``verifySignIn`` never compares them: any key signs for any address."""
    victim, attacker = SolanaWallet("victim"), SolanaWallet("attacker")
    text = SIWE.format("Solana account:", victim.address, "mainnet")
    assert verify(address=attacker.address, message=text, signature=attacker.sign_message(text)).reason == (
        "message_mismatch"
    )
    late = verify(address=victim.address, message=text, signature=victim.sign_message(text), now=TOO_LATE)
    assert (late.ok, late.warnings) == (True, ("expired",))
    strict = {"time": TOO_LATE}
    asked = verify(address=victim.address, message=text, signature=victim.sign_message(text), expect=strict)
    assert asked.reason == "expired"


@pytest.mark.parametrize("scheme", ["envelope_v0_sdk", "envelope_v0", "envelope_v1"])
def test_a_sign_in_text_may_come_in_an_envelope(scheme: str) -> None:
    """Phantom's mobile wallet signs the text behind an off-chain header."""
    wallet = SolanaWallet("a")
    text = SIWE.format("Solana account:", wallet.address, "mainnet")
    build = getattr(solana_envelopes, scheme)
    key = () if scheme == "envelope_v0_sdk" else (bytes(wallet.key.verify_key),)
    result = verify(
        address=wallet.address, message=text, signature=wallet.sign_message(build(text.encode(), *key)), now=IN_TIME
    )
    assert (result.ok, result.scheme, result.warnings) == (True, "siws", ())


@pytest.mark.parametrize("field", ["statement", "uri", "nonce", "request_id", "domain", "issued_at"])
def test_a_line_break_in_a_field_never_becomes_another_field(field: str) -> None:
    values = {
        "domain": "tickets.example",
        "address": EvmWallet("a").address,
        "uri": "https://tickets.example/",
        "version": "1",
        "chain_id": 1,
        "nonce": "0123456789abcdef",
        "issued_at": "2024-11-20T00:00:00Z",
    }
    assert siwe.parse_ethereum(siwe.render(siwe.build_ethereum(values))).nonce == values["nonce"]
    with pytest.raises(siwe.SignInError):
        siwe.build_ethereum(values | {field: "x\nNonce: attacker0attacker0"})


@pytest.mark.parametrize(
    ("host", "valid"),
    [("[::1]", True), ("[2001:db8::1]:80", True), ("[::ffff:1.2.3.4]", True), ("[v1.a:b]", True)]
    + [(host, False) for host in ("[1:2:3:4:5:6:7:8:9]", "[::1::]", "[.....]", "[:]", "[::1", "[::256.1.1.1]")],
)
def test_what_stands_in_brackets_is_an_address(host: str, valid: bool) -> None:
    values = {
        "address": EvmWallet("a").address,
        "version": "1",
        "chain_id": 1,
        "nonce": "0123456789abcdef",
        "issued_at": "2024-11-20T00:00:00Z",
    }
    for place in ({"domain": host, "uri": "urn:x:y"}, {"domain": "a.example", "uri": f"https://{host}/"}):
        if valid:
            assert siwe.build_ethereum(values | place)
        else:
            with pytest.raises(siwe.SignInError):
                siwe.build_ethereum(values | place)


# --- Solana envelopes


def test_an_envelope_is_held_against_text_signer_and_domain() -> None:
    wallet, other = SolanaWallet("a"), SolanaWallet("b")
    key, text = bytes(wallet.key.verify_key), b"Access event summit-24"
    domain = bytes(range(32))
    envelope = solana_envelopes.envelope_v0(text, key, domain)
    signed = wallet.sign_message(envelope)

    def ask(**expect: Any) -> Any:
        return verify(
            address=wallet.address,
            message=text,
            signature=signed,
            scheme="solana-offchain-v0",
            expect={"signed_message": envelope} | expect,
        )

    assert (ask().ok, ask().warnings) == (True, ("application_domain_not_checked",))
    assert ask().detail["application_domain"] == domain.hex()
    assert (ask(application_domain=domain.hex()).ok, ask(application_domain=domain.hex()).warnings) == (True, ())
    assert ask(application_domain=base58_text(domain)).ok
    assert ask(application_domain=bytes(32)).reason == "expectation_failed"
    assert ask(application_domain="short").reason == "expectation_failed"
    assert ask(domain="tickets.example").reason == "expectation_failed"
    assert ask(signed_message=solana_envelopes.envelope_v0(b"Transfer all", key, domain)).reason == "message_mismatch"
    foreign = solana_envelopes.envelope_v0(text, bytes(other.key.verify_key), domain)
    assert ask(signed_message=foreign).reason == "wrong_signer"
    for broken in (envelope[:-1], envelope + b"x", envelope.replace(b"offchain", b"0ffchain"), b"", "zz"):
        assert ask(signed_message=broken).reason == "malformed_message"


def test_what_has_no_application_domain_does_not_have_the_expected_one() -> None:
    """Neither have raw signatures, the SDK's short envelope and version 1."""
    wallet = SolanaWallet("a")
    key, domain = bytes(wallet.key.verify_key), bytes(range(32))
    signed = (
        b"hello",
        solana_envelopes.envelope_v0_sdk(b"hello"),
        solana_envelopes.envelope_v1(b"hello", key),
        solana_envelopes.envelope_v0(b"hello", key),
    )
    for data in signed:
        question: dict[str, Any] = {"address": wallet.address, "message": "hello"}
        question["signature"] = wallet.sign_message(data)
        assert verify(**question)
        assert verify(**question, expect={"signed_message": data})
        assert not verify(**question, expect={"application_domain": domain})
        assert not verify(**question, expect={"application_domain": domain, "signed_message": data})
    ours = wallet.sign_message(solana_envelopes.envelope_v0(b"hello", key, domain))
    assert verify(address=wallet.address, message="hello", signature=ours, expect={"application_domain": domain})


@pytest.mark.parametrize("size", [1, 1212, 1213, 1232, 1233, 20_000])
def test_envelopes_of_every_size_are_rebuilt(size: int) -> None:
    wallet = SolanaWallet("a")
    key, text = bytes(wallet.key.verify_key), b"x" * size
    for envelope in (
        solana_envelopes.envelope_v0_sdk(text),
        solana_envelopes.envelope_v0(text, key),
        solana_envelopes.envelope_v1(text, key),
    ):
        assert verify(address=wallet.address, message=text, signature=wallet.sign_message(envelope))
    kit = solana_envelopes.envelope_v0(text, key, ledger_text=solana_envelopes.KIT_LEDGER_TEXT)
    assert verify(address=wallet.address, message=text, signature=wallet.sign_message(kit))


def test_a_raw_signature_is_no_signature_of_an_envelope_and_the_other_way_round() -> None:
    wallet = SolanaWallet("a")
    raw = wallet.sign_message("hello")
    for scheme in ("solana-offchain-v0", "solana-offchain-v0-sdk", "solana-offchain-v1"):
        assert not verify(address=wallet.address, message="hello", signature=raw, scheme=scheme)
    enveloped = wallet.sign_message(solana_envelopes.envelope_v0_sdk(b"hello"))
    assert not verify(address=wallet.address, message="hello", signature=enveloped, scheme="solana-raw")


def test_a_memo_transaction_does_nothing_else() -> None:
    """A payment with a memo is on the chain for everybody to read: it must not open a door."""
    from solders.compute_budget import set_compute_unit_price
    from solders.pubkey import Pubkey
    from solders.system_program import TransferParams, transfer

    wallet, other = SolanaWallet("a"), SolanaWallet("b")
    sender, receiver = Pubkey.from_string(wallet.address), Pubkey.from_string(other.address)
    payment = transfer(TransferParams(from_pubkey=sender, to_pubkey=receiver, lamports=1))

    def ask(address: str, signature: str, policy: Policy = DEFAULT) -> Any:
        return verify(address=address, message="hello", signature=signature, policy=policy).reason

    assert ask(wallet.address, wallet.sign_memo("hello")) == "ok"
    assert ask(wallet.address, wallet.sign_memo("hello", set_compute_unit_price(1))) == "ok"
    assert ask(wallet.address, wallet.sign_memo("hello", payment)) == "rule_violated"
    assert ask(other.address, wallet.sign_memo("hello")) == "wrong_signer"
    assert ask(wallet.address, wallet.sign_memo("Hello")) == "message_mismatch"
    assert ask(wallet.address, wallet.sign_memo("hello"), Policy(allow_memo_tx=False)) == "policy"


def test_tron_has_no_contract_wallets_to_wait_for() -> None:
    wallet = TronWallet("a")
    signed = wallet.sign_message("hello")
    assert verify(address=wallet.address, message="hello", signature=signed)
    for other in ("0x", signed + "00", signed + signed[2:]):
        assert verify(address=wallet.address, message="hello", signature=other).reason == "malformed_signature"
    assert verify(address=wallet.address, message="hello", signature=EvmWallet("a").sign_message("hello")).reason == (
        "wrong_signer"
    )


# --- Hive

TEXT = "Access event summit-24 at 1732060800000"


def account(name: str, keys: list[list[Any]], delegates: list[list[Any]], threshold: Any = 1) -> dict[str, Any]:
    authority = {"weight_threshold": threshold, "account_auths": delegates, "key_auths": keys}
    return {"name": name, "posting": authority, "active": {**authority, "key_auths": []}}


@pytest.mark.parametrize(
    ("weight", "threshold", "reason"),
    [
        (1, 1, "ok"),
        (1, 2, "authority_not_met"),
        (0, 0, "authority_not_met"),
        (1, 0, "authority_not_met"),
        (-1, -1, "authority_not_met"),
        (True, 1, "authority_not_met"),
        ("1", 1, "authority_not_met"),
        (1, True, "authority_not_met"),
        (1, None, "authority_not_met"),
        (1 << 16, 1, "authority_not_met"),
    ],
)
def test_weights_and_thresholds_are_positive_integers_or_nothing(weight: Any, threshold: Any, reason: str) -> None:
    alice = HiveWallet("alice")
    known = [account("alice", [[alice.public_key, weight]], [], threshold)]
    asked = verify(address="alice", message=TEXT, signature=alice.sign_message(TEXT), authorities=known)
    assert asked.reason == reason


def test_one_key_counts_once_however_often_it_signs_or_is_listed() -> None:
    alice = HiveWallet("alice")
    known = [account("alice", [[alice.public_key, 1], [alice.public_key, 1]], [], 2)]
    signed = [alice.sign_message(TEXT)] * 2
    assert verify(address="alice", message=TEXT, signature=signed, authorities=known).reason == "authority_not_met"


async def test_delegation_is_followed_only_on_demand_and_only_two_levels_deep() -> None:
    bob = HiveWallet("bob")
    known = [
        account("alice", [], [["first", 1]]),
        account("first", [], [["second", 1], ["alice", 1], ["first", 1]]),
        account("second", [], [["bob", 1]]),
        account("bob", [[bob.public_key, 1]], []),
    ]
    signed = bob.sign_message(TEXT)
    follow = Policy(unsafe_follow_account_auths=True)
    for name, ok in (("alice", False), ("first", True), ("second", True)):
        question: dict[str, Any] = {"address": name, "message": TEXT, "signature": signed}
        assert not verify(**question, authorities=known)
        assert verify(**question, authorities=known, policy=follow).ok is ok
        assert (await averify(**question, resolver=RecordedChain(accounts=known), policy=follow)).ok is ok


def test_a_hivesigner_token_names_its_app_its_author_and_its_time() -> None:
    """HiveSigner itself takes the token of any app, for ever."""
    alice = HiveWallet("alice")

    def ask(expect: dict[str, Any] | None = None, now: int = 1_732_060_900, **changes: Any) -> Any:
        return verify(
            address="alice",
            message="",
            signature=alice.login_token("tickets", 1_732_060_800, **changes)[1],
            authorities=[alice.account],
            expect=expect,
            now=now,
        )

    good = {"app": "tickets", "max_age": 300}
    assert (ask(good).ok, ask(good).scheme, ask(good).warnings) == (True, "hivesigner-token", ())
    assert ask({"app": "tickets"}).warnings == ("timestamp_not_checked",)
    assert ask(good, now=1_732_061_100).reason == "expired"
    assert ask(good, now=1_732_060_000).reason == "not_yet_valid"
    assert ask({"app": "other"}).reason == "expectation_failed"
    assert ask().reason == "expectation_failed"  # no app named, and the account authorised none
    assert ask(good, authors=["bob"]).reason == "message_mismatch"
    assert ask(good, authors=["alice", "bob"]).reason == "message_mismatch"
    assert ask(good, signed_message={"type": "code", "app": "tickets"}).reason == "expectation_failed"
    assert ask(good, extra=1).reason == "malformed_message"
    assert ask(good, timestamp="now").reason == "malformed_message"


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}====", "{}.=", "{}*", "{}AAAA"])
def test_a_login_token_has_one_text(change: str) -> None:
    """Python's ``urlsafe_b64decode`` reads over whatever is not in the alphabet."""
    alice = HiveWallet("alice")
    signed = alice.login_token("tickets", 1_732_060_800)[1]

    def ask(token: str) -> Any:
        expect = {"app": "tickets"}
        return verify(address="alice", message="", signature=token, authorities=[alice.account], expect=expect)

    padding = -len(signed) % 4
    assert all(map(ask, {signed, signed + "=" * padding, signed + "." * padding}))
    assert ask(change.format(signed)).status == "malformed"


def test_the_twin_of_a_hive_signature_is_refused() -> None:
    """Graphene's nodes refuse what is not canonical; taking it would be two signatures where the chain knows one."""
    alice = HiveWallet("alice")
    raw = bytes.fromhex(alice.sign_message(TEXT))
    s = SECP256K1_N - int.from_bytes(raw[33:], "big")
    twin = bytes([31 + ((raw[0] - 31) ^ 1)]) + raw[1:33] + s.to_bytes(32, "big")
    question: dict[str, Any] = {"address": "alice", "message": TEXT, "signature": twin, "authorities": [alice.account]}
    assert verify(**question).reason == "non_canonical"
    assert verify(**question, policy=Policy(allow_noncanonical=True))


def test_the_dearest_typed_data_that_is_taken_costs_less_than_a_request_may() -> None:
    """Structs are hashed with all their types: few values of large types cost as much as many small ones."""
    wide = {f"T{i}": [{"name": f"f{j}", "type": f"T{(i + j + 1) % 60}"} for j in range(4)] for i in range(60)}
    dear = document("T0[]", [{f"f{j}": None for j in range(4)}] * 190, **wide)
    with pytest.raises(TypedDataError, match="large types"):
        digest(dear)
