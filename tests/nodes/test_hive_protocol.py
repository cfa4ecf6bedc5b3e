"""The simulated Hive node and our memo reading against Hive's own code: npm ``@hiveio/dhive`` and ``@hiveio/wax``.

There is no real node to be had for tests; that these two read what the simulated one says, and agree about the id of
every transaction, is the next best thing.
"""

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.hive import HiveSource
from chainwatch.adapters.hive_memo import ENCRYPTED, MemoKey
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet import hive as devnet
from chainwatch.devnet.node import Payment
from chainwatch.testing.tools import node_modules

MODULES = node_modules()
SCRIPT = Path(__file__).parent / "hive_protocol.mjs"
HERE = (MODULES / "@hiveio" / "dhive").is_dir() and (MODULES / "@hiveio" / "wax").is_dir()

pytestmark = [
    pytest.mark.network,
    pytest.mark.node,
    pytest.mark.skipif(
        not HERE or shutil.which("node") is None,
        reason=f"@hiveio/dhive and @hiveio/wax are not installed in {MODULES} (npm), or there is no node",
    ),
]

MEMO_WIF = "5Jpkeq1jiNE8Pe24GxFWTsyWbcP59Qq4cD7qg3Wgd6JFJqJkoG8"
"""A published test key (beem's memo tests)."""
PAYEE_MEMO_KEY = MemoKey(MEMO_WIF)

TEXTS = [
    "event:42:wallet:dlux-io",
    "event:rock-n_roll:wallet:alice.smith:ref:abc",
    "爱 äöü event:7:wallet:bob",
    "1234567890\x02\x02",
    "#SATS",
    "x" * 300,
]


async def run_protocol(url: str, seed: str = "payer") -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "node",
        *(str(SCRIPT), str(MODULES), url, PAYEE_MEMO_KEY.public, seed, *TEXTS),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(100):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-2000:]
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_hives_own_code_reads_the_simulated_node_and_we_read_its_memos(tmp_path: Path) -> None:
    """Blocks, ids, amounts in both forms, and memos that dhive encrypts."""
    key_file = tmp_path / "memo-key"
    key_file.write_text(MEMO_WIF + "\n")
    chain = spec("HIVE")
    node = devnet.make(chain, clock=SystemClock(), rng=random.Random(5))
    node.memo_keys[node.receive[0]] = PAYEE_MEMO_KEY.public
    url = await node.start()
    services = Services(clock=SystemClock(), random=random.Random(5), observer=SilentObserver())
    try:
        ours = node.receive[0]
        transfers = [Payment(ours, 1234, memo="event:1:wallet:dlux-io"), Payment(ours, 5, asset_id="@@000000013")]
        node.pay_many(transfers)
        node.pay(Payment(ours, 999, memo="äöü " + "m" * 200, kind="recurrent"))
        node.chain.mine()
        node.pay(Payment(node.new_wallet(), 1_000_000_007))
        node.chain.mine()

        seen = await run_protocol(url)

        assert (seen["head"], seen["irreversible"]) == (3, 2)
        best = node.chain.best
        assert [b["id"] for b in seen["blocks"]] == [b.ref.hash for b in best]
        assert [b["previous"] for b in seen["blocks"]][1:] == [b.ref.hash for b in best[:-1]]
        assert seen["blocks"][1]["operations"][0][0][1]["amount"] == "1.234 HIVE"
        assert seen["blocks"][1]["operations"][0][1][1]["amount"] == "0.005 HBD"
        assert {"wax", "dhive"} <= {k for c in seen["checked"] for k in c}
        for check in seen["checked"]:
            assert len(set(check.values())) == 1, check

        for memo in seen["memos"]:
            assert ENCRYPTED.fullmatch(memo)
            node.pay(Payment(ours, 10, memo=memo))
        node.chain.mine()
        config = {**node.config(), "memo_key_file": str(key_file)}
        source = HiveSource(
            spec(
                "HIVE",
                endpoints=tuple(config["endpoints"]),
                receive=tuple(config["receive"]),
                options={"memo_key_file": config["memo_key_file"]},
            ),
            services,
        )
        await source.open()
        try:
            view = await source.view()
            (block,) = await view.blocks(view.head.height, view.head.height)
        finally:
            await source.close()
        assert [t.memo for t in block.transfers] == [text.encode() for text in TEXTS]
        assert all(t.flags == () for t in block.transfers)
    finally:
        await node.stop()


async def test_the_payers_key_reads_the_memo_too() -> None:
    """Either end of an encrypted memo opens it; a third key does not."""
    node = devnet.make(spec("HIVE"), clock=SystemClock(), rng=random.Random(5))
    url = await node.start()
    try:
        seen = await run_protocol(url)
    finally:
        await node.stop()
    payer = MemoKey(seen["wif"])
    stranger = MemoKey("5KR8jzysz2kbYy3TkL3x6NRxfNXwQUWyeVAF5ZagxdqKMawGgXG")
    assert [payer.decrypt(m) for m in seen["memos"]] == [t.encode() for t in TEXTS]
    assert [stranger.decrypt(m) for m in seen["memos"]] == [None] * len(TEXTS)
