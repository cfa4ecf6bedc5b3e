"""Signed transactions and blocks as they travel between nodes (RLP), turned into what the JSON-RPC would say.

Transactions: legacy and the types of EIP-2718 (2930, 1559, 4844, 7702).  The payer is recovered from the
signature by eth-account; that is a second's import, and happens only here.
"""

from collections.abc import Sequence
from typing import Any

from chainwatch.errors import Rejected
from chainwatch.verifiers.curves import keccak256, kept_recursion_limit

_LEGACY = 3
"""Place of ``to`` in the list of a legacy transaction; value and data follow it."""
_TYPED = {1: 4, 2: 5, 3: 5, 4: 5}
"""Transaction type to the place of ``to``."""

_PARENT, _NUMBER, _TIMESTAMP = 0, 8, 11
"""Places in the list of a block header (Yellow Paper §4.3)."""
_HEADER_FIELDS = range(15, 32)  # 15 at genesis, one or two more with a fork now and then


def looks_raw(data: bytes) -> bool:
    """Do these bytes begin as a signed transaction or a block does, and as no text does?"""
    return bool(data) and (data[0] in _TYPED or data[0] >= 0xC0)


def read_raw(data: bytes) -> dict[str, Any]:
    """Return a transaction or a block in the shape of the JSON-RPC; ``Rejected`` for what is neither."""
    if data[:1] and data[0] in _TYPED:
        return _transaction(data)
    item = _rlp(data)
    if isinstance(item, list) and 3 <= len(item) <= 4 and all(isinstance(part, list) for part in item):
        return _block(item)
    return _transaction(data)


def _rlp(data: bytes) -> Any:
    import rlp
    from rlp.exceptions import DecodingError

    try:
        return rlp.decode(data)
    except (DecodingError, RecursionError) as error:
        raise Rejected("not_chain_data", f"neither JSON nor a raw transaction or block: {error!s:.100}") from error


def _transaction(data: bytes) -> dict[str, Any]:
    typed = data[0] in _TYPED
    fields = _rlp(data[1:] if typed else data)
    at = _TYPED[data[0]] if typed else _LEGACY
    if not isinstance(fields, list) or not 9 <= len(fields) <= 14:
        raise Rejected("not_chain_data", "no signed transaction")
    to, value, call = fields[at : at + 3]
    if not (isinstance(to, bytes) and isinstance(value, bytes) and isinstance(call, bytes)):
        raise Rejected("not_chain_data", "no signed transaction")
    return {
        "hash": "0x" + keccak256(data).hex(),
        "from": _payer(data),
        "to": "0x" + to.hex() if to else None,
        "value": hex(int.from_bytes(value)),
        "input": "0x" + call.hex(),
    }


def _payer(data: bytes) -> str:
    with kept_recursion_limit():
        from eth_account import Account

    try:
        return str(Account.recover_transaction(data))
    except Exception as error:  # the library has no error of its own: hostile fields raise whatever they meet
        raise Rejected("not_chain_data", f"a transaction whose signature cannot be read: {error!s:.100}") from error


def _block(parts: Sequence[Any]) -> dict[str, Any]:
    import rlp

    header, transactions = parts[0], parts[1]
    if len(header) not in _HEADER_FIELDS or not all(isinstance(field, bytes) for field in header):
        raise Rejected("not_chain_data", "no block header")
    return {
        "hash": "0x" + keccak256(rlp.encode(header)).hex(),
        "number": hex(int.from_bytes(header[_NUMBER])),
        "parentHash": "0x" + header[_PARENT].hex(),
        "timestamp": hex(int.from_bytes(header[_TIMESTAMP])),
        # A legacy transaction stands in the block as a list, a typed one as bytes.
        "transactions": [_transaction(tx if isinstance(tx, bytes) and tx else rlp.encode(tx)) for tx in transactions],
    }
