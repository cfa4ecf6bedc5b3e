"""What payment files and the audit ask of a chain, outside of following it: nonces, transactions, balances, proofs."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

import msgspec
from sqlalchemy import Connection, select

from chainwatch import adapters
from chainwatch.adapters.base import (
    AccountSource,
    Balances,
    BalanceSource,
    BlockSource,
    NonceSource,
    ProofSource,
    RawSource,
    Services,
)
from chainwatch.errors import Rejected
from chainwatch.ledger import audit_out, outbox
from chainwatch.ledger.tables import audit_log, cursors
from chainwatch.model import ChainSpec, Transfer

T = TypeVar("T")
Source = BlockSource | AccountSource

ACCEPTED = "balance_accepted"


class Holding(msgspec.Struct, frozen=True):
    """One asset: what the chain says, what came and left by our reading, and the difference that was accepted before.

    ``height``: where the chain was asked.  ``behind``: our reading has not come so far yet, so nothing is compared.
    """

    chain: str
    asset: str
    height: int
    on_chain: int
    known: int
    accepted: int
    behind: bool = False

    @property
    def difference(self) -> int:
        """What is unexplained: a fee-on-transfer token, an untraced internal transfer, an operation nobody parsed."""
        return 0 if self.behind else self.on_chain - self.known - self.accepted


async def ask(spec: ChainSpec, services: Services, watch: Iterable[str], body: Callable[[Source], Awaitable[T]]) -> T:
    """Open the chain's source, watch addresses, run ``body`` on it, close it."""
    source = adapters.open_source(spec, services)
    try:
        await source.open()
        source.watch(watch)
        return await body(source)
    finally:
        await source.close()


async def next_nonce(source: Source, account: str) -> int | None:
    """Return an account's next nonce; None on chains without."""
    return await cast(NonceSource, source).next_nonce(account) if hasattr(source, "next_nonce") else None


async def previous(source: Source, places: Mapping[str, str]) -> Mapping[str, bytes]:
    """Return whole transactions (id to bytes) of the blocks that ``places`` names."""
    return await cast(RawSource, source).raw_transactions(places) if hasattr(source, "raw_transactions") else {}


async def prove(source: Source, txid: str, tx_key: str, destinations: Sequence[str]) -> list[Transfer]:
    """Return what a transaction paid to those of ``destinations`` that its key opens; ``Rejected`` when none."""
    if not hasattr(source, "prove"):
        raise Rejected("no_proof", "only Monero has transaction keys")
    found = []
    for destination in dict.fromkeys(destinations):
        try:
            found.append(await cast(ProofSource, source).prove(txid, tx_key, destination))
        except Rejected:
            continue
    if not found:
        raise Rejected("no_proof", f"by this key {txid} paid nothing that is exported")
    return found


async def balances(source: Source, height: int) -> Balances | None:
    """Return what our addresses hold; None where the chain cannot be asked (a view-only Monero wallet)."""
    return await cast(BalanceSource, source).balances(height) if hasattr(source, "balances") else None


def compare(connection: Connection, spec: ChainSpec, told: Balances) -> list[Holding]:
    """Hold what the chain says against what came and left."""
    row = connection.execute(select(cursors.c.height).where(cursors.c.chain == spec.code)).one_or_none()
    scanned = -1 if row is None else int(row.height)
    known = audit_out.holdings(connection, spec.code, told.height)
    accepted = _accepted(connection, spec.code)
    return [
        Holding(
            chain=spec.code,
            asset=code,
            height=told.height,
            on_chain=told.amounts.get(code, 0),
            known=known.get(code, 0),
            accepted=accepted.get(code, 0),
            behind=scanned < told.height,
        )
        for code in sorted(told.amounts.keys() | (known.keys() & {a.code for a in spec.assets}))
    ]


def accept(connection: Connection, holdings: Iterable[Holding], now_ms: int, actor: str) -> None:
    """Take present differences as explained (what an account held before we followed it) from now on."""
    for h in holdings:
        if h.difference:
            detail = {"amount": str(h.accepted + h.difference), "height": h.height}
            outbox.audit(connection, now_ms, actor, ACCEPTED, f"balance:{h.chain}:{h.asset}", detail)


def accepted(holding: Holding) -> Holding:
    """Return a holding whose difference has just been accepted."""
    return msgspec.structs.replace(holding, accepted=holding.accepted + holding.difference)


def _accepted(connection: Connection, chain: str) -> dict[str, int]:
    rows = connection.execute(
        select(audit_log.c.subject, audit_log.c.detail)
        .where(audit_log.c.action == ACCEPTED, audit_log.c.subject.like(f"balance:{chain}:%"))
        .order_by(audit_log.c.id)
    )
    found = {}
    for subject, detail in rows:
        found[subject.removeprefix(f"balance:{chain}:")] = int(msgspec.json.decode(detail)["amount"])
    return found
