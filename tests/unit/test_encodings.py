"""One text, one value: whatever is another way to write the same is refused."""

import pytest

from chainwatch.testing.wallets import BitcoinWallet, serialize
from chainwatch.verifiers.encodings import (
    EncodingError,
    base64_bytes,
    compact_size,
    der_signature,
    read_compact_size,
)
from chainwatch.verifiers.transactions import MAX_WITNESS_ITEMS, Input, Transaction, parse_transaction, parse_witness

TX = BitcoinWallet("a").to_sign("text")


@pytest.mark.parametrize(
    "data", [b"\xfd\xfc\x00", b"\xfe\xff\xff\x00\x00", b"\xff" + b"\xff" * 4 + b"\0" * 4, b"\xfd\x01", b""]
)
def test_a_compact_size_is_minimal_and_whole(data: bytes) -> None:
    with pytest.raises(EncodingError):
        read_compact_size(data, 0)


@pytest.mark.parametrize("number", [0, 252, 253, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
def test_compact_sizes_read_as_written(number: int) -> None:
    data = compact_size(number)
    assert read_compact_size(data, 0) == (number, len(data))


def test_nothing_may_follow_a_witness_or_a_transaction() -> None:
    raw = serialize(TX)
    assert parse_transaction(raw) == TX
    for wrong in (raw + b"\0", raw[:-1]):
        with pytest.raises(EncodingError):
            parse_transaction(wrong)
    with pytest.raises(EncodingError):
        parse_witness(b"\x01\x01a\x00")


def test_a_segwit_transaction_without_a_witness_is_another_way_to_write_it() -> None:
    plain = serialize(Transaction(0, (Input(TX.inputs[0].outpoint),), TX.outputs))
    with pytest.raises(EncodingError):
        parse_transaction(plain[:4] + b"\x00\x01" + plain[4:-4] + b"\x00" + plain[-4:])


def test_a_witness_holds_no_more_items_than_a_stack() -> None:
    assert len(parse_witness(compact_size(MAX_WITNESS_ITEMS) + bytes(MAX_WITNESS_ITEMS))) == MAX_WITNESS_ITEMS
    with pytest.raises(EncodingError):
        parse_witness(compact_size(MAX_WITNESS_ITEMS + 1) + bytes(MAX_WITNESS_ITEMS + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        "300702020001020101",  # a zero in front that no sign needs
        "3006020100020101",  # zero
        "30060201ff020101",  # negative
        "300602010102018f",
        "30080201010201010500",  # something behind the two integers
        "300602010102010100",  # something behind the sequence
        "3006020101020201",  # an integer that ends early
        "3106020101020101",
        "3006030101020101",
    ],
)
def test_der_integers_are_positive_minimal_and_whole(wrong: str) -> None:
    assert der_signature(bytes.fromhex("3006020101020101"))
    with pytest.raises(EncodingError):
        der_signature(bytes.fromhex(wrong))


@pytest.mark.parametrize(
    "wrong", ["QR==", "QQ=", "QQ", "QQ===", "QQ==\n", " QQ==", "Q Q==", "QQ==QQ==", "_w==", "é==="]
)
def test_base64_has_one_text_for_each_value(wrong: str) -> None:
    """Leftover bits that are not zero would be sixteen texts for one signature."""
    assert base64_bytes("QQ==") == b"A"
    with pytest.raises(EncodingError):
        base64_bytes(wrong)
