"""EIP-712 typed data: is the document well-formed, and what is its digest?

eth-account encodes the structs; this module decides what reaches it.  Two things that eth-account's one-call
form cannot do are done by handing it one struct at a time: a ``primaryType`` that some unused
type makes ambiguous, and a domain that declares its own types (or nothing else at all: the
digest of a bare domain, which EIP-712 signs without a struct hash).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chainwatch.verifiers.curves import keccak256, kept_recursion_limit

MAX_TYPES = 64
"""Struct types in a document; the largest known (Seaport, Permit2 batches) have under ten."""
MAX_FIELDS = 256
"""Fields of all types together."""
MAX_VALUES = 1_000
"""Values in the message: encoding costs some 20 µs each, and a request gets 50 ms."""
MAX_WORK = 12_000
"""Struct values times declared fields: each struct is hashed with its whole type, at some 2 µs a field."""
MAX_DEPTH = 24
"""Levels of nesting: OpenSea's bulk orders, the deepest known, have a tree of 24."""

DOMAIN = "EIP712Domain"
_DOMAIN_TYPES = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,127}")
_TYPE = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,127})((?:\[[0-9]{0,4}\]){0,4})")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_NUMBER = re.compile(r"-?[0-9]{1,78}|0x[0-9a-fA-F]{1,64}")
_SUFFIX = re.compile(r"\[([0-9]*)\]\Z")

Types = dict[str, list[dict[str, str]]]


class TypedDataError(ValueError):
    """The document is not EIP-712 typed data, or larger than anyone signs."""


def digest(document: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """``(digest, chain id of the domain in decimal or None)`` of ``{types, primaryType, domain, message}``.

    1. shape, names and sizes of types, domain and message;
    2. domain separator = hash of the struct EIP712Domain, as the document declares it;
    3. struct hash of ``primaryType``, encoded with only the types it reaches;
    4. keccak256(0x19 0x01 ‖ 2 ‖ 3), or without 3 when the primary type is the domain itself.
    """
    types = _types(document.get("types"))  # 1
    domain, message = document.get("domain"), document.get("message")
    primary = document.get("primaryType")
    if not isinstance(domain, Mapping) or not isinstance(message, Mapping):
        raise TypedDataError("domain or message: not an object")
    if DOMAIN not in types:
        types[DOMAIN] = [{"name": k, "type": t} for k, t in _DOMAIN_TYPES.items() if k in domain]
    if set(domain) != {item["name"] for item in types[DOMAIN]}:
        raise TypedDataError("domain: its fields are not those of its type")
    if primary is None:
        primary = _only_root(types)
    if not isinstance(primary, str) or primary not in types:
        raise TypedDataError("primaryType: no such type")
    separator = _hash_struct(DOMAIN, types, domain)  # 2
    if primary == DOMAIN:  # 4
        return keccak256(b"\x19\x01" + separator), _chain_id(domain)
    return keccak256(b"\x19\x01" + separator + _hash_struct(primary, types, message)), _chain_id(domain)  # 3, 4


def _chain_id(domain: Mapping[str, Any]) -> str | None:
    """The domain's chain id in decimal, however the document writes the number."""
    value = domain.get("chainId")
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,64}|[0-9]{1,78}", value, re.ASCII):
        return str(int(value, 0 if value[:2] == "0x" else 10))
    return str(value) if type(value) is int and 0 <= value < 1 << 256 else None


# --- shape


def _types(raw: object) -> Types:
    """The declared types, copied and checked."""
    if not isinstance(raw, Mapping) or len(raw) > MAX_TYPES:
        raise TypedDataError("types: not an object, or too many")
    types: Types = {}
    total = 0
    for name, members in raw.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(members, Sequence):
            raise TypedDataError("types: not a struct")
        total += len(members)
        if total > MAX_FIELDS:
            raise TypedDataError("types: too many fields")
        types[name] = [_member(item) for item in members]
        if len({item["name"] for item in types[name]}) != len(types[name]):
            raise TypedDataError(f"types: {name} has a field twice")
    return types


def _member(item: object) -> dict[str, str]:
    if not isinstance(item, Mapping):
        raise TypedDataError("types: a field is not an object")
    name, kind = item.get("name"), item.get("type")
    if not isinstance(name, str) or not isinstance(kind, str):
        raise TypedDataError("types: a field without name or type")
    if not _NAME.fullmatch(name) or not _TYPE.fullmatch(kind):
        raise TypedDataError("types: a field's name or type is not an identifier")
    return {"name": name, "type": kind}


def _core(kind: str) -> str:
    return kind.partition("[")[0]


def _only_root(types: Types) -> str:
    """The one type that no other uses, for documents without ``primaryType``."""
    used = {_core(item["type"]) for name, members in types.items() for item in members if _core(item["type"]) != name}
    roots = [name for name in types if name not in used and name != DOMAIN]
    if len(roots) != 1:
        raise TypedDataError("primaryType: missing, and not the only candidate")
    return roots[0]


def _reachable(root: str, types: Types) -> Types:
    """The types that ``root`` needs: all that its encoding names."""
    wanted, queue = {root}, [root]
    while queue:
        for item in types[queue.pop()]:
            name = _core(item["type"])
            if name in types and name not in wanted:
                wanted.add(name)
                queue.append(name)
    return {name: types[name] for name in types if name in wanted}


class _Budget:
    """How much may still be encoded: values, and structs with types of so many fields."""

    def __init__(self, types: Types) -> None:
        self.values = MAX_VALUES
        self.work = MAX_WORK
        self.fields = 1 + sum(len(members) for members in types.values())

    def take(self) -> None:
        self.values -= 1
        if self.values < 0:
            raise TypedDataError("message: too many values")

    def take_struct(self) -> None:
        self.work -= self.fields
        if self.work < 0:
            raise TypedDataError("message: too many structs of large types")


def _check_struct(name: str, types: Types, value: object, budget: _Budget, depth: int) -> None:
    """Every declared field is there, arrays are arrays of their length; eth-account would guess instead of refusing."""
    if not isinstance(value, Mapping):
        raise TypedDataError(f"message: {name} is not an object")
    budget.take_struct()
    for item in types[name]:
        if item["name"] not in value:
            raise TypedDataError(f"message: {name}.{item['name']} is missing")
        _check_value(item["type"], types, value[item["name"]], budget, depth)


def _check_value(kind: str, types: Types, value: object, budget: _Budget, depth: int) -> None:
    budget.take()
    if depth > MAX_DEPTH:
        raise TypedDataError("message: nested too deeply")
    if match := _SUFFIX.search(kind):
        if not isinstance(value, list | tuple):
            raise TypedDataError("message: not an array")
        if match.group(1) and len(value) != int(match.group(1)):
            raise TypedDataError("message: an array of another length")
        for item in value:
            _check_value(kind[: match.start()], types, item, budget, depth + 1)
    elif kind not in types:
        _check_atom(kind, value)
    elif value is not None:  # null stands for an absent struct (eth_signTypedData_v4)
        _check_struct(kind, types, value, budget, depth + 1)


def _check_atom(kind: str, value: object) -> None:
    """A value in the one notation of its type.

    eth-account takes more: ``"false"`` is its false and ethers' true, bytes ``"1234"`` are its text and MetaMask's hex,
    a string may be a number.  Of such a document nobody can say what the wallet showed and signed.
    """
    if kind == "bool":
        good = value in (False, True) and isinstance(value, int)
    elif kind == "string":
        good = value is None or isinstance(value, str)
    elif kind.startswith("bytes"):
        good = value is None or isinstance(value, bytes) or (isinstance(value, str) and bool(_HEX.fullmatch(value)))
    elif kind.startswith(("int", "uint")):
        good = not isinstance(value, str) or bool(_NUMBER.fullmatch(value))
    else:
        good = True  # eth-account knows the other types, or refuses them
    if not good:
        raise TypedDataError(f"message: not a value of type {kind}")


def _hash_struct(name: str, types: Types, value: Mapping[str, Any]) -> bytes:
    """EIP-712's hashStruct, by eth-account."""
    reachable = _reachable(name, types)
    _check_struct(name, types, value, _Budget(reachable), 0)
    with kept_recursion_limit():
        from eth_account.messages import encode_typed_data

    try:
        body: bytes = encode_typed_data({}, reachable, dict(value)).body
    except Exception as error:  # eth-account and eth-abi raise a dozen kinds for values that do not fit their type
        raise TypedDataError(f"{name}: {type(error).__name__}") from error
    return body
