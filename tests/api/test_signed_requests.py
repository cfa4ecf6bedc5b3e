"""Requests that a wallet signs: each text for one purpose, one wallet, these values, once."""

from pathlib import Path
from typing import Any

import pytest

from chainwatch.access import AccessMessage, AccessReason, challenges, signed
from chainwatch.errors import Rejected
from chainwatch.testing.guests import contract
from chainwatch.testing.served import Served, served
from chainwatch.testing.wallets import (
    BitcoinWallet,
    EvmWallet,
    HiveWallet,
    MoneroWallet,
    SolanaWallet,
)
from chainwatch.verifiers import Unavailable
from chainwatch.verifiers.recorded import RecordedChain

DESTINATION = "0x52908400098527886E0F7030069857D2E4169EE7"
VALUES = {"refund": "17", "amount": "0.05", "destination": DESTINATION}
ALICE = HiveWallet("alice")
WALLETS: list[Any] = [BitcoinWallet("signed"), EvmWallet("signed"), SolanaWallet("signed"), ALICE, MoneroWallet("s")]


def hive(_chain: str) -> Any:
    return RecordedChain(accounts=[ALICE.account])


async def check(api: Served, signer: Any, message: str, signature: Any = None, **change: Any) -> signed.Checked:
    given = {"wallet": signer.address, "values": VALUES} | change
    purpose = given.pop("purpose", "refund-claim")
    signature = signature or signer.sign_message(message)
    return await signed.check(api.backend, purpose, message=message, signature=signature, **given)


@pytest.mark.parametrize("wallet", WALLETS, ids=lambda w: type(w).__name__)
async def test_what_a_wallet_signed_is_done_once(wallet: Any, tmp_path: Path) -> None:
    async with served(tmp_path, resolver=hive) as api:
        challenge = signed.challenge(api.backend, "refund-claim", wallet=wallet.address, values=VALUES)
        assert "amount=0.05 destination=0x52908" in challenge.message
        checked = await check(api, wallet, challenge.message)
        assert checked
        assert checked.wallet == wallet.address
        await api.store.write(signed.consume, checked)
        with pytest.raises(Rejected) as refused:
            await api.store.write(signed.consume, checked)
        assert refused.value.code == "replayed"


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("another purpose", {"purpose": "erase"}, "malformed"),
    ("another amount", {"values": VALUES | {"amount": "5"}}, "malformed"),
    ("another destination", {"values": VALUES | {"destination": EvmWallet("thief").address}}, "malformed"),
    ("one value less", {"values": {"refund": "17"}}, "malformed"),
    ("another wallet", {"wallet": EvmWallet("thief").address}, "malformed"),
    ("no wallet", {"wallet": "nobody at all"}, "malformed"),
]


@pytest.mark.parametrize(("what", "change", "reason"), CHANGES, ids=[c[0] for c in CHANGES])
async def test_a_text_is_for_exactly_what_it_says(
    what: str, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    wallet = EvmWallet("signed")
    async with served(tmp_path) as api:
        challenge = signed.challenge(api.backend, "refund-claim", wallet=wallet.address, values=VALUES)
        assert (await check(api, wallet, challenge.message, **change)).reason == reason


async def test_texts_that_we_did_not_issue_or_no_longer_take(tmp_path: Path) -> None:
    wallet, thief = EvmWallet("signed"), EvmWallet("thief")
    async with served(tmp_path) as api:
        challenge = signed.challenge(api.backend, "refund-claim", wallet=wallet.address, values=VALUES)
        text = challenge.message
        assert (await check(api, wallet, text, thief.sign_message(text))).reason == "bad_signature"
        forged = text.replace(challenge.nonce, "A" * 22)
        assert (await check(api, wallet, forged)).reason == "unknown_nonce"
        elsewhere = text.replace(text.split(" ")[0], "evil.example", 1)
        assert not await check(api, wallet, elsewhere)
        for broken in (
            text + "\n",
            text.replace("\n", "\r\n"),
            "",
            "Request",
            text.replace("Version: 1", "Version: 2"),
        ):
            assert (await check(api, wallet, broken, "0x" + "11" * 65)).reason == "malformed"
        api.clock.advance(299.999)
        assert await check(api, wallet, text)
        api.clock.advance(0.001)
        assert (await check(api, wallet, text)).reason == "expired"


async def test_an_access_text_authorises_nothing_and_a_request_opens_no_door(tmp_path: Path) -> None:
    wallet = EvmWallet("signed")
    async with served(tmp_path) as api:
        access = challenges.issue(api.backend, "gala", wallet.address).render()
        assert (await check(api, wallet, access)).reason == "malformed"
        request = signed.challenge(api.backend, "refund-claim", wallet=wallet.address, values=VALUES).message
        with pytest.raises(Rejected, match="not an access text"):
            AccessMessage.parse(request)
        found = challenges.recognise(
            api.backend,
            request,
            event="gala",
            address=wallet.address,
            timestamp_ms=None,
            classic=True,
            now_ms=api.clock.now_ms(),
        )
        assert found is AccessReason.MALFORMED


@pytest.mark.parametrize("value", ["", "two words", "a\nb", "é", "x" * 257, "a=b", "a,b"])
async def test_a_value_that_could_be_read_two_ways_is_refused(value: str, tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        with pytest.raises(Rejected):
            signed.challenge(api.backend, "refund-claim", wallet="alice", values={"refund": value})


async def test_a_contract_wallet_is_one_chain_s(tmp_path: Path) -> None:
    safe, owner = "0x" + "5A" * 20, EvmWallet("owner")
    resolvers: dict[str, Any] = {}
    async with served(tmp_path, resolver=resolvers.get) as api:
        wallet = challenges.readings(api.backend, safe.lower())[0].wallet.canonical
        text = signed.challenge(api.backend, "my-tickets", wallet=wallet, values={}).message
        resolvers["ETH"], signature = contract(wallet, owner, text, 1)
        more: dict[str, Any] = {"wallet": wallet, "message": text, "signature": signature, "values": {}}
        checked = await signed.check(api.backend, "my-tickets", **more)
        assert (checked.reason, checked.contract_chain) == ("ok", "ETH")
        elsewhere = await signed.check(api.backend, "my-tickets", contract_chains=("MATIC",), **more)
        assert elsewhere.reason in ("bad_signature", "contract_chain")
        resolvers["ETH"] = RecordedChain()  # knows nothing: the node does not answer
        assert (await signed.check(api.backend, "my-tickets", **more)).reason == "unavailable"


class Silent(RecordedChain):
    async def hive_accounts(self, names: Any) -> Any:
        raise Unavailable("no node")


async def test_a_chain_that_does_not_answer_is_no_verdict(tmp_path: Path) -> None:
    async with served(tmp_path, resolver=lambda _chain: Silent()) as api:
        text = signed.challenge(api.backend, "my-tickets", wallet="alice", values={}).message
        checked = await check(api, ALICE, text, purpose="my-tickets", values={})
        assert checked.reason == "unavailable"
