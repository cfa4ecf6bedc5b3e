"""A simulated bitcoind, with an Esplora face beside it: real raw blocks and transactions over a ``FakeChain``.

Serialisation is python-bitcoinlib's, so that the adapter's own reader is held against another one.
Signatures are filler: nobody here checks them.  ``faults.omit`` knows ``ready`` (error -28, warm-up) and
``blocks`` (the node is pruned: old blocks cannot be read).
"""

import hashlib
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from chainwatch.adapters.rawblock import read_tx
from chainwatch.adapters.scripts import is_data, prefixes, to_address, to_script, witness_script
from chainwatch.adapters.utxo import format_of
from chainwatch.clock import Clock
from chainwatch.devnet.node import Method, Payment, RpcFault, SimNode
from chainwatch.devnet.rawbitcoin import Builder, RawTx
from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx

Outpoint = tuple[str, int]

OUT_OF_RANGE, NOT_FOUND, IN_WARMUP, MISC = -8, -5, -28, -1
FEE = 1_000
"""Satoshi that a payment of the till's costs."""
FEE_RATE = 2_000_000
"""Satoshi a thousand virtual bytes that buyers' payments cost, unless ``fee_rates`` says otherwise."""
FINAL_LAG = 1
"""Blocks below the head under a ChainLock (Dash)."""


def make(
    spec: ChainSpec,
    *,
    clock: Clock,
    rng: random.Random,
    journal: Path | None = None,
    block_ms: int | None = None,  # noqa: ARG001 (whoever mines decides how often)
) -> "BitcoinNode":
    """Build the simulated node of a chain of this family."""
    return BitcoinNode(spec, clock=clock, rng=rng, journal=journal)


class BitcoinNode(SimNode):
    """One simulated full node and indexer."""

    def __init__(self, spec: ChainSpec, *, clock: Clock, rng: random.Random, journal: Path | None = None) -> None:
        self._now = clock.now_ms
        self._prefixes = prefixes(spec.params, spec.options, spec.chain_id)
        self._form = format_of(spec)
        self._builder = Builder(self._form)
        self._txs: dict[str, RawTx] = {}
        self._blocks: dict[str, bytes] = {}
        self.fee_rates: dict[str, int] = {}
        """What single transactions pay: satoshi a thousand virtual bytes by transaction id."""
        chain = FakeChain(
            spec.code,
            clock=clock,
            rng=rng,
            block_ms=spec.block_time_ms,
            final_lag=FINAL_LAG,
            hash_block=self._hash_block,
            journal=journal,
        )
        super().__init__(spec, clock=clock, rng=rng, chain=chain)
        for block in chain.best:  # those that a journal brought back
            self._restore(block)
        self.till = self.new_wallet()

    # -- what SimNode asks for -------------------------------------------------------------------

    def methods(self) -> Mapping[str, Method]:
        """Return the calls that chainwatch makes, and what people try first at a prompt."""
        return {
            "getbestblockhash": lambda: self._head().ref.hash,
            "getblockcount": lambda: self._head().ref.height,
            "getblockhash": self._getblockhash,
            "getblockheader": self._getblockheader,
            "getblock": self._getblock,
            "getblockchaininfo": self._getblockchaininfo,
            "getnetworkinfo": lambda: {"version": 290000, "subversion": "/Simulated:29.0.0/", "warnings": []},
            "getmempoolentry": self._getmempoolentry,
            "getrawmempool": lambda _verbose=False: list(self.chain.mempool),
            "getrawtransaction": self._getrawtransaction,
            "getbestchainlock": self._getbestchainlock,
            "scantxoutset": self._scantxoutset,
            "uptime": lambda: self.clock.now_ms() // 1000,
        }

    def config(self) -> dict[str, Any]:
        """Return the section that makes chainwatch follow this node."""
        return {
            "adapter": self.spec.adapter,
            "endpoints": [self.url + ("/api" if self.spec.adapter == "esplora" else "")],
            "chain_id": self.chain.best[0].ref.hash,
            "receive": [self.till],
        }

    def new_wallet(self) -> str:
        """Return a fresh address: native segwit where the chain has it."""
        digest = self.rng.randbytes(20)
        script = witness_script(0, digest) if self._prefixes.hrp else b"\x76\xa9\x14" + digest + b"\x88\xac"
        address = to_address(script, self._prefixes)
        assert address is not None
        return address

    def pay(self, payment: Payment) -> str:
        """Put a payment into the mempool."""
        return self.pay_many([payment])

    def pay_many(self, payments: Sequence[Payment], *, instead_of: str | None = None) -> str:
        """Put one transaction with several payments into the mempool; the first memo is its OP_RETURN.

        ``instead_of`` replaces a transaction of the mempool: both spend the same coin (BIP-125).
        """
        nonce = self.rng.getrandbits(48)
        if instead_of is not None:
            nonce = self.chain.mempool.pop(instead_of).nonce
        # What the till pays comes from coins that it holds: their outpoints stand where others have a sender.
        spent = self._coins(sum(p.amount for p in payments)) if payments[0].sender == self.till else ""
        transfers = tuple(
            FakeTransfer(spent, p.to, p.amount, memo=p.memo.encode() if p.memo is not None else None) for p in payments
        )
        if spent and (change := self._held(spent) - sum(p.amount for p in payments) - FEE) > 0:
            transfers = (*transfers, FakeTransfer(spent, self.till, change))
        raw = self._build(transfers, nonce)
        self._txs[raw.txid] = raw
        return self.chain.submit(FakeTx(raw.txid, transfers, nonce))

    def routes(self, app: web.Application) -> None:
        """Add the Esplora face under ``/api``."""
        app.router.add_get("/api/blocks/tip/hash", self._tip_hash)
        app.router.add_get("/api/block-height/{height}", self._hash_at)
        app.router.add_get("/api/block/{hash}", self._esplora_block)
        app.router.add_get("/api/block/{hash}/raw", self._esplora_raw)
        app.router.add_get("/api/block/{hash}/header", self._esplora_header)
        app.router.add_get("/api/address/{address}/txs/mempool", self._esplora_mempool)

    # -- building --------------------------------------------------------------------------------

    def _unspent(self, scripts: Collection[bytes], txs: Sequence[FakeTx]) -> dict[Outpoint, int]:
        """Return which outputs of these transactions to these scripts none of them spends, with their amounts."""
        read = [(tx.txid, read_tx(self._txs[tx.txid].data, self._form)) for tx in txs]
        spent = {outpoint for _, tx in read for outpoint in tx.inputs}
        return {
            (txid, n): amount
            for txid, tx in read
            for n, (amount, script) in enumerate(tx.outputs)
            if script in scripts and (txid, n) not in spent
        }

    def _coins(self, amount: int) -> str:
        """Return outpoints of the till's that hold ``amount`` and a fee, by spaces."""
        txs = [tx for block in self.chain.best for tx in block.txs] + list(self.chain.mempool.values())
        chosen: list[Outpoint] = []
        held = 0
        for outpoint, coins in self._unspent({to_script(self.till, self._prefixes)}, txs).items():
            if held >= amount + FEE:
                break
            chosen, held = [*chosen, outpoint], held + coins
        if held < amount + FEE:
            raise ValueError("the till does not hold so much")
        return " ".join(f"{txid}:{n}" for txid, n in chosen)

    def _held(self, outpoints: str) -> int:
        """Return what outpoints hold."""
        places = (o.partition(":") for o in outpoints.split())
        return sum(read_tx(self._txs[txid].data, self._form).outputs[int(vout)][0] for txid, _, vout in places)

    def _build(self, transfers: Sequence[FakeTransfer], nonce: int) -> RawTx:
        spent = [(o.partition(":")[0], int(o.partition(":")[2])) for o in transfers[0].sender.split()]
        if spent:
            paid = [(t.amount, to_script(t.to, self._prefixes)) for t in transfers]
            return self._builder.payment(nonce, paid, next((t.memo for t in transfers if t.memo), None), spent)
        change = witness_script(0, hashlib.sha256(b"%d" % nonce).digest()[:20])
        outputs = [(nonce % 10**6 + 10_000, change)]
        outputs += [(t.amount, to_script(t.to, self._prefixes)) for t in transfers]
        memo = next((t.memo for t in transfers if t.memo is not None), None)
        return self._builder.payment(nonce, outputs, memo)

    def _hash_block(self, height: int, parent: str, txids: Sequence[str], salt: int) -> str:
        """Make the block's bytes: ``FakeChain`` calls this with every block that it mines."""
        before = self.chain.by_hash[parent].time_ms + 1 if height else 0
        seconds = max(self._now(), before) // 1000
        return self._keep(height, parent, txids, seconds, salt)

    def _keep(self, height: int, parent: str, txids: Sequence[str], seconds: int, salt: int) -> str:
        block_hash, raw = self._builder.block(height, parent, [self._txs[t] for t in txids], seconds, salt)
        self._blocks[block_hash] = raw
        return block_hash

    def _restore(self, block: FakeBlock) -> None:
        """Make the bytes of a block from the journal again; its header's second may be the one before its time's."""
        if block.ref.hash in self._blocks:
            return
        for tx in block.txs:
            self._txs[tx.txid] = self._build(tx.transfers, tx.nonce)
        ref, second = block.ref, block.time_ms // 1000
        txids = [tx.txid for tx in block.txs]
        made = [self._keep(ref.height, ref.parent, txids, s, block.salt) for s in (second, second - 1)]
        if ref.hash not in made:
            raise ValueError(f"the journal's block {ref.height} is not one of this chain")

    # -- JSON-RPC --------------------------------------------------------------------------------

    def _head(self) -> FakeBlock:
        if "ready" in self.faults.omit:
            raise RpcFault(IN_WARMUP, "Loading block index…")
        block = self.chain.at(self.visible_head())
        assert block is not None
        return block

    def _visible(self, block_hash: str) -> FakeBlock:
        block = self.chain.by_hash.get(block_hash)
        if block is None:
            raise RpcFault(NOT_FOUND, "Block not found")
        return block

    def _getblockhash(self, height: int) -> str:
        block = self.chain.at(height) if height <= self._head().ref.height else None
        if block is None:
            raise RpcFault(OUT_OF_RANGE, "Block height out of range")
        if height == 0 and self.faults.wrong_chain:
            return hashlib.sha256(b"another network").hexdigest()
        return block.ref.hash

    def _getblockheader(self, block_hash: str, verbose: bool = True) -> Any:
        block = self._visible(block_hash)
        raw = self._blocks[block_hash]
        if not verbose:
            return raw[:80].hex()
        answer = {
            "hash": block.ref.hash,
            "height": block.ref.height,
            "confirmations": self._confirmations(block),
            "time": int.from_bytes(raw[68:72], "little"),
            "merkleroot": raw[67:35:-1].hex(),
            "nTx": len(block.txs) + 1,
        }
        if block.ref.height:
            answer["previousblockhash"] = block.ref.parent
        if self.spec.params.get("chainlocks"):
            # Only a block of the best chain: a lock is the word of a quorum about one block, not about a height.
            best = self.chain.at(block.ref.height)
            answer["chainlock"] = block.ref.same(best.ref if best else None) and (
                block.ref.height <= self.chain.final.ref.height
            )
        return answer

    def _getblock(self, block_hash: str, verbosity: int = 1) -> Any:
        block = self._visible(block_hash)
        if "blocks" in self.faults.omit:
            raise RpcFault(MISC, "Block not available (pruned data)")
        if int(verbosity) == 0:
            return self._blocks[block_hash].hex()
        txs = [t.txid if int(verbosity) == 1 else self._describe(t) for t in block.txs]
        return {**self._getblockheader(block_hash), "tx": txs}

    def _getrawtransaction(self, txid: str, verbose: int = 0, _block_hash: str | None = None) -> Any:
        block = self.chain.find(txid)
        if block is None and txid not in self.chain.mempool:
            raise RpcFault(NOT_FOUND, "No such mempool or blockchain transaction")
        if not verbose:
            return self._txs[txid].data.hex()
        found = next((t for t in block.txs if t.txid == txid), None) if block else self.chain.mempool[txid]
        assert found is not None
        where = {"blockhash": block.ref.hash, "confirmations": self._confirmations(block)} if block else {}
        return {**self._describe(found), **where}

    def _size_and_fee(self, txid: str) -> tuple[int, int]:
        """Return virtual bytes (nothing here has a witness) and the fee in satoshi."""
        size = len(self._txs[txid].data)
        return size, -(-self.fee_rates.get(txid, FEE_RATE) * size // 1000)

    def _getmempoolentry(self, txid: str) -> Any:
        if txid not in self.chain.mempool:
            raise RpcFault(-5, "Transaction not in mempool")
        size, fee = self._size_and_fee(txid)
        coins = _coins_text(fee)
        return {"vsize": size, "ancestorsize": size, "fees": {"base": coins, "ancestor": coins}}

    def _getblockchaininfo(self) -> Any:
        head = self._head().ref
        return {
            "chain": "regtest",
            "blocks": head.height,
            "headers": head.height,
            "bestblockhash": head.hash,
            "initialblockdownload": False,
            "pruned": "blocks" in self.faults.omit,
            "warnings": [],
        }

    def _getbestchainlock(self) -> Any:
        ref = self.chain.final.ref
        return {"blockhash": ref.hash, "height": ref.height, "signature": "00" * 96, "known_block": True}

    def _scantxoutset(self, action: str, wanted: Sequence[Any] = ()) -> Any:
        """Search the unspent outputs of the best chain for ``addr(…)`` and ``raw(…)``; a scan is over at once.

        Rewards are not found: they go to a miner whom nobody asks about.
        """
        if action in ("status", "abort"):
            return None if action == "status" else False
        if action != "start":
            raise RpcFault(OUT_OF_RANGE, f"Invalid action '{action}'")
        if not wanted:
            raise RpcFault(MISC, "scanobjects argument is required for the start action")
        scripts = {self._script_of(w["desc"] if isinstance(w, dict) else str(w)) for w in wanted}
        head = self._head()
        blocks = [block for block in self.chain.best if block.ref.height <= head.ref.height]
        homes = {tx.txid: block for block in blocks for tx in block.txs}
        found = self._unspent(scripts, [tx for block in blocks for tx in block.txs])
        return {
            "success": True,
            "txouts": sum(1 for block in blocks for tx in block.txs for _, s in self._outputs(tx) if not is_data(s)),
            "height": head.ref.height,
            "bestblock": head.ref.hash,
            "unspents": [self._coin(outpoint, amount, homes[outpoint[0]]) for outpoint, amount in found.items()],
            "total_amount": _coins_text(sum(found.values())),
        }

    def _script_of(self, descriptor: str) -> bytes:
        kind, _, rest = descriptor.partition("#")[0].partition("(")
        try:
            if kind == "addr":
                return to_script(rest.removesuffix(")"), self._prefixes)
            if kind == "raw":
                return bytes.fromhex(rest.removesuffix(")"))
        except (Misconfigured, ValueError) as error:
            raise RpcFault(NOT_FOUND, "Address is not valid" if kind == "addr" else "Raw script is not hex") from error
        raise RpcFault(NOT_FOUND, f"'{descriptor}' is not a valid descriptor function")

    def _coin(self, outpoint: Outpoint, amount: int, block: FakeBlock) -> dict[str, Any]:
        from embit.descriptor.checksum import add_checksum

        txid, n = outpoint
        script = read_tx(self._txs[txid].data, self._form).outputs[n][1]
        address = to_address(script, self._prefixes)
        return {
            "txid": txid,
            "vout": n,
            "scriptPubKey": script.hex(),
            "desc": add_checksum(f"addr({address})" if address else f"raw({script.hex()})"),
            "amount": _coins_text(amount),
            "coinbase": False,
            "height": block.ref.height,
            "blockhash": block.ref.hash,
            "confirmations": self._confirmations(block),
        }

    def _confirmations(self, block: FakeBlock) -> int:
        ref = self.chain.at(block.ref.height)
        return self._head().ref.height - block.ref.height + 1 if ref is not None and ref.ref.same(block.ref) else -1

    def _outputs(self, tx: FakeTx) -> tuple[tuple[int, bytes], ...]:
        return read_tx(self._txs[tx.txid].data, self._form).outputs

    def _describe(self, tx: FakeTx) -> dict[str, Any]:
        vin = [{"txid": t, "vout": n} for t, n in read_tx(self._txs[tx.txid].data, self._form).inputs]
        vout = [
            {
                "value": _coins_text(amount),
                "n": n,
                "scriptPubKey": {"hex": script.hex(), "address": to_address(script, self._prefixes)},
            }
            for n, (amount, script) in enumerate(self._outputs(tx))
        ]
        return {"txid": tx.txid, "vin": vin, "vout": vout, "hex": self._txs[tx.txid].data.hex()}

    # -- Esplora ---------------------------------------------------------------------------------

    async def _tip_hash(self, _request: web.Request) -> web.Response:
        return self._text(lambda: self._head().ref.hash)

    async def _hash_at(self, request: web.Request) -> web.Response:
        return self._text(lambda: self._getblockhash(int(request.match_info["height"])))

    async def _esplora_header(self, request: web.Request) -> web.Response:
        return self._text(lambda: self._getblockheader(request.match_info["hash"], False))

    async def _esplora_raw(self, request: web.Request) -> web.Response:
        raw = self._blocks.get(request.match_info["hash"])
        if raw is None:
            return web.Response(status=404, text="Block not found")
        return web.Response(body=raw, content_type="application/octet-stream")

    async def _esplora_block(self, request: web.Request) -> web.Response:
        try:
            header = self._getblockheader(request.match_info["hash"])
        except RpcFault as fault:
            return web.Response(status=404, text=str(fault))
        body = {
            "id": header["hash"],
            "height": header["height"],
            "timestamp": header["time"],
            "previousblockhash": header.get("previousblockhash"),
            "tx_count": header["nTx"],
        }
        return self._json(body)

    async def _esplora_mempool(self, request: web.Request) -> web.Response:
        try:
            script = to_script(request.match_info["address"], self._prefixes)
        except Misconfigured:
            return web.Response(status=400, text="Invalid Bitcoin address")
        found = [t for t in self.chain.mempool.values() if any(s == script for _, s in self._outputs(t))]
        return self._json([self._esplora_tx(t) for t in found])

    def _esplora_tx(self, tx: FakeTx) -> dict[str, Any]:
        described = self._describe(tx)
        vout = [
            {
                "scriptpubkey": script.hex(),
                "scriptpubkey_type": "op_return" if is_data(script) else "other",
                "scriptpubkey_address": to_address(script, self._prefixes),
                "value": amount,
            }
            for amount, script in self._outputs(tx)
        ]
        size, fee = self._size_and_fee(tx.txid)
        head = {"txid": tx.txid, "fee": fee, "weight": size * 4, "status": {"confirmed": False}}
        return {**head, "vin": described["vin"], "vout": vout}

    def _json(self, body: Any) -> web.Response:
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    def _text(self, answer: Callable[[], str]) -> web.Response:
        try:
            return web.Response(body=answer().encode(), content_type="text/plain")
        except RpcFault as fault:
            return web.Response(status=503 if fault.code == IN_WARMUP else 404, text=str(fault))


def _coins_text(base_units: int) -> msgspec.Raw:
    """Return an amount as bitcoind writes it: coins with eight decimals, as a number."""
    return msgspec.Raw(f"{base_units // 10**8}.{base_units % 10**8:08}".encode())
