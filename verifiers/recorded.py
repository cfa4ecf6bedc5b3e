"""A resolver that answers from recorded answers: tests, ``verify --jsonl`` (``extra.rpc``), audits of old logins.

One record is ``{"method", "params", "result" | "error"}`` of JSON-RPC.  A question is matched on method, ``to`` and
``data``; one that was not recorded is ``Unavailable``.  The deployless call of ERC-6492 may be recorded without its
data, as ``{"method": "eth_call(deployless …)"}``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chainwatch.verifiers.encodings import EncodingError, hex_bytes
from chainwatch.verifiers.result import Reverted, Unavailable

MAX_RECORDS = 256
"""Records looked at for one signature; one signature asks at most four questions."""
_DEPLOYLESS = "eth_call(deployless"
_EXECUTION_CODES = (3, -32015)
"""Geth's and Erigon's code for a revert; Nethermind's and OpenEthereum's for a call that failed."""
_EXECUTION = re.compile(
    "revert|out ?of ?gas|invalid opcode|invalid jump|bad instruction|bad jump|opcode ?not ?found|invalid ?fe ?opcode"
    "|stack ?underflow|stack ?overflow|stack limit|out of stack|gas required exceeds"
)
"""What the message of an error says when the call ran and failed; other errors say nothing about the wallet."""


def execution_error(error: object) -> bool:
    """Did the call itself fail (the contract's answer is no), rather than the node?

    Some clients have a code for it; of the others (-32000, -32603) only the message tells.
    """
    if isinstance(error, Mapping):
        if error.get("code") in _EXECUTION_CODES:
            return True
        error = error.get("message")
    return isinstance(error, str) and _EXECUTION.search(error[:1000].lower()) is not None


class RecordedChain:
    """A ``Resolver`` over records; ``chain_id`` answers where no ``eth_chainId`` was recorded."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]] = (),
        *,
        chain_id: int | str | None = None,
        accounts: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> None:
        self._records = [record for record in list(records)[:MAX_RECORDS] if isinstance(record, Mapping)]
        self._chain_id = chain_id
        self._accounts = accounts

    async def evm_chain_id(self) -> int:
        """The recorded ``eth_chainId``, else the chain id given."""
        for record in self._records:
            if record.get("method") == "eth_chainId":
                return int(str(record.get("result")), 0)
        if self._chain_id is None:
            raise Unavailable("no chain id recorded")
        return int(self._chain_id)

    async def evm_code(self, address: str) -> bytes:
        """The recorded ``eth_getCode`` of ``address``."""
        for record in self._records:
            params = record.get("params") or [None]
            if record.get("method") == "eth_getCode" and str(params[0]).lower() == address.lower():
                return _answer(record)
        raise Unavailable("eth_getCode was not recorded")

    async def evm_call(self, *, to: str | None, data: bytes) -> bytes:
        """The recorded ``eth_call`` with this ``to`` and ``data``."""
        for record in self._records:
            method, params = str(record.get("method")), record.get("params")
            if to is None and params is None and method.startswith(_DEPLOYLESS):
                return _answer(record)
            if method == "eth_call" and isinstance(params, Sequence) and params and _same_call(params[0], to, data):
                return _answer(record)
        raise Unavailable("eth_call was not recorded")

    async def hive_accounts(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """The given accounts among ``names``."""
        if self._accounts is None:
            raise Unavailable("no accounts recorded")
        known = self._accounts.values() if isinstance(self._accounts, Mapping) else self._accounts
        return [item for item in known if isinstance(item, Mapping) and item.get("name") in names]


def _same_call(call: object, to: str | None, data: bytes) -> bool:
    if not isinstance(call, Mapping):
        return False
    recorded_to = call.get("to")
    recorded_data = call.get("data", call.get("input", "0x"))
    return (str(recorded_to).lower() if recorded_to else None) == (to.lower() if to else None) and str(
        recorded_data
    ).lower() == "0x" + data.hex()


def _answer(record: Mapping[str, Any]) -> bytes:
    """The bytes of a recorded result; a shortened one gets its true length back (as zeros)."""
    if record.get("error") is not None:
        if execution_error(record["error"]):
            raise Reverted(str(record["error"])[:200])
        raise Unavailable("the node answered with an error")
    result = record.get("result")
    if not isinstance(result, str) or not result.startswith("0x"):
        raise Unavailable("no result recorded")
    digits = result[2:]
    size = record.get("result_bytes")
    try:
        if record.get("result_truncated"):
            digits = digits.rstrip("….")
            return hex_bytes(digits[: len(digits) & ~1]).ljust(
                min(size if isinstance(size, int) else 1 << 16, 1 << 16), b"\0"
            )
        return hex_bytes(digits)
    except EncodingError as error:
        raise Unavailable("the recorded result is not hex") from error
