"""What an operator may say about a payment file, and what its families share."""

from collections.abc import Mapping

import msgspec

from chainwatch.errors import Rejected
from chainwatch.ledger.exports import Item
from chainwatch.model import ChainSpec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All families' options; each reads its own.

    ``account``: which of our receiving accounts pays (default: the first).  ``network_fee``: base units that one
    payment costs, in its own asset: taken off refunds that pay their own fee.
    EVM: ``nonce`` (the account's next), ``max_fee_per_gas`` and ``priority_fee_per_gas`` in wei, ``gas_limit`` of a
    token transfer, ``memo`` (write it into the call data of native payments too).
    Bitcoin: ``fee_rate`` in satoshi a thousand virtual bytes, ``inputs`` (outpoints; default: the largest), ``change``
    (default: the first receiving address), ``previous`` (raw transactions by id, for inputs without segwit).
    Hive: ``expires_ms`` after now.
    """

    account: str | None = None
    network_fee: int | None = None
    nonce: int | None = None
    max_fee_per_gas: int | None = None
    priority_fee_per_gas: int | None = None
    gas_limit: int = 100_000
    memo: bool = False
    fee_rate: int | None = None
    inputs: tuple[str, ...] = ()
    change: str | None = None
    previous: Mapping[str, bytes] = {}
    expires_ms: int = 55 * 60_000


def payer(spec: ChainSpec, options: Options) -> str:
    """Return the account of ours that pays; ``Rejected`` ``bad_account`` for one that is not ours."""
    if options.account is None:
        if not spec.receive:
            raise Rejected("bad_account", f"[chains.{spec.code}] has no receiving account: which one pays?")
        return spec.receive[0]
    known = {a.lower(): a for a in spec.receive} if spec.family == "evm" else {a: a for a in spec.receive}
    found = known.get(options.account.lower() if spec.family == "evm" else options.account)
    if found is None:
        raise Rejected("bad_account", f"{options.account[:120]!r} is none of the receiving accounts of {spec.code}")
    return found


def after_fee(items: tuple[Item, ...], fee: int | None, least: int = 0) -> tuple[Item, ...]:
    """Take ``fee`` off the items that pay their own, and leave out those of which no more than ``least`` is left.

    ``Rejected`` ``fee_needed`` when such an item is there and nobody said what a payment costs.
    """
    kept = []
    for item in items:
        if not item.pays_fee:
            kept.append(item)
            continue
        if fee is None:
            raise Rejected("fee_needed", f"{item.subject} pays its network fee: say what one payment costs")
        if item.amount - fee > least:
            kept.append(msgspec.structs.replace(item, amount=item.amount - fee, pays_fee=False))
    return tuple(kept)
