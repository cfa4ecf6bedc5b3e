"""EVM: the shared vectors, and the published ones typed in, so that this file stands alone."""

from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import Policy, Reason, averify, siwe, verify
from chainwatch.verifiers.recorded import RecordedChain

Load = Callable[[str], list[dict[str, Any]]]


def ask(row: dict[str, Any], **more: Any) -> bool:
    message = row["message"] if row.get("message_hex") is None else bytes.fromhex(row["message_hex"])
    return bool(
        verify(
            address=row["address"],
            chain=row["chain"],
            scheme=row["scheme"],
            message=message,
            signature=row["signature"],
            **more,
        )
    )


def test_every_eip191_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    rows = vectors("evm_eip191")
    assert [row["id"] for row in rows if ask(row) is not row["valid"]] == []
    assert {row["valid"] for row in rows} == {True, False}


def test_every_eip712_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    rows = vectors("evm_eip712")
    assert [row["id"] for row in rows if ask(row, typed_data=row["extra"]["typed_data"]) is not row["valid"]] == []


def test_every_digest_that_other_libraries_agree_on_is_ours(vectors: Load) -> None:
    from chainwatch.verifiers.eip712 import digest

    rows = [row for row in vectors("evm_eip712") if row["extra"]["digest"]]
    assert [r["id"] for r in rows if digest(r["extra"]["typed_data"])[0].hex() != r["extra"]["digest"]] == []
    assert len(rows) >= 70


def test_every_siwe_text_parses_or_does_not_as_the_vectors_say(vectors: Load) -> None:
    wrong = []
    for row in vectors("evm_siwe"):
        extra = row["extra"]
        try:
            if extra["kind"] == "parse":
                message = siwe.parse_ethereum(row["message"])
                assert siwe.render(message) == row["message"]
                assert siwe.mismatch(message, extra.get("fields") or {}) is None
            elif extra["kind"] == "object":
                siwe.build_ethereum(extra["fields"])
            else:
                continue
            answer = True
        except siwe.SignInError:
            answer = False
        if answer is not row["valid"]:
            wrong.append(row["id"])
    assert wrong == []


def test_every_siwe_signature_gets_the_verdict_it_says(vectors: Load) -> None:
    rows = [row for row in vectors("evm_siwe") if row["extra"]["kind"] == "verify"]
    assert [row["id"] for row in rows if ask(row, expect=row["extra"].get("expect")) is not row["valid"]] == []


async def test_every_contract_wallet_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    wrong = {}
    rows = vectors("evm_erc1271_6492")
    for row in rows:
        resolver = RecordedChain(row["extra"]["rpc"], chain_id=row["chain"].partition(":")[2])
        for scheme in (row["scheme"], None):
            answer = await averify(
                address=row["address"],
                chain=row["chain"],
                scheme=scheme,
                message=row["message"],
                signature=row["signature"],
                resolver=resolver,
            )
            if answer.ok is not row["valid"] or answer.status in ("unavailable", "unsupported"):
                wrong[row["id"]] = answer
    assert wrong == {}
    assert len(rows) >= 30


# --- published vectors

MAIL = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
        ],
        "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
        "Mail": [
            {"name": "from", "type": "Person"},
            {"name": "to", "type": "Person"},
            {"name": "contents", "type": "string"},
        ],
    },
    "primaryType": "Mail",
    "domain": {
        "name": "Ether Mail",
        "version": "1",
        "chainId": 1,
        "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
    },
    "message": {
        "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
        "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
        "contents": "Hello, Bob!",
    },
}
"""Source: EIP-712, its example (assets/eip-712/Example.js)."""
MAIL_SIGNATURE = (
    "0x4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d"
    "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c"
)


def test_the_example_of_eip712() -> None:
    """Source: EIP-712, signed with the private key keccak256("cow")."""
    result = verify(address="0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826", typed_data=MAIL, signature=MAIL_SIGNATURE)
    assert (result.ok, result.scheme, result.method) == (True, "eip712", "ecdsa")
    changed = MAIL | {"message": MAIL["message"] | {"contents": "Hello, Eve!"}}  # type: ignore[operator]
    assert verify(address=result.address, typed_data=changed, signature=MAIL_SIGNATURE).reason is Reason.WRONG_SIGNER


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        (
            "Hello World",
            "0x68a020a209d3d56c46f38cc50a33f704f4a9a10a59377f8dd762ac66910e9b90"
            "7e865ad05c4035ab5792787d4a0297a43617ae897930a6fe4d822b8faea52064",
        ),
        (
            "It's a small(er) world",
            "0x9328da16089fcba9bececa81663203989f2df5fe1faa6291a45381c81bd17f76"
            "939c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f550793",
        ),
    ],
)
def test_the_compact_signatures_of_eip2098(message: str, signature: str) -> None:
    """Source: EIP-2098, test cases 1 and 2."""
    result = verify(address="0x2e988A386a799F506693793c6A5AF6B54dfAaBfB", message=message, signature=signature)
    assert (result.ok, result.scheme) == (True, "eip191")


SOME_DATA = {
    "address": "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23",
    "message": "Some data",
    "signature": "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
    "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c",
}
"""Source: eth-account, tests/core/test_accounts.py (from web3.js's documentation)."""


def test_the_personal_sign_example_of_web3js() -> None:
    assert verify(**SOME_DATA)  # type: ignore[arg-type]


def test_a_high_s_twin_is_refused_and_named() -> None:
    """OpenZeppelin/openzeppelin-contracts GHSA-4h98-2769-gh6h: one signature in two encodings, both taken as new."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = bytes.fromhex(SOME_DATA["signature"][2:])
    twin = "0x" + (raw[:32] + (order - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([27 + 28 - raw[64]])).hex()
    refused = verify(address=SOME_DATA["address"], message="Some data", signature=twin)
    assert refused.reason is Reason.NON_CANONICAL
    loose = Policy(allow_high_s=True)
    allowed = verify(address=SOME_DATA["address"], message="Some data", signature=twin, policy=loose)
    assert allowed.ok
    assert allowed.malleable


SIWE_TEXT = (
    "login.xyz wants you to sign in with your Ethereum account:\n"
    "0x9D85ca56217D2bb651b00f15e694EB7E713637D4\n\n"
    "Sign-In With Ethereum Example Statement\n\n"
    "URI: https://login.xyz\nVersion: 1\nChain ID: 1\nNonce: bTyXgcQxn2htgkjJn\n"
    "Issued At: 2022-01-27T17:09:38.578Z\nExpiration Time: 2100-01-07T14:31:43.952Z"
)
SIWE_SIGNATURE = (
    "0xdc35c7f8ba2720df052e0092556456127f00f7707eaa8e3bbff7e56774e7f2e0"
    "5a093cfc9e02964c33d86e8e066e221b7d153d27e5a2e97ccd5ca7d3f2ce06cb1b"
)
"""Source: spruceid/siwe, test/verification_positive.json, "example message"."""


def test_the_example_message_of_siwe() -> None:
    who = "0x9D85ca56217D2bb651b00f15e694EB7E713637D4"
    result = verify(address=who, message=SIWE_TEXT, signature=SIWE_SIGNATURE, expect={"domain": "login.xyz"})
    assert (result.ok, result.scheme) == (True, "siwe")
    for expect, reason in (
        ({"domain": "login.xyz.evil.example"}, Reason.EXPECTATION_FAILED),
        ({"nonce": "another0nonce"}, Reason.EXPECTATION_FAILED),
        ({"time": "2200-01-01T00:00:00Z"}, Reason.EXPIRED),
    ):
        assert verify(address=who, message=SIWE_TEXT, signature=SIWE_SIGNATURE, expect=expect).reason is reason
