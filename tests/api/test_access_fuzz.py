"""Attempts to come in without a right to, a hundred thousand of them: none is granted, none is a fault of ours.

They are made and tried in parts, which the workers of a test run share.

The door itself is asked, without HTTP around it (``tests/api/test_hostile.py`` has that side): each attempt is one that
would be granted but for what its maker says.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from chainwatch.access import AccessMessage, challenges, nonces, sessions, signatures, signed
from chainwatch.access.admission import Admission, Attempt
from chainwatch.access.message import AccessReason
from chainwatch.errors import Rejected
from chainwatch.ledger.tables import attendance, entries
from chainwatch.ledger.tables import sessions as session_table
from chainwatch.testing.guests import door, hive, rows
from chainwatch.testing.served import NOW_MS, Served
from chainwatch.testing.tickets import make_event, mint
from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, MoneroWallet, SolanaWallet
from chainwatch.verifiers import Reason, Verification

PARTS, PART = 8, 12_500
AT_ONCE = 128
EVERY = 600_000
"""Milliseconds that pass in all: attempts come at every moment of a text's life."""


class Forger:
    """Makes attempts, each wrong in one way.  ``guests`` have tickets for both events, ``stranger`` has none."""

    def __init__(self, api: Served, guests: list[Any], inside: list[Any], rng: random.Random) -> None:
        self.api, self.guests, self.inside, self.rng = api, guests, inside, rng
        self.stranger = EvmWallet("stranger")
        issuer = api.backend.issuer
        self.signers = [issuer, *(issuer.signer(p) for p in ("session", "manifest", "certificate", "qr"))]
        self.spent: list[tuple[Any, str]] = []
        self.makers: list[Callable[[], Attempt]] = [
            self.by_another_hand,
            self.over_another_text,
            self.with_a_flipped_signature,
            self.with_a_changed_text,
            self.replayed,
            self.expired,
            self.from_the_future,
            self.for_another_event,
            self.for_another_domain,
            self.with_a_nonce_of_somebody_else,
            self.for_another_wallet,
            self.on_another_chain,
            self.of_another_kind,
            self.a_token_in_place_of_a_signature,
            self.without_a_ticket,
            self.classic_after_a_challenge,
            self.classic_out_of_time,
            self.classic_for_another_event,
            self.with_only_a_wrong_timestamp,
            self.garbage,
        ]

    def make(self) -> tuple[str, Attempt]:
        maker = self.rng.choice(self.makers)
        return maker.__name__, maker()

    # what a right attempt is made of

    def message(self, wallet: Any, event: str = "gala", **change: Any) -> AccessMessage:
        line = self.rng.random() < 0.2
        made = challenges.issue(self.api.backend, event, wallet.address, line=line)
        return AccessMessage(**{f: getattr(made, f) for f in AccessMessage.__slots__} | change)

    def attempt(self, wallet: Any, text: str, signature: Any, **change: Any) -> Attempt:
        made = Attempt(event="gala", wallet=wallet.address, signature=signature, message=text)
        return msgspec.structs.replace(made, **change)

    def guest(self) -> Any:
        return self.rng.choice(self.guests)

    # and what is wrong with each

    def by_another_hand(self) -> Attempt:
        wallet, kind = self.guest(), self.rng.randrange(10**6)
        text = self.message(wallet).render()
        hand = HiveWallet("thief") if isinstance(wallet, HiveWallet) else type(wallet)(f"thief {kind % 50}")
        return self.attempt(wallet, text, hand.sign_message(text))

    def over_another_text(self) -> Attempt:
        wallet = self.guest()
        other = self.message(wallet, "other").render()
        return self.attempt(wallet, self.message(wallet).render(), wallet.sign_message(other))

    def with_a_flipped_signature(self) -> Attempt:
        wallet = self.rng.choice([w for w in self.guests if type(w) is EvmWallet])
        text = self.message(wallet).render()
        raw = bytearray.fromhex(wallet.sign_message(text)[2:])
        raw[self.rng.randrange(64)] ^= 1 << self.rng.randrange(8)
        return self.attempt(wallet, text, "0x" + raw.hex())

    def with_a_changed_text(self) -> Attempt:
        wallet = self.guest()
        text = self.message(wallet).render()
        at = self.rng.randrange(len(text))
        new = self.rng.choice([c for c in "aZ0 \n.:é" if c != text[at]])
        changed = text[:at] + new + text[at + self.rng.randrange(2) :]
        # Signed as it was, or signed as it is: the second is a text that we did not issue.
        signature = wallet.sign_message(text if self.rng.random() < 0.5 else changed)
        return self.attempt(wallet, changed if changed != text else text + " ", signature)

    def replayed(self) -> Attempt:
        wallet, text = self.rng.choice(self.spent)
        return self.attempt(wallet, text, wallet.sign_message(text))

    def expired(self) -> Attempt:
        wallet = self.guest()
        ago = 300_000 + self.rng.choice([0, 1, 999, self.rng.randrange(10**9)])
        return self._issued_at(wallet, self.api.clock.now_ms() - ago)

    def from_the_future(self) -> Attempt:
        ahead = 60_000 + self.rng.choice([1, 999, self.rng.randrange(1, 10**9)])
        return self._issued_at(self.guest(), self.api.clock.now_ms() + ahead)

    def _issued_at(self, wallet: Any, issued_ms: int) -> Attempt:
        backend = self.api.backend
        reading = challenges.readings(backend, wallet.address)[0]
        text = AccessMessage.issue(
            backend.issuer.secret(challenges.PURPOSE),
            domain=backend.settings.access.domain,
            uri=f"{backend.settings.http.public_url}/access",
            event="gala",
            chain=reading.chain,
            address=wallet.address,
            issued_ms=issued_ms,
        ).render()
        only_time = self.rng.random() < 0.3
        return self.attempt(wallet, text, wallet.sign_message(text), **({"message": None} if only_time else {}))

    def for_another_event(self) -> Attempt:
        wallet = self.guest()
        text = self.message(wallet, "other").render()
        if self.rng.random() < 0.3:  # taken from the other event's challenge into our text
            text = text.replace("other", "gala")
        return self.attempt(wallet, text, wallet.sign_message(text))

    def for_another_domain(self) -> Attempt:
        wallet = self.guest()
        domain = self.rng.choice(["evil.example", "127.0.0.1", "127.0.0.1:80801", "x.127.0.0.1:8080", "127.0.0.1:808"])
        text = self.message(wallet, domain=domain).render()
        return self.attempt(wallet, text, wallet.sign_message(text))

    def with_a_nonce_of_somebody_else(self) -> Attempt:
        wallet = self.guest()
        other = self.message(self.stranger).nonce
        nonce = self.rng.choice([other, "A" * 22, "".join(self.rng.choices("abcXYZ019", k=22))])
        text = self.message(wallet, nonce=nonce).render()
        return self.attempt(wallet, text, wallet.sign_message(text))

    def for_another_wallet(self) -> Attempt:
        wallet = self.guest()
        other = self.rng.choice([w for w in self.guests if w is not wallet])
        text = self.message(wallet).render()
        signature = wallet.sign_message(text)
        return self.attempt(other, text, signature)

    def on_another_chain(self) -> Attempt:
        wallet = self.guest()
        made = self.message(wallet)
        word = self.rng.choice([w for w in ("Ethereum", "Solana", "Bitcoin", "Hive") if w != made.word])
        text = made.render().replace(f"your {made.word} account", f"your {word} account")
        text = text.replace("Chain ID: 1\n", f"Chain ID: {self.rng.choice([5, 56, 137, 10])}\n")
        if text == made.render():  # the one-line form
            text = text.replace("eip155:", "solana:").replace("hive:", "eip155:").replace("bitcoin:", "monero:")
        if text == made.render():
            text += "x"
        return self.attempt(wallet, text, wallet.sign_message(text))

    def of_another_kind(self) -> Attempt:
        wallet = self.guest()
        purpose = self.rng.choice(["my-tickets", "erase", "refund-claim", "access"])
        text = signed.challenge(self.api.backend, purpose, wallet=wallet.address, values={"event": "gala"}).message
        return self.attempt(wallet, text, wallet.sign_message(text))

    def a_token_in_place_of_a_signature(self) -> Attempt:
        wallet = self.guest()
        claims = {"event": "gala", "wallet": wallet.address, "jti": "x", "aud": "127.0.0.1:8080", "exp": 2**40}
        signer = self.rng.choice(self.signers)
        token = signer.sign(claims)
        if signer.typ != "session+jwt":
            with pytest.raises(Rejected):
                sessions.read(self.api.backend, token)
        text = self.message(wallet).render()
        return self.attempt(wallet, self.rng.choice([text, token]), token)

    def without_a_ticket(self) -> Attempt:
        text = self.message(self.stranger).render()
        return self.attempt(self.stranger, text, self.stranger.sign_message(text))

    def classic_after_a_challenge(self) -> Attempt:
        return self._classic(self.rng.choice(self.inside), self.api.clock.now_ms())

    def classic_out_of_time(self) -> Attempt:
        off = self.rng.choice([-300_001, 60_001, -(10**7), 10**7])
        return self._classic(self.guest(), self.api.clock.now_ms() + off)

    def classic_for_another_event(self) -> Attempt:
        return self._classic(self.guest(), self.api.clock.now_ms(), "other")

    def _classic(self, wallet: Any, at_ms: int, event: str = "gala") -> Attempt:
        text = AccessMessage.classic(event, at_ms, short=self.rng.random() < 0.5).render()
        only_time = self.rng.random() < 0.5
        return self.attempt(
            wallet, text, wallet.sign_message(text), timestamp_ms=at_ms, **({"message": None} if only_time else {})
        )

    def with_only_a_wrong_timestamp(self) -> Attempt:
        wallet = self.guest()
        made = self.message(wallet)
        off = self.rng.choice([-1, 1, 1000, -1000])
        signature = wallet.sign_message(made.render())
        return self.attempt(wallet, "", signature, message=None, timestamp_ms=made.issued_ms + off)

    def garbage(self) -> Attempt:
        rng = self.rng
        signatures = ["0x" + rng.randbytes(65).hex(), rng.randbytes(40).hex(), (1, "x", None), "\x00", "é" * 9]
        text = rng.choice(["", "\x00", "Access event gala at 1", "a" * 9000, "Access event gala at 17600000000000"])
        at_ms = rng.choice([None, 0, -1, 2**63, NOW_MS])
        return self.attempt(self.guest(), text, rng.choice(signatures), timestamp_ms=at_ms)


@asynccontextmanager
async def besieged(folder: Path, seed: int) -> AsyncIterator[tuple[Forger, Admission]]:
    """Two events, guests of every kind with tickets for both, some of them inside already."""
    guests: list[Any] = [EvmWallet(f"guest {i}") for i in range(8)]
    guests += [SolanaWallet("g"), BitcoinWallet("g"), HiveWallet("alice"), MoneroWallet("g")]
    async with door(folder, wallets=guests, resolver=hive) as api:
        make_event(api.store, api.backend.contexts, "other", NOW_MS)
        mint(api.store, api.backend.contexts["ETH"], "other", [w.address for w in guests], NOW_MS)
        event.listen(api.store.engine, "connect", _unsynchronised)
        api.store.engine.dispose()
        admission = Admission(api.backend)
        forger = Forger(api, guests, guests[:3], random.Random(seed))
        for wallet in forger.inside:
            text = forger.message(wallet).render()
            decision = await admission.join(forger.attempt(wallet, text, wallet.sign_message(text)))
            assert decision.granted
            forger.spent.append((wallet, text))
        yield forger, admission


def _unsynchronised(connection: Any, _record: Any) -> None:
    """Nothing here dies with its machine: the disk need not be waited for."""
    connection.execute("PRAGMA synchronous=OFF")


async def attack(forger: Forger, admission: Admission, count: int) -> Counter[str]:
    """Make ``count`` attempts; none is granted."""
    reasons: Counter[str] = Counter()
    for done in range(0, count, AT_ONCE):
        made = [forger.make() for _ in range(min(AT_ONCE, count - done))]
        tried = [admission.join if forger.rng.random() < 0.4 else admission.ask for _ in made]
        answers = await asyncio.gather(*(go(a) for go, (_, a) in zip(tried, made, strict=True)))
        for (name, attempt), decision in zip(made, answers, strict=True):
            assert not decision.granted, (name, attempt)
            assert decision.session is None
            reasons[decision.reason] += 1
        forger.api.clock.advance(EVERY / 1000 * AT_ONCE / count)
    return reasons


async def fuzz(folder: Path, count: int, seed: int) -> Counter[str]:
    async with besieged(folder, seed) as (forger, admission):
        inside = len(forger.inside)
        reasons = await attack(forger, admission, count)
        for table in (entries, session_table, attendance):
            assert len(rows(forger.api, table)) == inside
        # The door was not simply shut: who has the right still comes in.
        wallet = forger.guests[-1]
        text = forger.message(wallet).render()
        assert (await admission.join(forger.attempt(wallet, text, wallet.sign_message(text)))).granted
    return reasons


WANTED = {"bad_signature", "replayed", "expired", "future", "event", "domain", "unknown_nonce", "wallet"}
WANTED |= {"malformed", "no_ticket", "classic_refused"}


@pytest.mark.parametrize("part", range(PARTS))
async def test_none_of_a_hundred_thousand_attempts_without_a_right_is_granted(part: int, tmp_path: Path) -> None:
    reasons = await fuzz(tmp_path, PART, part)
    assert reasons.total() == PART
    assert set(reasons) >= WANTED


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_a, **_k: answer


HOLES: dict[str, tuple[Any, str, Any]] = {
    "a text serves twice": (nonces, "consume", _always(True)),
    "a text never ends": (AccessMessage, "check_time", _always(AccessReason.OK)),
    "any text of the right shape is ours": (challenges, "ours", _always(AccessReason.OK)),
    "any text is for this event, wallet and domain": (AccessMessage, "check", _always(AccessReason.OK)),
    "any signature counts": (signatures, "verify", lambda address, **_: Verification(Reason.OK, address=address)),
    "classic texts count for ever": (Admission, "_classic_is_over", _always(False)),
    "tickets of everybody count": (Admission, "_reason", _always(("granted", None))),
}
"""Holes as a careless change could make them; each lets in some of the attempts."""


@pytest.mark.parametrize("hole", HOLES)
async def test_a_hole_in_the_door_is_found(hole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with besieged(tmp_path, 3) as (forger, admission):
        monkeypatch.setattr(*HOLES[hole])
        with pytest.raises(AssertionError, match=r"Attempt\("):
            await attack(forger, admission, 2_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_none_of_a_million_attempts_without_a_right_is_granted(tmp_path: Path) -> None:
    assert (await fuzz(tmp_path, 1_000_000, PARTS)).total() == 1_000_000
