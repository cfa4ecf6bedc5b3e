"""Our addresses and outputs on a chain of the Bitcoin family, and what transactions do with them.

An output pays us when its script is ours; a transaction takes from us when it spends an outpoint of ours.
"""

from collections.abc import Iterable, Mapping

import msgspec

from chainwatch.adapters.rawblock import Format, RawBlock, Tx, scan_block, wire_outpoint
from chainwatch.adapters.scripts import Prefixes, memo_of, prefixes, to_address, to_script
from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec, Position, Transfer, fee_of

TXID = 32
"""Bytes of an outpoint that name its transaction; four more say which output."""
SEARCHED = 100
"""Transactions that a block is searched for, whether it spends what it pays us: for more, it is scanned once more."""


class Watched:
    """Our addresses as scriptPubKeys, our outputs, and what a transaction pays us or takes from us."""

    def __init__(self, spec: ChainSpec, known: Prefixes) -> None:
        self.spec, self.prefixes = spec, known
        self.scripts: dict[bytes, str] = {}
        self.coins: dict[bytes, int] = {}
        """Outpoints of ours as on the wire, with their amounts.  One that was spent stays: a reorg may undo that."""

    def add(self, addresses: Iterable[str]) -> list[str]:
        """Watch addresses; return those that were new.  ``Misconfigured`` for one of another network."""
        new = []
        for address in addresses:
            script = to_script(address, self.prefixes)
            if script not in self.scripts:
                self.scripts[script] = address
                new.append(address)
        return new

    def hold(self, coins: Mapping[str, int]) -> None:
        """Watch outputs of ours (``txid:vout`` to amount) for their spending."""
        for outpoint, amount in coins.items():
            txid, _, vout = outpoint.partition(":")
            self.coins[wire_outpoint(txid, int(vout))] = amount

    def scan(self, body: bytes, form: Format) -> RawBlock:
        """Return a block's transactions that concern us: also those that spend what the same block pays us."""
        while True:
            raw = scan_block(body, self.scripts, form, self.coins)
            # By transaction, not by output: somebody may pay us thirty thousand outputs at once.
            new = {op[:TXID] for tx in raw.txs for op, _ in self._paid(tx) if op not in self.coins}
            for tx in raw.txs:
                self.coins.update(self._paid(tx))
            if not new or (len(new) <= SEARCHED and not any(txid in body for txid in new)):
                return raw

    def _paid(self, tx: Tx) -> list[tuple[bytes, int]]:
        return [
            (wire_outpoint(tx.txid, vout), amount)
            for vout, (amount, script) in enumerate(tx.outputs)
            if script in self.scripts and amount > 0
        ]

    def payments(self, tx: Tx, position: Position) -> list[Transfer]:
        """Return what a transaction pays us, and what of ours it pays to others.

        The memo belongs to the transaction: each of its payments carries it.  A block reward to us is
        ``locked`` (unspendable for 100 blocks): it is recorded, and never pays for anything by itself.  Where every
        input is ours, outputs to us are change (``internal``) and the others left us.  Where only some are, no output
        can be called ours: what we put in is one row (index ``in``), which settles nothing.
        """
        self.coins.update(self._paid(tx))
        held = {op: self.coins[op] for op in (wire_outpoint(*i) for i in tx.inputs) if op in self.coins}
        # Without inputs (Dash: money that its platform pays out) nothing is ours.
        ours, mixed = 0 < len(held) == len(tx.inputs), 0 < len(held) < len(tx.inputs)
        flags: tuple[str, ...] = ("locked",) if tx.coinbase else ()
        flags += ("internal",) if ours else ("mixed_inputs",) if mixed else ()
        spends = tuple(f"{txid}:{vout}" for txid, vout in tx.inputs if wire_outpoint(txid, vout) in held)
        memo = memo_of(s for _, s in tx.outputs)
        blank = Transfer(
            chain=self.spec.code,
            txid=tx.txid,
            index="",
            asset=self.spec.native.code,
            amount=0,
            to=None,
            memo=memo,
            position=position,
        )
        replace = msgspec.structs.replace
        found = []
        for vout, (amount, script) in enumerate(tx.outputs):
            if amount > 0 and script in self.scripts:
                found.append(replace(blank, index=str(vout), amount=amount, to=self.scripts[script], flags=flags))
            elif amount > 0 and ours:
                to = to_address(script, self.prefixes)
                out = replace(blank, index=str(vout), amount=amount, to=to, direction="out", spends=spends)
                found.append(out)
        if ours:
            fee = sum(held.values()) - sum(amount for amount, _ in tx.outputs)
            found.append(fee_of(self.spec.code, tx.txid, self.spec.native.code, fee, "", position, spends))
        elif mixed:
            put_in = replace(blank, index="in", amount=sum(held.values()), flags=("mixed_inputs",), spends=spends)
            found.append(replace(put_in, direction="out"))
        return found


def watched_of(spec: ChainSpec) -> Watched:
    """Build the watch list of a configured chain; ``Misconfigured`` for a wrong address or no genesis hash."""
    if len(spec.chain_id) != 64:
        raise Misconfigured(f"chain {spec.code}: chain_id must be the genesis block's hash")
    watched = Watched(spec, prefixes(spec.params, spec.options, spec.chain_id))
    watched.add(spec.receive)
    return watched
