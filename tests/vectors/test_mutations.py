"""Nothing near a valid signature is valid: single bits and changes of structure, of signature, message and address.

Rows are the published ones and one of each scheme signed here.  ``CHAINWATCH_PROOF_LIMIT`` is the number of mutations
of each scheme (100,000).  ``CHAINWATCH_PROOF_SECONDS`` is the most time for each: a minute in ``make test``, where all
but a slow machine reach the number; one second by default; ``make proof`` has no such limit.  What a scheme accepts as
the same signature is in ``TWINS``.
"""

import base64
import json
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.testing.rows import signed_rows
from chainwatch.verifiers import SCHEMES, Reason, detect_wallet
from chainwatch.verifiers.curves import SECP256K1_N
from chainwatch.verifiers.jsonl import verify_row

Row = dict[str, Any]
SECONDS = float(os.environ.get("CHAINWATCH_PROOF_SECONDS", "1"))
LIMIT = int(os.environ.get("CHAINWATCH_PROOF_LIMIT", "100000"))
FEWEST = 100
ROWS: list[Row] = json.loads(Path(__file__).with_name("official.json").read_text("utf-8"))
VALID = [row for row in [*ROWS, *signed_rows()] if row["valid"]]

# --- changes of bytes


def bit_flips(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def restructured(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Cut, grown, doubled, reversed, zeroed, saturated, halves exchanged, one byte replaced, a range overwritten."""
    yield from (b"", data[:-1], data[1:], data + b"\0", b"\0" + data, data + data, data[::-1])
    yield from (bytes(len(data)), b"\xff" * len(data))
    if len(data) in (64, 65, 66):
        head, rs, tail = (data[:1], data[1:65], b"") if len(data) == 65 else (b"", data[:64], data[64:])
        for r, s in (
            (rs[32:], rs[:32]),
            (bytes(32), rs[32:]),
            (rs[:32], bytes(32)),
            (_order(), rs[32:]),
            (rs[:32], _order()),
        ):
            yield head + r + s + tail
        yield rs + head
    while data:
        start = rng.randrange(len(data))
        changed = bytearray(data)
        changed[start : start + rng.randrange(1, 5)] = rng.randbytes(rng.randrange(0, 5))
        yield bytes(changed)


def _order() -> bytes:
    return SECP256K1_N.to_bytes(32, "big")


# --- changes of a signature's text


def codecs(text: str) -> Iterator[tuple[Callable[[str], bytes], Callable[[bytes], str]]]:
    """How to get at the bytes of a signature's text, and back."""
    if re.fullmatch(r"0x(?:[0-9a-fA-F]{2})+", text):
        yield lambda value: bytes.fromhex(value[2:]), lambda data: "0x" + data.hex()
    elif re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
        yield bytes.fromhex, bytes.hex
    elif text.startswith("eyJ"):  # a login token
        yield (
            lambda value: base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)),
            lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
        )
    else:
        prefix = text[:3] if text[:3] in ("smp", "ful", "pof") else ""
        try:
            base64.b64decode(text[len(prefix) :], validate=True)
        except ValueError:
            return
        yield (
            lambda value: base64.b64decode(value[len(prefix) :], validate=True),
            lambda data: prefix + base64.b64encode(data).decode(),
        )


def texts(text: str, rng: random.Random) -> Iterator[str]:
    """The text itself changed: case, blanks, padding, one character for another."""
    yield from (
        " " + text,
        text + " ",
        text + "\n",
        text + "=",
        text[:-1],
        text[1:],
        text + text,
        text + "\0",
        "0x" + text,
    )
    yield from (text.rstrip("="), text.replace("+", "-").replace("/", "_"), text.swapcase(), text.lower(), text.upper())
    yield "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)  # full-width forms
    for index in range(len(text)):
        yield text[:index] + text[index + 1 :]
    while text:
        index = rng.randrange(len(text))
        yield text[:index] + chr(rng.randrange(33, 127)) + text[index + 1 :]


def signatures(signature: Any, rng: random.Random) -> Iterator[Any]:
    if isinstance(signature, list):
        for index, item in enumerate(signature):
            for changed in signatures(item, rng):
                yield [*signature[:index], changed, *signature[index + 1 :]]
        return
    for decode, encode in codecs(signature):
        data = decode(signature)
        yield from map(encode, bit_flips(data))
        yield from interleave(map(encode, restructured(data, rng)), texts(signature, rng))
    yield from texts(signature, rng)


def interleave(*sources: Iterator[Any]) -> Iterator[Any]:
    while sources:
        for source in list(sources):
            try:
                yield next(source)
            except StopIteration:
                sources = tuple(other for other in sources if other is not source)


# --- changes of rows


def mutations(row: Row, rng: random.Random) -> Iterator[Row]:
    """Endless mutations of one valid row, each of one part of it."""
    message = bytes.fromhex(row["message_hex"]) if "message_hex" in row else (row.get("message") or "").encode()
    parts: list[Iterator[Row]] = [({**row, "signature": changed} for changed in signatures(row["signature"], rng))]
    parts.append({**row, "address": changed} for changed in texts(row["address"], rng))
    if "typed_data" in row.get("extra", {}):
        parts.append(_documents(row, rng))
    else:
        bare = {key: value for key, value in row.items() if key != "message"}
        changes = interleave(bit_flips(message), restructured(message, rng))
        parts.append({**bare, "message_hex": changed.hex()} for changed in changes if changed != message)
    yield from interleave(*parts)


def _documents(row: Row, rng: random.Random) -> Iterator[Row]:
    """Typed data with one leaf changed."""
    while True:
        document = dict(row["extra"]["typed_data"])
        changed = {**row, "extra": {**row["extra"], "typed_data": document}}
        parent: Any = document
        keys = [key for key in ("domain", "message") if parent.get(key)]
        key: Any = rng.choice(keys)
        while isinstance(parent[key], dict | list) and parent[key]:
            parent[key] = parent[key].copy()  # only what is on the way to the leaf
            parent = parent[key]
            key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        value = parent[key]
        if isinstance(value, bool) or value is None:
            parent[key] = not value
        elif isinstance(value, int):
            parent[key] = value ^ 1 << rng.randrange(8)
        elif isinstance(value, str) and value.startswith("0x") and len(value) > 3:
            parent[key] = value[:-1] + ("0" if value[-1] != "0" else "1")
        elif isinstance(value, str):
            parent[key] = value + rng.choice(["1", "7"])
        else:
            continue
        yield changed


# --- what the rules say is the same


def _same_hex(row: Row, changed: Row) -> bool:
    """Hex has two cases, and its prefix is optional where the scheme says so."""
    before, after = str(row["signature"]).lower(), str(changed["signature"]).lower()
    return before.removeprefix("0x") == after.removeprefix("0x")


def _same_evm(row: Row, changed: Row) -> bool:
    """v is 0 or 27, 1 or 28, or (EIP-2098) the top bit of s in 64 bytes."""
    return _normal_evm(str(row["signature"])) == _normal_evm(str(changed["signature"]))


def _normal_evm(signature: str) -> tuple[str, int, int] | str:
    digits = signature.lower()
    try:
        data = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        return digits
    s = int.from_bytes(data[32:64], "big")
    if len(data) == 64:
        return digits[:66], s & (1 << 255) - 1, s >> 255
    return (digits[:66], s, data[64] % 27) if len(data) == 65 and data[64] in (0, 1, 27, 28) else digits


def _same_compact(row: Row, changed: Row) -> bool:
    """Electrum and BIP-137 write different headers, for the same recovery id, in front of the same r and s."""
    try:
        before, after = (base64.b64decode(item["signature"], validate=True) for item in (row, changed))
    except ValueError:
        return False
    return before[1:] == after[1:] and (before[0] - 27) % 4 == (after[0] - 27) % 4


def _same_token(row: Row, changed: Row) -> bool:
    """A token may be padded or not; the hex of its signatures has two cases; its JSON may have blanks."""
    before, after = (_login(item["signature"]) for item in (row, changed))
    return before == after if isinstance(before, dict) else _same_hex(row, changed)


def _login(token: str) -> Any:
    try:
        value = json.loads(base64.urlsafe_b64decode(token.rstrip(".=") + "=="))
        return value | {"signatures": [item.lower() for item in value["signatures"]]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


TWINS: dict[str, Callable[[Row, Row], bool]] = {
    "bip137": _same_compact,
    **dict.fromkeys(("eip191", "eip712", "siwe", "eip7702", "erc1271", "erc6492"), _same_evm),
    **dict.fromkeys(("tron-v2",), _same_evm),
    **dict.fromkeys(("hive-buffer", "hiveauth-challenge", "cip30", "cip8"), _same_hex),
    "hivesigner-token": _same_token,
    **dict.fromkeys([name for name in SCHEMES if name.startswith(("solana", "siws"))], _same_hex),
}


def is_twin(row: Row, changed: Row) -> bool:
    """Is this another way to write the same address and signature, which the scheme's rules accept?"""
    if changed["address"] != row["address"]:
        before, after = detect_wallet(row["address"]), detect_wallet(changed["address"])
        return [wallet.payload for wallet in before] == [wallet.payload for wallet in after]
    if changed["signature"] != row["signature"]:
        return row["scheme"] in TWINS and TWINS[row["scheme"]](row, changed)
    return False


NAMES = sorted({row["scheme"] for row in VALID})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", NAMES)
def test_no_mutation_is_accepted(scheme: str) -> None:
    assert attack(scheme, random.Random(scheme), SECONDS) >= FEWEST


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scheme", NAMES)
def test_no_mutation_is_accepted_however_long_it_takes(scheme: str) -> None:
    """Others than above, all of them."""
    assert attack(scheme, random.Random(f"{scheme} again"), math.inf) >= LIMIT


def attack(scheme: str, rng: random.Random, seconds: float) -> int:
    """Mutate every valid row of the scheme until the time or the limit is used up; how many mutations that were.

    ``FEWEST`` are tried however slow the machine is.

    A seed gives the same mutations on every machine, as many as the time allows.
    """
    sources = [(row, mutations(row, rng)) for row in VALID if row["scheme"] == scheme]
    assert all(verify_row(row).ok for row, _ in sources)
    deadline, tried, accepted, faults = time.monotonic() + seconds, 0, [], []
    while sources and tried < LIMIT and (tried < FEWEST or time.monotonic() < deadline):
        for source in list(sources):
            row, changes = source
            changed = next(changes, None)
            if changed is None:
                sources.remove(source)
                continue
            if all(changed.get(key) == row.get(key) for key in {*row, *changed}):
                continue
            tried += 1
            result = verify_row(changed)
            if result.reason is Reason.INTERNAL:
                faults.append((changed, result))
            if result.ok and not is_twin(row, changed):
                accepted.append(changed)
    print(f"{scheme}: {tried} mutations")
    assert not faults
    assert not accepted, accepted[:3]
    return tried
