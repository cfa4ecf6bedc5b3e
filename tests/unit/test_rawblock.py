"""The block scanner against python-bitcoinlib's own writer and reader, and against bytes that are no blocks."""

import random
import struct
import time

import pytest
from bitcoin.core import CBlock, CTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.adapters.coins import SEARCHED, watched_of
from chainwatch.adapters.rawblock import Format, height_in_coinbase, read_block, read_header, read_tx, scan_block
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet.rawbitcoin import Builder, RawTx, merkle_root, sha256d
from chainwatch.errors import Rejected
from chainwatch.model import Unconfirmed

BTC, DOGE, DASH, LTC = (
    Format(),
    Format(segwit=False, aux_pow=True),
    Format(segwit=False, special=True),
    Format(mweb=True),
)
FORMS = {"BTC": BTC, "DOGE": DOGE, "DASH": DASH, "LTC": LTC}
OURS = b"\x00\x14" + b"\x07" * 20

# Bitcoin's block 0.
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3"
    "888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c0101000000010000000000000000000000000000000000000000000000000000"
    "000000000000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e2062"
    "72696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe554827"
    "1967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f"
    "ac00000000"
)


def a_block(form: Format, payments: int = 5, memo: bytes | None = None) -> tuple[bytes, list[RawTx]]:
    builder = Builder(form)
    outputs = [(1000, b"\x51"), (2000, OURS), (3000, OURS)]
    txs = [builder.payment(n, outputs if n % 2 else outputs[:1], memo) for n in range(payments)]
    _, raw = builder.block(100, "ab" * 32, txs, 1_760_000_000, 77)
    return raw, txs


def test_the_genesis_block_reads_as_published() -> None:
    block = read_block(GENESIS, BTC)
    assert block.header.id == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert block.header.time == 1231006505
    (tx,) = block.txs
    assert tx.txid == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert tx.coinbase
    assert [a for a, _ in tx.outputs] == [50 * 10**8]
    assert height_in_coinbase(GENESIS, block.header, BTC) is None


@pytest.mark.parametrize("name", FORMS)
def test_a_block_of_each_chain_is_read_as_it_was_written(name: str) -> None:
    form = FORMS[name]
    raw, txs = a_block(form, memo=b"event:1:wallet:alice")
    block = read_block(raw, form)
    assert [t.txid for t in block.txs[1:]] == [t.txid for t in txs]
    assert block.txs[0].coinbase
    assert not any(t.coinbase for t in block.txs[1:])
    assert height_in_coinbase(raw, block.header, form) == 100
    assert block.header.parent == "ab" * 32
    found = scan_block(raw, {OURS: "us"}, form)
    assert [t.txid for t in found.txs] == [t.txid for i, t in enumerate(txs) if i % 2]
    assert found.count == 6
    assert [o for o in found.txs[0].outputs if o[1] == OURS] == [(2000, OURS), (3000, OURS)]


def test_scanner_and_library_agree_on_every_output() -> None:
    raw, _ = a_block(BTC, 300)
    theirs = CBlock.deserialize(raw)
    ours = read_block(raw, BTC)
    assert [t.GetTxid()[::-1].hex() for t in theirs.vtx] == [t.txid for t in ours.txs]
    assert [[(o.nValue, bytes(o.scriptPubKey)) for o in t.vout] for t in theirs.vtx] == [
        list(t.outputs) for t in ours.txs
    ]
    assert [[(i.prevout.hash[::-1].hex(), i.prevout.n) for i in t.vin] for t in theirs.vtx] == [
        list(t.inputs) for t in ours.txs
    ]


def test_a_block_that_pays_nobody_of_us_makes_no_objects() -> None:
    raw, _ = a_block(BTC)
    assert scan_block(raw, {b"other": ""}, BTC).txs == ()


def test_large_counts_and_long_scripts_are_read() -> None:
    """Sizes of 253 and more stand in three bytes."""
    long_script = b"\x6a\x4d\x00\x02" + b"m" * 512
    tx = CTransaction.deserialize(
        Builder(BTC).payment(1, [(n, OURS) for n in range(300)] + [(0, long_script)], None).data
    )
    raw = tx.serialize()
    ours = read_tx(raw, BTC)
    assert len(ours.outputs) == 301
    assert ours.outputs[-1] == (0, long_script)
    assert ours.txid == tx.GetTxid()[::-1].hex()


# -- nothing false is accepted ---------------------------------------------------------------------


def test_a_payment_slipped_into_an_honest_header_is_refused() -> None:
    raw, txs = a_block(BTC)
    forged = raw.replace((2000).to_bytes(8, "little"), (2_000_000).to_bytes(8, "little"), 1)
    with pytest.raises(Rejected) as caught:
        scan_block(forged, {OURS: ""}, BTC)
    assert caught.value.code == "merkle_root"
    added = raw[:80] + b"\x07" + raw[81:] + txs[1].data
    with pytest.raises(Rejected):
        scan_block(added, {OURS: ""}, BTC)


@pytest.mark.parametrize("name", FORMS)
def test_a_payment_hidden_in_an_honest_block_is_noticed(name: str) -> None:
    """Nothing in such a block is ours any more: believed, the payment would be missed for ever."""
    form = FORMS[name]
    raw, _ = a_block(form)
    with pytest.raises(Rejected) as caught:
        scan_block(raw.replace(OURS, OURS[:-1] + b"\x08"), {OURS: ""}, form)
    assert caught.value.code == "merkle_root"


def test_a_payment_left_out_of_an_honest_block_is_noticed() -> None:
    raw, txs = a_block(BTC, 2)
    assert (raw[80], len(scan_block(raw, {OURS: ""}, BTC).txs)) == (3, 1)
    with pytest.raises(Rejected) as caught:
        scan_block(raw[:80] + b"\x02" + raw[81 : -len(txs[1].data)], {OURS: ""}, BTC)
    assert caught.value.code == "merkle_root"


def test_a_transaction_listed_twice_is_refused_though_the_root_is_the_same() -> None:
    """CVE-2012-2459: an odd last transaction and its copy have the same merkle root."""
    builder = Builder(BTC)
    txs = [builder.payment(n, [(5, OURS)], None) for n in range(2)]
    _, raw = builder.block(7, "00" * 32, txs, 1, 1)
    twice = raw[:80] + b"\x04" + raw[81:] + txs[-1].data
    ids = [bytes.fromhex(t.txid)[::-1] for t in read_block(raw, BTC).txs]
    assert merkle_root(ids) == merkle_root([*ids, ids[-1]])
    with pytest.raises(Rejected, match="twice"):
        scan_block(twice, {OURS: ""}, BTC)


@pytest.mark.parametrize("name", FORMS)
def test_every_cut_of_a_block_is_refused(name: str) -> None:
    form = FORMS[name]
    raw, _ = a_block(form, 2)
    for cut in range(len(raw)):
        with pytest.raises(Rejected):
            scan_block(raw[:cut], {OURS: ""}, form)
    for extra in (b"\0", b"\1" + bytes(50)):
        if form is LTC:
            continue
        with pytest.raises(Rejected):
            scan_block(raw + extra, {OURS: ""}, form)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(list(FORMS)))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes, name: str) -> None:
    for read in (read_tx, read_block, lambda d, f: scan_block(d, {}, f), lambda d, f: read_header(d)):
        try:
            read(data, FORMS[name])
        except Rejected:
            continue


def test_mutated_blocks_never_raise_anything_else() -> None:
    rng = random.Random(11)
    for name, form in FORMS.items():
        raw, _ = a_block(form, 3, b"memo")
        for _ in range(2000):
            mutated = bytearray(raw)
            for _ in range(rng.randrange(1, 4)):
                mutated[rng.randrange(len(mutated))] = rng.choice((0, 1, 0xFD, 0xFE, 0xFF, rng.randrange(256)))
            try:
                scan_block(bytes(mutated), {OURS: ""}, form)
            except Rejected:
                continue
        assert name


def test_counts_beyond_the_data_end_at_once() -> None:
    for marker in (b"\xfe\xff\xff\xff\xff", b"\xff" * 9):
        with pytest.raises(Rejected):
            scan_block(GENESIS[:80] + marker + GENESIS[81:], {}, BTC)


# -- the relatives -----------------------------------------------------------------------------------


def test_a_version_bit_is_merged_mining_only_where_the_chain_has_it() -> None:
    raw, _ = a_block(DOGE)
    assert read_header(raw).version & 0x100
    with pytest.raises(Rejected):
        read_block(raw, BTC)
    plain = bytearray(a_block(BTC)[0])
    plain[1] |= 1
    assert len(read_block(bytes(plain), BTC).txs) == 6


def _litecoin_block(*, own_data: bool = False) -> bytes:
    """A block whose last transaction integrates the extension block (HogEx, LIP-3), and that block behind it."""
    builder = Builder(BTC)
    _, raw = builder.block(9, "00" * 32, [], 1, 1)
    coinbase = raw[81:]
    body = b"\x01" + bytes(32) + b"\0\0\0\0" + b"\0" + b"\xff" * 4
    outputs = (
        b"\x02"
        + (77).to_bytes(8, "little")
        + b"\x22\x58\x20"
        + bytes(32)
        + (4242).to_bytes(8, "little")
        + b"\x16"
        + OURS
    )
    version, lock = b"\x02\0\0\0", b"\0\0\0\0"
    hogex = version + b"\0\x08" + body + outputs + (b"\1" if own_data else b"\0") + lock
    txid = sha256d(version + body + outputs + lock)
    root = merkle_root([bytes.fromhex(read_tx(coinbase, BTC).txid)[::-1], txid])
    return raw[:36] + root + raw[68:80] + b"\x02" + coinbase + hogex + b"\x01" + b"extension block"


def test_coins_pegged_out_of_an_extension_block_are_seen() -> None:
    (tx,) = scan_block(_litecoin_block(), {OURS: ""}, LTC).txs
    assert (4242, OURS) in tx.outputs
    assert tx.txid == read_block(_litecoin_block(), LTC).txs[1].txid
    with pytest.raises(Rejected):
        scan_block(_litecoin_block(), {OURS: ""}, BTC)


def test_a_transaction_with_extension_data_of_its_own_is_refused_by_name() -> None:
    with pytest.raises(Rejected) as caught:
        scan_block(_litecoin_block(own_data=True), {OURS: ""}, LTC)
    assert caught.value.code == "mweb"


def test_a_dash_commitment_without_inputs_and_outputs_is_no_segwit_marker() -> None:
    """Dash puts quorum commitments (type 6) into blocks: zero inputs, zero outputs, a payload."""
    commitment = struct.pack("<HH", 3, 6) + b"\0\0" + bytes(4) + b"\x05hello"
    tx = read_tx(commitment, DASH)
    assert tx.outputs == ()
    assert tx.txid == sha256d(commitment)[::-1].hex()
    with pytest.raises(Rejected):
        read_tx(commitment, BTC)


@pytest.mark.parametrize("name", FORMS)
def test_zero_bytes_are_no_transaction(name: str) -> None:
    """Version 0, no inputs, no outputs, no lock time: no chain has such a one, and any file of zeros would be it."""
    for size in range(1, 30):
        with pytest.raises(Rejected):
            read_tx(bytes(size), FORMS[name])


def test_money_that_a_dash_transaction_without_inputs_brings_is_paid_by_somebody_else() -> None:
    """Asset unlock (type 9): Dash's platform pays out, and nobody's coins are spent.  It is no change of ours."""
    ours, other = b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", b"\x76\xa9\x14" + bytes([1]) * 20 + b"\x88\xac"
    outputs = b"".join(n.to_bytes(8, "little") + bytes([25]) + script for n, script in ((5, ours), (7, other)))
    unlock = struct.pack("<HH", 3, 9) + b"\0\x02" + outputs + bytes(4) + b"\x05hello"
    watched = watched_of(known_spec("DASH"))
    watched.scripts[ours] = "ours"
    (paid,) = watched.payments(read_tx(unlock, DASH), Unconfirmed(0))
    assert (paid.index, paid.amount, paid.direction, paid.flags) == ("0", 5, "in", ())


@pytest.mark.parametrize("payers", [1, 2 * SEARCHED], ids=["of one transaction", "of many"])
def test_thousands_of_outputs_to_us_in_a_block_cost_two_scans_at_most(payers: int) -> None:
    """Dust to one address in the thousands costs its sender a few dollars, and must not hold up the other chains."""
    builder = Builder(BTC)
    txs = [builder.payment(n, [(546, OURS)] * (8000 // payers), None) for n in range(payers)]
    others = [builder.payment(n, [(1000, b"\x51")] * 40, None) for n in range(payers, payers + 1000)]
    _, raw = builder.block(100, "ab" * 32, [*txs, *others], 1_760_000_000, 77)
    watched = watched_of(known_spec("BTC"))
    began = time.process_time()
    once = len(scan_block(raw, {OURS: ""}, BTC, {bytes(36): 1}).txs)
    scan_s = time.process_time() - began
    watched.scripts[OURS] = "ours"
    began = time.process_time()
    assert len(watched.scan(raw, BTC).txs) == once == payers
    assert time.process_time() - began < 10 * scan_s + 0.2
    assert len(watched.coins) == 8000
