"""Every wallet row of every shared vector file: the command line's verdict is the recommended one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import Reason
from chainwatch.verifiers.jsonl import verify_row

FAMILIES = [
    "bitcoin_legacy",
    "bitcoin_bip322",
    "altcoin_signmessage",
    "evm_eip191",
    "evm_eip712",
    "evm_siwe",
    "evm_erc1271_6492",
    "solana",
    "hive",
    "monero",
    "tron",
    "cardano_cip8",
    "cardano_cip8_trezor",
]
# Two sign-in texts of contract wallets on mainnet, published without what the chain answered: unavailable, not invalid.
UNRECORDED = {"eip1271-argent", "eip1271-loopring"}
Load = Callable[[str], list[dict[str, Any]]]


def cases(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row.get("address") is not None and row.get("signature") is not None]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("named", [True, False], ids=["scheme named", "scheme found"])
def test_every_row_has_the_recommended_verdict(vectors: Load, family: str, named: bool) -> None:
    rows = cases(vectors(family))
    assert rows
    wrong = []
    for row in rows:
        if not named and row["scheme"] == "bip322-legacy":
            continue  # found by its shape it is BIP-137, which serves more address types
        asked = {key: value for key, value in row.items() if named or key != "scheme"}
        result = verify_row(json.loads(json.dumps(asked)))
        if row["id"] in UNRECORDED:
            if result.status != "unavailable":
                wrong.append((row["id"], result))
        elif result.ok is not row["valid"] or result.reason is Reason.INTERNAL:
            wrong.append((row["id"], result))
    assert not wrong
