"""May this wallet come in?  Asked by ``verify-access``, done by ``join``.

    shape -> the text (ours, for this event and wallet, in time) -> the signature, in a worker thread or by the chain
    -> one transaction: nonce unused and used up, ticket, times, the entry guard, audit row, attendance -> the answer

``ask`` consumes neither nonce nor entry; it writes only its audit row.  A text whose signature is valid is used up by
a ``join`` whatever the answer; one whose signature is not stays good.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select
from sqlalchemy.dialects import postgresql, sqlite

from chainwatch.access import attempts, challenges, holders, nonces, policy, sessions, signatures
from chainwatch.access import deps as door
from chainwatch.access.attempts import Attempts
from chainwatch.access.challenges import Candidate
from chainwatch.access.deps import Deps
from chainwatch.access.message import AccessReason
from chainwatch.access.sessions import Session
from chainwatch.access.signatures import Signature
from chainwatch.errors import ChainwatchError
from chainwatch.ledger import outbox
from chainwatch.ledger.entries import admit
from chainwatch.ledger.tables import challenge_wallets
from chainwatch.wallets import canonical_wallet

log = logging.getLogger(__name__)

GRANTED = "granted"
TOGETHER = 64
"""Questions that one transaction answers at most."""
LIMITED_S = 1.0
"""Seconds for which attempts over the rate limit are counted before they are written down: a flood is a row."""
MAX_OVER = 256
"""Events whose refused attempts are counted apart; those of further names are counted together."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came in.  ``message``: the signed text; without it ``timestamp_ms`` says which (challenge or classic)."""

    event: str
    wallet: str
    signature: Signature | None = None
    message: str | None = None
    timestamp_ms: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """The answer.  ``reason``: ``granted``, or why not.  ``ticket_id``: the ticket's uuid, for a proved wallet only."""

    granted: bool
    reason: str
    checked_ms: int
    ticket_id: str | None = None
    session: Session | None = None
    classic: bool = False


class Proved(msgspec.Struct, frozen=True):
    """A text with its valid signature.  ``key``: what is used up; ``contract_chain``: whose contract signed, if one."""

    wallet: str
    key: str
    entry_nonce: str
    until_ms: int
    classic: bool
    scheme: str
    contract_chain: str | None = None


Kept = Callable[[Connection, Decision, Session], None]
"""Told of a guest who comes in, in the same transaction."""


class Admission:
    """The door of every event."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._attempts = Attempts()
        self._asked: list[tuple[Attempt, Proved | str, asyncio.Future[Decision]]] = []
        self._answering: asyncio.Task[None] | None = None
        self._over: Counter[tuple[str, str]] = Counter()
        self._writing: asyncio.Task[None] | None = None

    # -- the two ways in -----------------------------------------------------------------------------

    async def ask(self, attempt: Attempt) -> Decision:
        """Would it be let in?  Changes nothing but the audit log."""
        proved = await self._prove(attempt, consume=False)
        decision = await self._together(attempt, proved)
        self._deps.metrics.access("granted" if decision.granted else "denied", decision.reason)
        return decision

    async def join(self, attempt: Attempt, kept: Kept | None = None) -> Decision:
        """Let it in, or not: the text is used up, the entry counted, a session begun.

        ``kept`` is told of a session in the transaction that begins it.
        """
        proved = await self._prove(attempt, consume=True)
        decision = await self._deps.store.write_often(self._enter, attempt, proved, kept)
        self._deps.metrics.access("granted" if decision.granted else "denied", decision.reason)
        if decision.classic:
            self._deps.metrics.classic("granted" if decision.granted else "denied")
        return decision

    def limited(self, event: str, action: str) -> None:
        """Count an attempt that the rate limit refused; they are written down together, a second later."""
        event = event[:64]
        if (event, action) not in self._over and len(self._over) >= MAX_OVER:
            event = ""
        self._over[event, action] += 1
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_limited())

    async def _write_limited(self) -> None:
        await self._deps.clock.sleep(LIMITED_S)
        counted, self._over = self._over, Counter()

        def body(connection: Connection) -> None:
            now_ms = self._deps.now_ms()
            for (event, action), times in counted.items():
                entry = attempts.Entry("limit", action, event, "rate_limited", False, {})
                self._attempts.deny(connection, now_ms, entry, times)

        try:
            await self._deps.store.write_together(body)
        except ChainwatchError as error:
            log.warning("%s attempts over the limit were not written down: %s", sum(counted.values()), error)
        self._deps.metrics.access("denied", "rate_limited", sum(counted.values()))

    # -- text and signature --------------------------------------------------------------------------

    async def _prove(self, attempt: Attempt, *, consume: bool) -> Proved | str:
        """The wallet's proof, or the reason why there is none."""
        wallet = canonical_wallet(attempt.wallet)
        if wallet is None:
            return "bad_wallet"
        if not attempt.signature or (attempt.message is None and attempt.timestamp_ms is None):
            return "challenge_required"
        found = self._texts(attempt, consume=consume)
        if isinstance(found, str):
            return found
        refusals = []
        chains = self._chains_of(attempt.event, wallet)
        for candidate in found:
            answer = await self._signed(attempt, candidate, wallet, chains)
            if isinstance(answer, Proved):
                return answer
            refusals.append(answer)
        return min(refusals, key=lambda r: _TELLING.index(r) if r in _TELLING else len(_TELLING))

    def _texts(self, attempt: Attempt, *, consume: bool) -> list[Candidate] | str:
        """The texts that may have been signed.  Classic ones only where something is consumed."""
        deps = self._deps
        classic = consume and deps.settings.access.classic_messages
        now_ms = deps.now_ms()
        found: list[Candidate] | Candidate | AccessReason
        if attempt.message is not None:
            found = challenges.recognise(
                deps,
                attempt.message,
                event=attempt.event,
                address=attempt.wallet,
                timestamp_ms=attempt.timestamp_ms,
                classic=classic,
                now_ms=now_ms,
            )
        else:
            found = challenges.candidates(
                deps,
                event=attempt.event,
                address=attempt.wallet,
                timestamp_ms=attempt.timestamp_ms or 0,
                classic=classic,
                now_ms=now_ms,
            )
        if isinstance(found, AccessReason):
            return str(found)
        return [found] if isinstance(found, Candidate) else found

    async def _signed(
        self, attempt: Attempt, candidate: Candidate, wallet: str, contract_chains: signatures.Chains
    ) -> Proved | str:
        message, reading = candidate.message, candidate.reading
        evm = reading.wallet.family == "evm"
        assert attempt.signature is not None
        answer = await signatures.verified(
            self._deps,
            wallet=reading.wallet,
            chain=reading.chain,
            text=message.render(),
            signature=attempt.signature,
            chain_id=reading.wallet.network if evm and not message.is_classic else None,
            contract_chains=contract_chains,
        )
        if not answer:
            return signatures.refusal(answer)
        contract = evm and answer.method not in (None, "ecdsa")
        return Proved(
            wallet=wallet,
            key=message.replay_key(reading.chain, reading.wallet.canonical),
            entry_nonce=message.nonce or f"classic:{message.issued_ms}",
            until_ms=message.usable_until_ms(door.text_policy(self._deps, classic=True)),
            classic=message.is_classic,
            scheme=answer.scheme or "",
            contract_chain=door.chain_code(self._deps, reading.wallet.network) if contract else None,
        )

    def _chains_of(self, event: str, wallet: str) -> signatures.Chains:
        """The chains on which a contract wallet counts here: where its purchases were bound, or paid.

        Asked of the database when the first text needs it, once for all texts of an attempt.
        """
        known: list[set[str]] = []

        async def ask() -> set[str]:
            if not known:
                known.append(await self._deps.store.read(self._read_chains, event, wallet))
            return known[0]

        return ask

    def _read_chains(self, connection: Connection, event: str, wallet: str) -> set[str]:
        known = [e.id for e in holders.events_named(connection, {event}).values()]
        held = holders.tickets_of(connection, known, [wallet]).values()
        return policy.contract_chains([t for ts in held for t in ts], holders.chain_of_assets(self._deps))

    # -- asking --------------------------------------------------------------------------------------

    async def _together(self, attempt: Attempt, proved: Proved | str) -> Decision:
        """Many questions are answered in one transaction, which costs hardly more than one question alone."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Decision] = loop.create_future()
        self._asked.append((attempt, proved, done))
        if len(self._asked) == 1:
            self._answering = loop.create_task(self._answer_waiting())
        return await done

    async def _answer_waiting(self) -> None:
        while self._asked:
            group = self._asked[:TOGETHER]
            answers: Sequence[Decision | Exception]
            try:
                answers = await self._deps.store.write_often(self._answer, [(a, p) for a, p, _ in group])
            except Exception as error:  # the transaction failed: for each of them
                answers = [error] * len(group)
            del self._asked[: len(group)]
            for (_, _, done), decision in zip(group, answers, strict=True):
                if done.done():
                    continue  # whoever asked went away
                if isinstance(decision, Exception):
                    done.set_exception(decision)
                else:
                    done.set_result(decision)

    def _answer(self, connection: Connection, asked: Sequence[tuple[Attempt, Proved | str]]) -> list[Decision]:
        """Answer questions: three statements for all of them, and one for the audit rows of those that are granted."""
        now_ms = self._deps.now_ms()
        known = holders.events_named(connection, {a.event for a, _ in asked})
        proofs = [p for a, p in asked if isinstance(p, Proved) and a.event in known]
        used = nonces.used_of(connection, [p.key for p in proofs])
        held = holders.tickets_of(connection, [e.id for e in known.values()], {p.wallet for p in proofs})
        chains = holders.chain_of_assets(self._deps)
        decisions = []
        granted: list[attempts.Entry] = []
        denied: list[attempts.Entry] = []
        for attempt, proved in asked:
            event = known.get(attempt.event)
            reason, ticket = self._reason(proved, event, used, held, chains, now_ms)
            entry = self._entry(attempt, proved, reason, attempts.VERIFY, ticket)
            (granted if reason == GRANTED else denied).append(entry)
            uuid = None if ticket is None else ticket.uuid
            decisions.append(Decision(reason == GRANTED, str(reason), now_ms, uuid))
        attempts.grant(connection, now_ms, granted)
        self._attempts.deny_all(connection, now_ms, denied)
        return decisions

    def _reason(
        self,
        proved: Proved | str,
        event: Row[Any] | None,
        used: Collection[str],
        held: Mapping[tuple[int, str], Sequence[Row[Any]]],
        chains: dict[str, str],
        now_ms: int,
    ) -> tuple[str, Row[Any] | None]:
        """The answer to one question, and the ticket that it is about."""
        if event is None:
            return "unknown_event", None
        if isinstance(proved, str):
            return proved, None
        if proved.key in used:
            return AccessReason.REPLAYED, None
        tickets = policy.counting(held.get((event.id, proved.wallet), ()), proved.contract_chain, chains)
        whys = [policy.refusal(ticket, event, now_ms, self._early_ms) for ticket in tickets]
        for ticket, why in zip(tickets, whys, strict=True):
            if not why:
                return GRANTED, ticket
        return (whys[0], tickets[0]) if tickets else ("no_ticket", None)

    # -- entering ------------------------------------------------------------------------------------

    def _enter(
        self, connection: Connection, attempt: Attempt, proved: Proved | str, kept: Kept | None = None
    ) -> Decision:
        now_ms = self._deps.now_ms()
        deny = partial(self._deny, connection, attempt, now_ms=now_ms, proved=proved)
        event = holders.events_named(connection, {attempt.event}).get(attempt.event)
        if isinstance(proved, str) or event is None:
            return deny(proved if isinstance(proved, str) and event is not None else "unknown_event")
        if proved.classic and self._classic_is_over(connection, event, proved.wallet, now_ms):
            return deny(AccessReason.CLASSIC_REFUSED)
        if not nonces.consume(connection, proved.key, proved.until_ms):
            return deny(AccessReason.REPLAYED)
        if not proved.classic:
            _remember_challenge(connection, proved.wallet, now_ms)
        held = holders.tickets_of(connection, [event.id], [proved.wallet])
        tickets = policy.counting(
            held.get((event.id, proved.wallet), ()), proved.contract_chain, holders.chain_of_assets(self._deps)
        )
        reason = "no_ticket"
        for i, ticket in enumerate(tickets):
            # Who would be refused anyway is not put before the guard: a flood of joins is no flood of entries.
            why = policy.refusal(ticket, event, now_ms, self._early_ms)
            if not why:
                why = self._guard(connection, ticket, event, proved, now_ms)
            if not why:
                entry = self._entry(attempt, proved, GRANTED, attempts.JOIN, ticket)
                attempts.grant(connection, now_ms, [entry])
                session = sessions.begin(connection, self._deps, ticket, event, now_ms)
                self._tell(connection, "access.granted", event, ticket, GRANTED, now_ms)
                decision = Decision(True, GRANTED, now_ms, ticket.uuid, session, proved.classic)
                if kept is not None:
                    kept(connection, decision, session)
                return decision
            reason = why if i == 0 else reason
        return deny(reason, tickets=tickets, told=event)

    def _guard(self, connection: Connection, ticket: Row[Any], event: Row[Any], proved: Proved, now_ms: int) -> str:
        """The one entry guard, which QR codes pass too.  The empty text: they are in."""
        entry = admit(
            connection,
            ticket,
            event,
            method="wallet",
            device_id=None,
            gate="",
            nonce=proved.entry_nonce,
            at_ms=now_ms,
            now_ms=now_ms,
            early_ms=self._early_ms,
        )
        return "" if entry.admitted and entry.result == "accepted" else entry.result

    def _classic_is_over(self, connection: Connection, event: Row[Any], wallet: str, now_ms: int) -> bool:
        """Classic texts end at the event's sunset, and for ever for a wallet that has used a challenge."""
        if event.classic_until_ms is not None and now_ms >= event.classic_until_ms:
            return True
        known = select(challenge_wallets.c.wallet).where(challenge_wallets.c.wallet == wallet)
        return connection.execute(known).first() is not None

    # -- writing down --------------------------------------------------------------------------------

    @property
    def _early_ms(self) -> int:
        return self._deps.settings.access.early_minutes * 60_000

    def _deny(
        self,
        connection: Connection,
        attempt: Attempt,
        reason: str,
        now_ms: int,
        proved: Proved | str,
        tickets: Sequence[Row[Any]] = (),
        told: Row[Any] | None = None,
    ) -> Decision:
        ticket = tickets[0] if tickets else None
        new = self._attempts.deny(connection, now_ms, self._entry(attempt, proved, reason, attempts.JOIN, ticket))
        if told is not None and new:
            self._tell(connection, "access.denied", told, ticket, reason, now_ms)
        classic = isinstance(proved, Proved) and proved.classic
        return Decision(False, str(reason), now_ms, ticket.uuid if ticket is not None else None, None, classic)

    def _entry(
        self, attempt: Attempt, proved: Proved | str, reason: str, action: str, ticket: Row[Any] | None
    ) -> attempts.Entry:
        """A row for the audit log, under the wallet's alias: nothing in it needs erasing with the wallet."""
        wallet = proved.wallet if isinstance(proved, Proved) else canonical_wallet(attempt.wallet) or "none"
        more: dict[str, Any] = {}
        if isinstance(proved, Proved):
            more = {"scheme": proved.scheme, "classic": proved.classic}
        if ticket is not None:
            more["ticket"] = ticket.uuid
        alias = holders.alias(self._deps.issuer, wallet)
        return attempts.Entry(alias, action, attempt.event[:64], str(reason), reason == GRANTED, more)

    def _tell(
        self, connection: Connection, what: str, event: Row[Any], ticket: Row[Any] | None, reason: str, now_ms: int
    ) -> None:
        data: dict[str, Any] = {"event_id": holders.public_id(event), "reason": str(reason)}
        subject = f"event:{event.id}"
        if ticket is not None:
            data |= {"ticket_id": ticket.uuid, "number": ticket.number}
            subject = f"purchase:{ticket.purchase_id}"
        outbox.post(connection, now_ms, [outbox.Message(what, subject, data)])


_TELLING = ("unavailable", "contract_chain", "bad_signature", "unsupported_signature")
"""Of several refusals the one that tells most: ask again, use another chain, no."""


def _remember_challenge(connection: Connection, wallet: str, now_ms: int) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = insert(challenge_wallets).values(wallet=wallet, first_ms=now_ms)
    connection.execute(row.on_conflict_do_nothing())
