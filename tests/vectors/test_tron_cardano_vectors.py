"""Tron and Cardano: the shared vectors."""

from collections.abc import Callable
from typing import Any

from chainwatch.verifiers import verify

Load = Callable[[str], list[dict[str, Any]]]


def message_of(row: dict[str, Any]) -> str | bytes:
    text: str | None = row["message"]
    return bytes.fromhex(row["message_hex"]) if text is None else text


def test_every_tron_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    wrong = [
        row["id"]
        for row in vectors("tron")
        if verify(address=row["address"], chain=row["chain"], message=message_of(row), signature=row["signature"]).ok
        is not row["valid"]
    ]
    assert wrong == []


def test_every_cip30_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    wrong = [
        row["id"]
        for row in vectors("cardano_cip8")
        if verify(
            address=row["address"],
            chain=row["chain"],
            message=message_of(row),
            signature=[row["signature"], row["extra"]["key"]],
        ).ok
        is not row["valid"]
    ]
    assert wrong == []


def test_a_device_that_signs_for_a_foreign_address_leaves_a_warning(vectors: Load) -> None:
    """Trezor puts any address into the signed header: the key need not be its own."""
    rows = vectors("cardano_cip8_trezor")
    for row in rows:
        result = verify(
            address=row["address"],
            chain=row["chain"],
            message=message_of(row),
            signature=row["signature"],
            authorities={"pubkey": row["extra"]["pubkey"]},
        )
        assert result.ok is row["valid"]
        assert (result.warnings != ()) is ("address-not-bound" in row["tags"])
    assert rows
