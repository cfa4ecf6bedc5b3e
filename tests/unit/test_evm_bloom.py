"""The logs bloom, against blocks of the main network."""

import os
from pathlib import Path

import msgspec
import pytest

from chainwatch.adapters import bloom
from chainwatch.adapters.evm_types import TRANSFER_TOPIC, FullBlock, Receipt
from chainwatch.errors import Inconsistent

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "chaindata"
BLOCKS = ["ethereum/blocks/16899757", "ethereum/blocks/4370006", "polygon/blocks/38102393"]


class Answer(msgspec.Struct):
    result: msgspec.Raw


def load(name: str, shape: object) -> object:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"recorded chain data not here: {path.name} (CHAINWATCH_SHARED)")
    return msgspec.json.decode(msgspec.json.decode(path.read_bytes(), type=Answer).result, type=shape)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_bloom_of_a_real_block_is_that_of_its_logs(name: str) -> None:
    block, receipts = load(f"{name}.block.json", FullBlock), load(f"{name}.receipts.json", list[Receipt])
    assert isinstance(block, FullBlock)
    assert isinstance(receipts, list)
    items = [item for r in receipts for log in r.logs for item in (log.address, *log.topics)]
    assert bloom.of(items) == block.logs_bloom
    assert all(bloom.holds(bloom.read(block.logs_bloom), item) for item in items)


def test_an_empty_bloom_hints_at_nothing_and_a_missing_one_at_everything() -> None:
    assert not bloom.holds(bloom.read(bloom.of([])), TRANSFER_TOPIC)
    assert bloom.holds(bloom.read(None), TRANSFER_TOPIC)


@pytest.mark.parametrize("text", ["", "0x", "0x" + "0" * 511, "0x" + "0" * 513, "0x" + "g" * 512, "0" * 514])
def test_a_malformed_bloom_is_refused(text: str) -> None:
    with pytest.raises(Inconsistent):
        bloom.read(text)
