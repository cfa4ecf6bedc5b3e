"""Hive: ``transfer`` operations, and the transaction around them that expires.

The signature covers the expiration, so once a final block is younger than it, the transaction can never be
included: only then may what it pays be exported again.  Source: ``protocol/transaction.hpp``,
``HIVE_MAX_TIME_UNTIL_EXPIRATION``; TaPoS names a block of the last 65,536.
"""

import datetime as dt

from chainwatch.errors import Rejected
from chainwatch.ledger.exports import Plan, Work
from chainwatch.model import BlockRef
from chainwatch.payfiles.options import Options, after_fee, payer
from chainwatch.units import format_units

LONGEST_MS = 60 * 60_000
"""An hour: what every version of the chain allows."""


def plan(work: Work, options: Options) -> Plan:
    """Return transfers from one account, each with its subject as memo.  Hive takes no fee."""
    if not 0 < options.expires_ms < LONGEST_MS:
        raise Rejected("bad_expiry", "a Hive transaction expires within an hour")
    sender = payer(work.spec, options)
    items = after_fee(work.items, options.network_fee or 0)
    operations = [
        [
            "transfer",
            {
                "from": sender,
                "to": item.destination,
                "amount": f"{_fixed(item.amount, work.asset.decimals)} {work.asset.code}",
                "memo": item.subject,
            },
        ]
        for item in items
    ]
    expires_s = (work.now_ms + options.expires_ms) // 1000
    number, prefix = tapos(work.final or work.head)
    transaction = {
        "ref_block_num": number,
        "ref_block_prefix": prefix,
        "expiration": dt.datetime.fromtimestamp(expires_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "operations": operations,
        "extensions": [],
    }
    document = {"chain_id": work.spec.chain_id, "operations": operations, "transaction": transaction}
    return Plan(items, document, f"expires:{expires_s * 1000}")


def tapos(block: BlockRef) -> tuple[int, int]:
    """Return ``ref_block_num`` and ``ref_block_prefix`` of a block (its id begins with its height)."""
    try:
        prefix = int.from_bytes(bytes.fromhex(block.hash)[4:8], "little")
    except ValueError as error:
        raise Rejected("no_block", f"block {block.height} has no Hive id") from error
    return block.height & 0xFFFF, prefix


def _fixed(amount: int, decimals: int) -> str:
    whole, _, fraction = format_units(amount, decimals).partition(".")
    return f"{whole}.{fraction.ljust(decimals, '0')}"
