"""scriptPubKey <-> address by a network's prefixes, and what an OP_RETURN carries.

Sources: BIP-13, BIP-141, BIP-173, BIP-350; Bitcoin Core ``script/solver.cpp`` and ``key_io.cpp``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from chainwatch.errors import Misconfigured
from chainwatch.verifiers.encodings import (
    EncodingError,
    base58check_bytes,
    base58check_text,
    segwit_program,
    segwit_text,
)

OP_RETURN = 0x6A
OP_PUSHDATA1, OP_PUSHDATA4, OP_16 = 0x4C, 0x4E, 0x60


class Prefixes(msgspec.Struct, frozen=True):
    """Version bytes and segwit prefix of one network; ``p2sh[0]`` is the one that is written."""

    p2pkh: int
    p2sh: tuple[int, ...]
    hrp: str | None = None


def prefixes(params: Mapping[str, Any], options: Mapping[str, Any], genesis: str) -> Prefixes:
    """Find the prefixes of the network with this genesis; an operator's ``p2pkh``, ``p2sh``, ``hrp`` come first."""
    networks = params.get("networks", {})
    section = next((n for n in networks.values() if n["genesis"] == genesis), None) or networks.get("main", {})
    fields = {k: options.get(k, section.get(k)) for k in ("p2pkh", "p2sh", "hrp")}
    try:
        return msgspec.convert({k: v for k, v in fields.items() if v is not None}, Prefixes)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"address prefixes: {error}") from error


def to_script(address: str, known: Prefixes) -> bytes:
    """Return the scriptPubKey that pays ``address``; ``Misconfigured`` when it is none of this network."""
    try:
        if known.hrp is not None and address.lower().startswith(known.hrp + "1"):
            hrp, version, program = segwit_program(address)
            if hrp == known.hrp:
                return witness_script(version, program)
        payload = base58check_bytes(address)
        if len(payload) == 21 and payload[0] == known.p2pkh:
            return b"\x76\xa9\x14" + payload[1:] + b"\x88\xac"
        if len(payload) == 21 and payload[0] in known.p2sh:
            return b"\xa9\x14" + payload[1:] + b"\x87"
    except EncodingError as error:
        raise Misconfigured(f"{address!r:.100} is no address: {error}") from error
    raise Misconfigured(f"{address!r:.100} is an address of another network")


def witness_script(version: int, program: bytes) -> bytes:
    """Return the scriptPubKey of a witness program (BIP-141)."""
    return bytes((version + 0x50 if version else 0, len(program))) + program


def to_address(script: bytes, known: Prefixes) -> str | None:
    """Return the address of a scriptPubKey; None for what has none (bare keys, bare multisig, OP_RETURN)."""
    size = len(script)
    if size == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return base58check_text(bytes((known.p2pkh,)) + script[3:23])
    if size == 23 and script[:2] == b"\xa9\x14" and script[22] == 0x87:
        return base58check_text(bytes((known.p2sh[0],)) + script[2:22])
    if known.hrp is not None and 4 <= size <= 42 and script[1] == size - 2:
        if script[0] == 0 and size in (22, 34):
            return segwit_text(known.hrp, 0, script[2:])
        if 0x51 <= script[0] <= OP_16:
            return segwit_text(known.hrp, script[0] - 0x50, script[2:])
    return None


def is_data(script: bytes) -> bool:
    """Is it an OP_RETURN?"""
    return script[:1] == b"\x6a"


def carried(script: bytes) -> bytes:
    """Return what an OP_RETURN script carries: its pushes joined, every form of push.

    Small numbers (OP_0, OP_1NEGATE, OP_1 … OP_16) mark protocols and carry no text.  Bytes that are no
    pushes (a script that was written without them, or is cut) are the memo as they stand.
    """
    parts, position = [], 1
    while position < len(script):
        opcode = script[position]
        position += 1
        if opcode > OP_16:
            return script[1:]
        if opcode > OP_PUSHDATA4 or opcode == 0:
            continue
        length = opcode
        if opcode >= OP_PUSHDATA1:
            width = 1 << (opcode - OP_PUSHDATA1)
            length = int.from_bytes(script[position : position + width], "little")
            position += width
        if position + length > len(script):
            return script[1:]
        parts.append(script[position : position + length])
        position += length
    return b"".join(parts)


def memo_of(scripts: Iterable[bytes]) -> bytes | None:
    """Return the memo of a transaction with these outputs: what its OP_RETURNs carry, one a line; None without one."""
    memos = [carried(script) for script in scripts if is_data(script)]
    return b"\n".join(memos) if memos else None
