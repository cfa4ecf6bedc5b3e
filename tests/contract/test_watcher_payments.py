"""What becomes of every odd payment, from a node's answer to the ledger: one ticket, or a reason.

The real watcher over the real adapters, over HTTP on simulated nodes, into a ledger on disk.
"""

from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from chainwatch.devnet.node import Payment
from chainwatch.ledger import rescan
from chainwatch.ledger.tables import transfers
from chainwatch.testing.followed import Followed, followed

pytestmark = pytest.mark.network


# -- amounts -------------------------------------------------------------------------------------


async def test_one_unit_too_few_waits_for_it_and_one_too_many_is_owed_back(chain: Followed) -> None:
    """btcpayserver/btcpayserver#52, #6721 (short by cents), #6127 (overpaid, not credited), #6378 (tolerance)."""
    buyer = chain.node.new_wallet()
    short, over = chain.pay(chain.price - 1, wallet=buyer), chain.pay(chain.price + 1)
    await chain.arrive()
    assert chain.shown(short) == "confirmed"
    assert chain.shown(over) == "minted"
    assert chain.owed() == [("surplus", 1, "overpaid")]
    assert len(chain.tickets()) == 1
    rest = chain.pay(1, wallet=buyer)
    await chain.arrive()
    assert chain.shown(short) == chain.shown(rest) == "minted"
    assert len(chain.tickets()) == 2
    assert chain.owed() == [("surplus", 1, "overpaid")]


async def test_the_smallest_amount_buys_nothing_and_is_not_lost(chain: Followed) -> None:
    """btcpayserver/btcpayserver#6378: an invoice must not settle for next to nothing."""
    txid = chain.pay(1)
    await chain.arrive()
    assert chain.shown(txid) == "confirmed"
    assert chain.payments()[txid].amount == 1
    assert chain.tickets() == []


async def test_nothing_paid_is_nothing_owed(chain: Followed) -> None:
    """lnbits/lnbits#349: success shown without any payment.  Zero-value look-alikes are address poisoning."""
    txid = chain.pay(0)
    await chain.arrive()
    assert chain.tickets() == []
    assert chain.owed() == []
    assert chain.shown(txid) in ("", "confirmed")


async def test_the_largest_number_of_the_chain_is_counted_exactly(eth: Followed) -> None:
    """A float would lose the last unit: 2**256 - 1 has 78 digits."""
    huge = 2**256 - 1
    txid = eth.pay(huge)
    await eth.arrive()
    assert eth.shown(txid) == "minted"
    assert eth.payments()[txid].amount == huge
    assert eth.owed() == [("surplus", huge - eth.price, "overpaid")]


async def test_the_largest_token_amount_is_counted_exactly(eth: Followed) -> None:
    huge = 2**256 - 1
    txid = eth.pay(huge, asset_id=eth.spec.assets[1].asset_id)
    await eth.arrive()
    assert eth.payments()[txid].amount == huge
    assert eth.owed() == [("refund", huge, "wrong_asset")]


async def test_the_largest_hive_amount_is_counted_exactly(hive: Followed) -> None:
    huge = 2**63 - 1
    txid = hive.pay(huge)
    await hive.arrive()
    assert hive.payments()[txid].amount == huge
    assert hive.owed() == [("surplus", huge - hive.price, "overpaid")]


async def test_a_failed_transaction_pays_nothing_whatever_its_value(eth: Followed) -> None:
    """bitcart's fail-open and go-ethereum's receipts: the value of a reverted transaction never moved."""
    txid = eth.pay(ok=False)
    await eth.arrive()
    assert eth.shown(txid) == "failed"
    assert eth.tickets() == []
    assert eth.owed() == []
    assert eth.status().payments == {"failed": 1}


async def test_a_failed_recurrent_transfer_pays_nothing(hive: Followed) -> None:
    hive.pay(kind="recurrent", ok=False)
    await hive.arrive()
    assert hive.tickets() == []
    assert hive.owed() == []


# -- memos ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wallet", ["dlux-io", "alice.smith", "a-b.c-d", "dlux-io.alice"])
async def test_a_hive_name_is_never_cut_at_its_dash_or_dot(hive: Followed, wallet: str) -> None:
    """The classic `\\w+` mints the ticket of dlux-io for an account called dlux."""
    hive.pay(wallet=wallet)
    await hive.arrive()
    assert hive.tickets() == [wallet]


@pytest.mark.parametrize(
    ("memo", "shown", "reason"),
    [
        ("event:gala:wallet:alice event:gala:wallet:bobby", "review", "ambiguous"),
        ("event:nowhere:wallet:alice", "refund_due", "unknown_event"),
        ("event:gala:wallet:al", "review", "bad_wallet"),
        ("event:gala:wallet:Alice", "review", "bad_wallet"),
        ("event:gala:wallet:alicе", "review", "bad_wallet"),  # the last letter is Cyrillic
        ("event:gala:wallet:", "review", "bad_wallet"),
        ("event:gala:wall", "review", "no_memo"),
        ("event:٣:wallet:alice", "review", "no_memo"),  # an Arabic three is no event
        ("cw:00000000", "review", "unknown_ref"),
        ("event:gala:wallet:alice:ref:00000000", "review", "unknown_ref"),
        ("event:gala:wallet:alice:seat", "review", "bad_pairs"),
        ("hello", "review", "no_memo"),
        ("", "review", "no_memo"),
        ("x" * 2048, "review", "no_memo"),
        ("\x00\x01\x7f", "review", "no_memo"),
    ],
)
async def test_a_memo_that_cannot_be_followed_gets_its_reason_and_no_ticket(
    chain: Followed, memo: str, shown: str, reason: str
) -> None:
    """alf-io/alf.io#531: money whose reservation cannot be found must be on somebody's list."""
    txid = chain.pay(memo=memo)
    await chain.arrive()
    seen = chain.payments()[txid]
    assert (seen.shown, seen.reason) == (shown, reason)
    assert chain.tickets() == []
    assert chain.owed() == ([("refund", chain.price, "unknown_event")] if shown == "refund_due" else [])
    assert chain.status().review_open == (shown == "review")


async def test_an_encrypted_memo_without_its_key_is_for_a_person(hive: Followed) -> None:
    txid = hive.pay(memo="#" + "2PvWz7dSUQ" * 14)
    await hive.arrive()
    seen = hive.payments()[txid]
    assert (seen.shown, seen.reason) == ("review", "memo_unreadable")
    assert hive.tickets() == []


def flipped(wallet: str) -> str:
    """Return an EVM address with the case of one letter wrong: its EIP-55 checksum fails."""
    at = next(i for i in range(2, 42) if wallet[i].isalpha())
    return wallet[:at] + wallet[at].swapcase() + wallet[at + 1 :]


async def test_a_wrong_checksum_is_forgiven_to_the_payer_and_to_nobody_else(eth: Followed) -> None:
    """EIP-55: one wrong letter is a typing error; the money's own sender says what was meant."""
    payer, stranger = eth.node.new_wallet(), eth.node.new_wallet()
    own = eth.pay(memo=f"event:gala:wallet:{flipped(payer)}", sender=payer)
    other = eth.pay(memo=f"event:gala:wallet:{flipped(stranger)}", sender=payer)
    await eth.arrive()
    assert eth.shown(own) == "minted"
    assert eth.tickets() == [payer]
    assert (eth.payments()[other].shown, eth.payments()[other].reason) == ("review", "bad_checksum")


async def test_a_wallet_in_any_case_is_one_wallet(eth: Followed) -> None:
    """golemfactory/yagna#2765: one buyer, two spellings, still one purchase."""
    buyer = eth.node.new_wallet()
    eth.pay(eth.price // 2, wallet=buyer)
    eth.pay(eth.price // 2, wallet=buyer.lower())
    await eth.arrive()
    assert eth.tickets() == [buyer]
    assert eth.owed() == []


async def test_paying_twice_for_one_wallet_is_one_ticket_and_one_surplus(chain: Followed) -> None:
    """pretix/pretix#92: the second payment of an order is money that goes back."""
    buyer = chain.node.new_wallet()
    chain.pay(wallet=buyer)
    chain.pay(wallet=buyer)
    await chain.arrive()
    assert chain.tickets() == [buyer]
    assert chain.owed() == [("surplus", chain.price, "duplicate")]


async def test_two_payments_in_one_hive_transaction_are_two(hive: Followed) -> None:
    """btcpayserver/NBXplorer#382: a payment is (transaction, operation), not a transaction."""
    pays = [Payment(hive.spec.receive[0], hive.price, memo=f"event:gala:wallet:{name}") for name in ("alice", "bobby")]
    hive.node.pay_many(pays)  # type: ignore[attr-defined]
    await hive.arrive()
    assert hive.tickets() == ["alice", "bobby"]


# -- reorgs --------------------------------------------------------------------------------------


async def test_a_payment_that_a_reorg_drops_leaves_no_trace_but_its_history(chain: Followed) -> None:
    """btcpayserver/NBXplorer#409: no event in a reorg; here it is orphaned and mints nothing."""
    txid = chain.pay()
    chain.mine()
    await chain.settle()
    assert chain.shown(txid) == "confirming"
    chain.node.chain.reorg(1, drop=[txid])
    await chain.settle()
    assert chain.shown(txid) == "orphaned"
    assert chain.payments()[txid].height is None
    chain.mine()
    await chain.arrive()
    assert chain.shown(txid) == "orphaned"
    assert chain.tickets() == []
    assert chain.owed() == []
    assert chain.status().payments == {"orphaned": 1}
    assert len(chain.reports.reorgs) == 1


async def test_a_payment_that_a_reorg_moves_is_minted_once_where_it_ended(chain: Followed) -> None:
    """cowprotocol/services#2069, bcoin-org/bcoin#499: the same transaction in two blocks of two branches."""
    txid = chain.pay()
    chain.mine()
    await chain.settle()
    first = chain.payments()[txid].height
    chain.node.chain.reorg(1, shift=1)
    await chain.settle()
    await chain.arrive()
    seen = chain.payments()[txid]
    assert first is not None
    assert seen.height == first + 1
    assert seen.shown == "minted"
    assert len(chain.payments()) == 1
    assert len(chain.tickets()) == 1


async def test_reorgs_in_a_row_end_at_the_last_branch(eth: Followed) -> None:
    """blockscout/blockscout#2645: from branch to branch, of the same length too, with a crash in the middle."""
    kept, dropped = eth.pay(), eth.pay()
    eth.mine(2)
    await eth.settle()
    for depth, extra, shift in ((2, 1, 0), (3, 0, 1), (2, 0, 0), (2, 1, 0)):
        eth.clock.advance(1)
        eth.node.chain.reorg(depth, extra=extra, shift=shift)
        await eth.settle()
        assert eth.shown(kept) == eth.shown(dropped) == "confirming"
        await eth.restart(killed=True)
    eth.node.chain.reorg(3, drop=[dropped])
    await eth.settle()
    assert eth.reports.reorgs == [("ETH", 2), ("ETH", 3), ("ETH", 2), ("ETH", 2), ("ETH", 3)]
    await eth.arrive()
    assert eth.shown(kept) == "minted"
    assert eth.shown(dropped) == "orphaned"
    assert len(eth.tickets()) == 1


async def test_a_payment_that_comes_back_after_it_was_dropped_is_minted_once(chain: Followed) -> None:
    """btcpayserver/NBXplorer#421: gone is not for ever; the payer's wallet broadcasts it again."""
    txid = chain.pay()
    tx = chain.node.chain.mempool[txid]
    chain.mine()
    await chain.settle()
    chain.node.chain.reorg(1, drop=[txid])
    await chain.settle()
    assert chain.shown(txid) == "orphaned"
    chain.node.chain.submit(tx)
    await chain.arrive()
    assert chain.shown(txid) == "minted"
    assert len(chain.tickets()) == 1


# -- the mempool ---------------------------------------------------------------------------------


async def test_a_payment_is_seen_before_its_block_and_forgotten_when_it_is_evicted(tmp_path: Path) -> None:
    """btcpayserver/NBXplorer#211, PR#447: a replaced payment must not stay "seen", a seen one never mints."""
    async with followed("ETH", tmp_path, pending=True) as scene:
        comes, goes = scene.pay(), scene.pay()
        await scene.settle()
        assert scene.shown(comes) == scene.shown(goes) == "seen"
        assert scene.tickets() == []
        assert scene.status().payments == {"seen": 2}
        scene.node.chain.drop(goes)
        await scene.settle()
        assert scene.shown(goes) == "orphaned"
        await scene.arrive()
        assert scene.shown(comes) == "minted"
        assert scene.shown(goes) == "orphaned"
        assert len(scene.tickets()) == 1


# -- scanning again ------------------------------------------------------------------------------


async def test_a_backfill_beside_the_tip_finds_what_was_paid_before_and_counts_nothing_twice(
    chain: Followed,
) -> None:
    """bitcart's catch-up cap and NBXplorer's "no back-scan": an operator can always read a range again."""
    await chain.watcher.stop()
    chain.watcher = chain.new_watcher()
    known = chain.pay()
    missed = chain.pay()
    methods = {"HIVE": "block_api.get_block_range", "ETH": "eth_getBlockByNumber"}
    chain.mine()
    hidden = chain.node.chain.head

    def without(answer: object, params: object) -> object:
        """A node that leaves one whole transaction out, consistently: what no check can see."""
        for block in answer["blocks"] if isinstance(answer, dict) and "blocks" in answer else [answer]:
            at = [i for i, tx in enumerate(hidden.txs) if tx.txid == missed]
            if block and hidden.ref.hash in (block.get("block_id"), block.get("hash")):
                for name in ("transactions", "transaction_ids"):
                    if name in block and len(block[name]) == len(hidden.txs):
                        del block[name][at[0]]
        return answer

    chain.twists[0][methods[chain.code]] = without
    chain.twists[0]["eth_getBlockTransactionCountByHash"] = lambda count, params: (
        hex(len(hidden.txs) - 1) if params[0] == hidden.ref.hash else count
    )
    await chain.watcher.source.open()
    chain.finalize()
    await chain.settle()
    assert chain.shown(known) == "minted"
    assert chain.shown(missed) == ""
    chain.twists[0].clear()
    cursor = chain.cursor()
    assert cursor is not None
    for _ in range(2):
        with chain.store.transaction() as connection:
            rescan.queue(connection, chain.code, 1, cursor.height, chain.clock.now_ms())
        chain.pay()
        chain.mine()
        chain.finalize()
        await chain.settle()
        with chain.store.reading() as connection:
            assert rescan.next_job(connection, chain.code) is None
    assert chain.shown(missed) == "minted"
    assert len(chain.tickets()) == 4
    assert chain.status().payments == {"minted": 4}
    chain.check()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_backfill_in_pieces_holds_every_blocks_time_against_its_parents(eth: Followed, number: int) -> None:
    """Wherever a piece ends: a time that its maker set back by an hour must not put a payment before its time."""
    source = cast(Any, eth.watcher.source)
    source._chain.watched.clear()  # so that it is all missed
    start = eth.node.chain.head.ref.height + 1
    sent = []
    for _ in range(5):
        sent.append(eth.pay())
        eth.mine()

    def set_back(block: Any, _: Any) -> Any:
        if block is not None and block["number"] == hex(start + number):
            block["timestamp"] = hex(int(block["timestamp"], 16) - 3600)
        return block

    eth.twists[0]["eth_getBlockByNumber"] = set_back
    eth.mine(40)
    await eth.settle()
    source.watch(eth.spec.receive)
    source.span = 2
    with eth.store.transaction() as connection:
        rescan.queue(connection, "ETH", start, start + 4, eth.clock.now_ms())
    await eth.settle()
    parent = eth.node.chain.at(start + number - 1)
    assert parent is not None
    with eth.store.reading() as connection:
        paid = {r.txid: r.paid_ms for r in connection.execute(select(transfers.c.txid, transfers.c.paid_ms))}
    assert len(paid) == 5
    assert paid[sent[number]] == parent.time_ms // 1000 * 1000


async def test_a_backfill_of_blocks_that_are_not_read_yet_waits_for_nothing_and_mints_nothing(chain: Followed) -> None:
    """Only what the loop has linked to its chain is read again: a range beyond the cursor ends the job at it."""
    with chain.store.transaction() as connection:
        rescan.queue(connection, chain.code, 10_000, 20_000, chain.clock.now_ms())
    txid = chain.pay()
    await chain.arrive()
    with chain.store.reading() as connection:
        assert rescan.next_job(connection, chain.code) is None
    assert chain.shown(txid) == "minted"
    assert len(chain.tickets()) == 1
