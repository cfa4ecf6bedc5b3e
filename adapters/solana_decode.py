"""Recorded Solana answers -> transfers: what ``chainwatch decode`` reads.  Pure."""

from collections.abc import Iterator, Sequence

from chainwatch.adapters.solana_tx import PROGRAMS, Table, read, transfers
from chainwatch.adapters.solana_wire import Item, read_document
from chainwatch.errors import Rejected
from chainwatch.model import BlockRef, ChainSpec, InBlock, Position, Transfer


def decode_documents(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read ``getTransaction`` and ``getBlock`` answers (json, jsonParsed, base64, base58) or bare transactions.

    Every movement of SOL and of tokens, whoever's; not fees and rewards.  A ``getBlock`` answer does not
    name its own slot: the one after its parent's is given.
    """
    table = Table(spec.code, spec.assets)
    try:
        for document in documents:
            for item in read_document(document):
                yield from _item(item, table)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Rejected("not_solana", f"not Solana chain data: {error}") from error


def _item(item: Item, table: Table) -> Iterator[Transfer]:
    if item.transaction is not None:
        view = item.view(PROGRAMS)
        yield from transfers(read(item, view), table, _where(item.slot, "", item.block_time))
    if not item.transactions:
        return
    slot = item.parent_slot + 1 if item.parent_slot is not None else None
    position = _where(slot, item.blockhash or "", item.block_time)
    for row in item.transactions:
        if row.calls(PROGRAMS) and (view := row.view(PROGRAMS)).steps:  # votes, most of every block, end here
            yield from transfers(read(row, view), table, position)


def _where(slot: int | None, blockhash: str, block_time: int | None) -> Position | None:
    return None if slot is None else InBlock(BlockRef(slot, blockhash), (block_time or 0) * 1000)
