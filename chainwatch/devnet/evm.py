"""A simulated EVM node: the real JSON-RPC names and shapes over a ``FakeChain``.

Kinds of ``Payment``: ``transfer`` (the coin, with its memo as call data; a token, with its memo behind the call's
arguments) and ``internal`` (the coin sent by a contract: seen only in traces).  A transaction of several
payments goes through a disperser contract: internal transfers for the coin, one log each for a token.

``Faults.omit`` knows: ``receipts`` (null), ``logs`` (searches find nothing), ``bloom`` (headers without one),
``finalized`` (no final block yet), ``transactions`` (blocks list all but their last transaction).
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainwatch.adapters import bloom
from chainwatch.adapters.evm_types import TRANSFER_TOPIC, ZERO_HASH, address_topic
from chainwatch.clock import Clock
from chainwatch.devnet.node import Method, Payment, RpcFault, SimNode
from chainwatch.model import ChainSpec
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx
from chainwatch.verifiers.addresses import eip55

FINAL_LAG = 3
"""Blocks that the ``finalized`` tag stands below the head: short, for a demo; ``safe`` stands in the middle."""
LOG_RANGE = 10_000
"""The widest block range of a log search, as public nodes have it."""
RENDERED = 256
"""Blocks kept in their RPC shape: what a follower near the tip asks for again; a day of blocks would fill memory."""
DISPERSER = "0xd15ea5ed15ea5ed15ea5ed15ea5ed15ea5ed15ea"
"""The contract that pays several receivers at once, and internally."""
GAS = "0x5208"
GAS_PRICE = "0x3b9aca00"

Json = dict[str, Any]


def make(
    spec: ChainSpec, *, clock: Clock, rng: random.Random, journal: Path | None = None, block_ms: int | None = None
) -> "EvmNode":
    """Build a node for the chain; without ``receive`` in the spec it makes up a receiving account."""

    def block_hash(height: int, parent: str, txids: Sequence[str], salt: int) -> str:
        return _hash("block", spec.code, height, parent, *txids, salt)

    chain = FakeChain(
        spec.code,
        clock=clock,
        rng=rng,
        block_ms=block_ms or spec.block_time_ms,
        final_lag=FINAL_LAG,
        hash_block=block_hash,
        journal=journal,
    )
    return EvmNode(spec, clock=clock, rng=rng, chain=chain)


class EvmNode(SimNode):
    """The JSON-RPC face of one chain."""

    def __init__(self, spec: ChainSpec, *, clock: Clock, rng: random.Random, chain: FakeChain) -> None:
        super().__init__(spec, clock=clock, rng=rng, chain=chain)
        # The same account after a restart: the journal's payments went to it.
        self.receive = spec.receive or (eip55(hashlib.sha256(f"receive {spec.code}".encode()).digest()[:20]),)
        self._rendered: dict[str, _Rendered] = {}

    def config(self) -> dict[str, Any]:
        """Return the ``[chains.<CODE>]`` section that makes chainwatch follow this node."""
        return {
            "adapter": "evm",
            "chain_id": int(self.spec.chain_id),
            "endpoints": [self.url],
            "receive": list(self.receive),
            "traces": True,
            "genesis": self.chain.best[0].ref.hash,
        }

    def new_wallet(self) -> str:
        """Return a fresh account in EIP-55 form."""
        return eip55(self.rng.randbytes(20))

    def pay(self, payment: Payment) -> str:
        """Put a payment into the mempool; return its transaction hash."""
        return self.pay_many([payment])

    def pay_many(self, payments: Sequence[Payment]) -> str:
        """Put one transaction of several payments (of one asset) into the mempool; return its hash."""
        sender = payments[0].sender or self.new_wallet()
        transfers = tuple(
            FakeTransfer(
                sender=sender,
                to=p.to,
                amount=p.amount,
                asset_id=p.asset_id,
                memo=None if p.memo is None else p.memo.encode(),
                ok=p.ok,
                kind=p.kind,
            )
            for p in payments
        )
        txid = _hash("tx", self.chain.head.ref.hash, self.rng.getrandbits(128))
        return self.chain.submit(FakeTx(txid, transfers, self._nonce(sender)))

    def _nonce(self, sender: str) -> int:
        """Return the next nonce of an account of the operator's; strangers send one transaction each."""
        if sender not in self.receive:
            return 0
        sent = (tx for block in self.chain.best for tx in block.txs)
        return sum(tx.transfers[0].sender == sender for tx in (*sent, *self.chain.mempool.values()))

    def methods(self) -> Mapping[str, Method]:
        """Return the RPC methods."""
        return {
            "eth_chainId": self._chain_id,
            "net_version": lambda: str(int(self._chain_id(), 16)),
            "web3_clientVersion": lambda: "chainwatch-devnet/evm",
            "eth_syncing": lambda: False,
            "eth_blockNumber": lambda: hex(self.visible_head()),
            "eth_gasPrice": lambda: GAS_PRICE,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": lambda digest, full=False: self._block(self._by_hash(digest), full),
            "eth_getBlockTransactionCountByHash": self._count,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getLogs": self._logs,
            "eth_getBalance": self._balance,
            "eth_getTransactionCount": lambda account, _tag="latest": hex(self._nonce(account)),
            "eth_getCode": lambda account, _tag="latest": "0x00" if account.lower() == DISPERSER else "0x",
            "eth_call": self._eth_call,
            "debug_traceBlockByHash": lambda digest, _options=None: self._trees(self._by_hash(digest)),
            "debug_traceBlockByNumber": lambda tag, _options=None: self._trees(self._by_tag(tag)),
            "trace_block": lambda tag: self._flat(self._by_tag(tag)),
        }

    # -- blocks ----------------------------------------------------------------------------------

    def _chain_id(self) -> str:
        return hex(int(self.spec.chain_id) + (1 if self.faults.wrong_chain else 0))

    def _by_tag(self, tag: str) -> FakeBlock | None:
        """Return the block of a tag or a hex number; None for one that does not exist (yet)."""
        head = self.visible_head()
        final = min(self.chain.final.ref.height, head)
        if tag in ("finalized", "safe") and "finalized" in self.faults.omit:
            raise RpcFault(-39001, f"{tag} block not found")
        named = {"latest": head, "earliest": 0, "finalized": final, "safe": (final + head) // 2}
        height = named[tag] if tag in named else _number(tag)
        return self.chain.at(height) if height <= head else None

    def _by_hash(self, digest: str) -> FakeBlock | None:
        block = self.chain.by_hash.get(digest.lower())
        return block if block is not None and block.ref.height <= self.visible_head() else None

    def _render(self, block: FakeBlock) -> "_Rendered":
        rendered = self._rendered.pop(block.ref.hash, None) or _Rendered(block, int(self.spec.chain_id))
        self._rendered[block.ref.hash] = rendered  # the newest last
        if len(self._rendered) > RENDERED:
            del self._rendered[next(iter(self._rendered))]
        return rendered

    def _block(self, block: FakeBlock | None, full: bool) -> Json | None:
        if block is None:
            return None
        rendered = self._render(block)
        txs = rendered.txs[:-1] if "transactions" in self.faults.omit else rendered.txs
        answer = {**rendered.header, "transactions": txs if full else [tx["hash"] for tx in txs]}
        if "bloom" in self.faults.omit:
            answer["logsBloom"] = None
        return answer

    def _block_by_number(self, tag: str, full: bool = False) -> Json | None:
        if tag != "pending":
            return self._block(self._by_tag(tag), full)
        head, waiting = self.chain.head.ref, self.chain.mempool.values()
        return {
            "number": hex(head.height + 1),
            "hash": None,
            "nonce": None,
            "logsBloom": None,
            "parentHash": head.hash,
            "timestamp": hex(self.clock.now_ms() // 1000),
            "transactions": [_render_tx(tx, None, i, int(self.spec.chain_id)) for i, tx in enumerate(waiting)],
        }

    def _count(self, digest: str) -> str | None:
        block = self._by_hash(digest)
        return None if block is None else hex(len(block.txs))

    # -- transactions ----------------------------------------------------------------------------

    def _find(self, txid: str) -> tuple[FakeBlock, int] | None:
        block = self.chain.find(txid.lower())
        if block is None or block.ref.height > self.visible_head():
            return None
        return block, next(i for i, tx in enumerate(block.txs) if tx.txid == txid.lower())

    def _transaction(self, txid: str) -> Json | None:
        found = self._find(txid)
        if found is not None:
            return self._render(found[0]).txs[found[1]]
        tx = self.chain.mempool.get(txid.lower())
        return None if tx is None else _render_tx(tx, None, 0, int(self.spec.chain_id))

    def _receipt(self, txid: str) -> Json | None:
        found = self._find(txid)
        if found is None or "receipts" in self.faults.omit:
            return None
        return self._render(found[0]).receipts[found[1]]

    def _block_receipts(self, which: str) -> list[Json] | None:
        block = self._by_hash(which) if len(which) == 66 else self._by_tag(which)
        return None if block is None or "receipts" in self.faults.omit else self._render(block).receipts

    def _logs(self, query: Json) -> list[Json]:
        if "blockHash" in query:
            block = self._by_hash(query["blockHash"])
            if block is None:
                raise RpcFault(-32000, "unknown block")
            blocks = [block]
        else:
            blocks = self._range(query.get("fromBlock", "latest"), query.get("toBlock", "latest"))
        if "logs" in self.faults.omit:
            return []
        return [log for b in blocks for r in self._render(b).receipts for log in r["logs"] if _matches(log, query)]

    def _range(self, first: str, last: str) -> list[FakeBlock]:
        low, high = self._by_tag(first), self._by_tag(last)
        if low is None or high is None or high.ref.height < low.ref.height:
            raise RpcFault(-32602, "invalid block range params")
        if high.ref.height - low.ref.height >= LOG_RANGE:
            raise RpcFault(-32005, f"query exceeds a range of {LOG_RANGE} blocks")
        return [b for h in range(low.ref.height, high.ref.height + 1) if (b := self.chain.at(h)) is not None]

    # -- traces ----------------------------------------------------------------------------------

    def _trees(self, block: FakeBlock | None) -> list[Json]:
        if block is None:
            raise RpcFault(-32000, "block not found")
        rendered = self._render(block)
        return [{"txHash": tx["hash"], "result": tree} for tx, tree in zip(rendered.txs, rendered.trees, strict=True)]

    def _flat(self, block: FakeBlock | None) -> list[Json] | None:
        return None if block is None else list(_flatten(self._render(block)))

    # -- state -----------------------------------------------------------------------------------

    def _balance(self, account: str, tag: str = "latest") -> str:
        return hex(max(self._moved(account, None, tag), 0))

    def _moved(self, account: str, contract: str | None, tag: str) -> int:
        """Return what the account received less what it sent and burned up to a block: it began with nothing."""
        last = self._by_tag("latest" if tag == "pending" else tag)
        if last is None:
            raise RpcFault(-32000, "header not found")
        total = 0
        for height in range(last.ref.height + 1):
            block = self.chain.at(height)
            for tx in block.txs if block else ():
                if contract is None and tx.transfers[0].sender.lower() == account.lower():
                    total -= int(GAS, 16) * int(GAS_PRICE, 16)
                for t in tx.transfers:
                    if t.ok and (t.asset_id or "").lower() == (contract or ""):
                        total += t.amount * ((t.to.lower() == account.lower()) - (t.sender.lower() == account.lower()))
        return total

    def _eth_call(self, call: Json, tag: str = "latest") -> str:
        contract, data = str(call.get("to", "")).lower(), str(call.get("data") or call.get("input") or "0x")
        token = self.spec.by_asset_id().get(contract)
        if token is None:
            return "0x"
        if data.startswith("0x313ce567"):  # decimals()
            return _word(token.decimals)
        if data.startswith("0x70a08231") and len(data) == 74:  # balanceOf(address)
            return _word(max(self._moved("0x" + data[34:], contract, tag), 0))
        raise RpcFault(3, "execution reverted", "0x")


# -- rendering -----------------------------------------------------------------------------------


class _Rendered:
    """A block in the shapes of the RPC: header, transactions, receipts, call trees."""

    def __init__(self, block: FakeBlock, chain_id: int) -> None:
        self.txs = [_render_tx(tx, block, i, chain_id) for i, tx in enumerate(block.txs)]
        self.trees = [_render_tree(tx) for tx in block.txs]
        self.receipts: list[Json] = []
        logs_before = 0
        for i, tx in enumerate(block.txs):
            self.receipts.append(_render_receipt(tx, self.txs[i], block, logs_before))
            logs_before += len(self.receipts[-1]["logs"])
        self.header = _render_header(block, [log for r in self.receipts for log in r["logs"]])


def _failed(tx: FakeTx) -> bool:
    return not all(t.ok for t in tx.transfers)


def _dispersed(tx: FakeTx) -> bool:
    return len(tx.transfers) != 1 or tx.transfers[0].kind == "internal"


def _render_tx(tx: FakeTx, block: FakeBlock | None, position: int, chain_id: int) -> Json:
    first = tx.transfers[0]
    memo = (first.memo or b"").hex()
    if _dispersed(tx):
        native = sum(t.amount for t in tx.transfers if t.asset_id is None)
        to, value, data = DISPERSER, native, "0xe63d38ed" + memo
    elif first.asset_id is None:
        to, value, data = first.to, first.amount, "0x" + memo
    else:
        data = "0xa9059cbb" + address_topic(first.to.lower())[2:] + _word(first.amount)[2:] + memo
        to, value = first.asset_id, 0
    return {
        "hash": tx.txid,
        "type": "0x2",
        "chainId": hex(chain_id),
        "nonce": hex(tx.nonce),
        "from": first.sender.lower(),
        "to": to.lower(),
        "value": hex(value),
        "input": data,
        "gas": GAS,
        "gasPrice": GAS_PRICE,
        "blockHash": block.ref.hash if block else None,
        "blockNumber": hex(block.ref.height) if block else None,
        "transactionIndex": hex(position) if block else None,
    }


def _render_receipt(tx: FakeTx, rendered: Json, block: FakeBlock, logs_before: int) -> Json:
    tokens = [t for t in tx.transfers if t.asset_id is not None] if not _failed(tx) else []
    logs = [
        {
            "address": (t.asset_id or "").lower(),
            "topics": [TRANSFER_TOPIC, address_topic(t.sender.lower()), address_topic(t.to.lower())],
            "data": _word(t.amount),
            "blockHash": block.ref.hash,
            "blockNumber": rendered["blockNumber"],
            "transactionHash": tx.txid,
            "transactionIndex": rendered["transactionIndex"],
            "logIndex": hex(logs_before + i),
            "removed": False,
        }
        for i, t in enumerate(tokens)
    ]
    return {
        "transactionHash": tx.txid,
        "transactionIndex": rendered["transactionIndex"],
        "blockHash": block.ref.hash,
        "blockNumber": rendered["blockNumber"],
        "from": rendered["from"],
        "to": rendered["to"],
        "contractAddress": None,
        "cumulativeGasUsed": GAS,
        "gasUsed": GAS,
        "effectiveGasPrice": GAS_PRICE,
        "logs": logs,
        "logsBloom": _bloom(logs),
        "status": "0x0" if _failed(tx) else "0x1",
        "type": "0x2",
    }


def _render_tree(tx: FakeTx) -> Json:
    """Return the transaction as ``callTracer`` shows it."""
    rendered = _render_tx(tx, None, 0, 0)
    top: Json = {
        "type": "CALL",
        "from": rendered["from"],
        "to": rendered["to"],
        "value": rendered["value"],
        "gas": GAS,
        "gasUsed": GAS,
        "input": rendered["input"],
    }
    if _dispersed(tx):
        top["calls"] = [
            {"type": "CALL", "from": DISPERSER, "to": t.to.lower(), "value": hex(t.amount), "gas": "0x8fc"}
            | {"gasUsed": "0x0", "input": "0x"}
            for t in tx.transfers
            if t.asset_id is None
        ]
    if _failed(tx):
        top["error"] = "execution reverted"
    return top


def _flatten(rendered: _Rendered) -> Iterator[Json]:
    """Yield the call trees of a block as ``trace_block`` shows them."""
    for position, (tx, top) in enumerate(zip(rendered.txs, rendered.trees, strict=True)):
        calls = top.get("calls", [])
        for path, call in [([], top), *(([i], c) for i, c in enumerate(calls))]:
            trace: Json = {
                "action": {
                    "callType": "call",
                    "from": call["from"],
                    "to": call["to"],
                    "value": call["value"],
                    "gas": call["gas"],
                    "input": call["input"],
                },
                "blockHash": tx["blockHash"],
                "blockNumber": int(tx["blockNumber"], 16),
                "result": {"gasUsed": call["gasUsed"], "output": "0x"},
                "subtraces": 0 if path else len(calls),
                "traceAddress": path,
                "transactionHash": tx["hash"],
                "transactionPosition": position,
                "type": "call",
            }
            yield trace | ({"error": "Reverted"} if "error" in call else {})


def _render_header(block: FakeBlock, logs: Sequence[Json]) -> Json:
    parent = block.ref.parent
    return {
        "number": hex(block.ref.height),
        "hash": block.ref.hash,
        "parentHash": parent if parent.startswith("0x") else ZERO_HASH,
        "timestamp": hex(block.time_ms // 1000),
        "nonce": "0x0000000000000000",
        "sha3Uncles": _hash("uncles"),
        "logsBloom": _bloom(logs),
        "transactionsRoot": _hash("transactions", *(tx.txid for tx in block.txs)),
        "stateRoot": _hash("state", block.ref.hash),
        "receiptsRoot": _hash("receipts", block.ref.hash),
        "miner": DISPERSER,
        "difficulty": "0x0",
        "extraData": "0x",
        "size": "0x220",
        "gasLimit": "0x1c9c380",
        "gasUsed": hex(int(GAS, 16) * len(block.txs)),
        "baseFeePerGas": "0x7",
        "uncles": [],
    }


def _bloom(logs: Sequence[Json]) -> str:
    return bloom.of(item for log in logs for item in (log["address"], *log["topics"]))


def _matches(log: Json, query: Json) -> bool:
    """Apply the address and topic filters of ``eth_getLogs``."""
    wanted = query.get("address")
    if wanted is not None and log["address"] not in [a.lower() for a in _listed(wanted)]:
        return False
    topics = query.get("topics") or []
    if len(topics) > len(log["topics"]):
        return False
    return all(
        want is None or have in [t.lower() for t in _listed(want)]
        for want, have in zip(topics, log["topics"], strict=False)
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _number(tag: str) -> int:
    if not tag.startswith("0x"):
        raise RpcFault(-32602, f"invalid block number {tag!r:.40}")
    return int(tag, 16)


def _word(number: int) -> str:
    return f"0x{number:064x}"


def _hash(*parts: object) -> str:
    """Return a hash that depends on every part (which one is of no matter to a client)."""
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()
