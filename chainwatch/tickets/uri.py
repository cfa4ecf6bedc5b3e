"""Payment URIs: what a wallet opens or scans to pay exactly this.

One standard a family: BIP-21, EIP-681, Solana Pay, Monero's ``monero:``, Hive's ``hive://sign/op/``.  Amounts are
written from integers, digit by digit: no float has ever held one.
"""

import base64
from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from chainwatch.errors import Rejected
from chainwatch.model import Asset, ChainSpec
from chainwatch.units import format_units

MAX_LABEL = 200
"""Characters of a label: an event's title; a QR code must stay readable."""

MEMO_IN_URI = frozenset({"hive", "solana"})
"""Families whose URIs put the memo into the transaction.  EIP-681 has no key for call data and BIP-21 none for
OP_RETURN, and Monero has no memo: there whoever pays to a shared account must be shown the memo beside the code."""


class Payment(msgspec.Struct, frozen=True):
    """What is to be paid: ``amount`` in base units of ``asset``."""

    spec: ChainSpec
    asset: Asset
    address: str
    amount: int
    memo: str | None
    reference: str | None
    label: str

    @property
    def decimal(self) -> str:
        """The amount in whole coins, as text."""
        return format_units(self.amount, self.asset.decimals)


def payment_uri(
    spec: ChainSpec,
    asset: Asset,
    *,
    address: str,
    amount: int,
    memo: str | None,
    reference: str | None,
    label: str = "",
) -> str:
    """Return the URI that pays ``amount`` base units of ``asset`` to ``address``.

    ``reference``: a Solana Pay key.  ``memo`` stands in it where the standard can carry it (``MEMO_IN_URI``).
    ``Rejected('no_uri')`` for a chain of a family without a standard.
    """
    write = _WRITERS.get(spec.family)
    if write is None:
        raise Rejected("no_uri", f"{spec.code}: the family {spec.family!r} has no payment URI")
    if amount < 0:
        raise Rejected("amount", f"{amount} is no amount")
    return write(Payment(spec, asset, address, amount, memo, reference, label[:MAX_LABEL]))


def _bitcoin(p: Payment) -> str:
    """BIP-21.  ``message`` only shows the memo to the buyer: a wallet puts it into no transaction."""
    scheme = str(p.spec.params.get("uri", p.spec.code.lower()))
    return f"{scheme}:{p.address}" + _query({"amount": p.decimal, "label": p.label, "message": p.memo})


def _evm(p: Payment) -> str:
    """EIP-681: ``value`` in wei, or a call of the token's ``transfer``; the memo has no place in either."""
    chain = p.spec.chain_id
    if p.asset.asset_id is None:
        return f"ethereum:{p.address}@{chain}?value={p.amount}"
    return f"ethereum:{p.asset.asset_id}@{chain}/transfer?address={p.address}&uint256={p.amount}"


def _solana(p: Payment) -> str:
    """Solana Pay, a transfer request: the amount in whole coins, also for tokens."""
    return f"solana:{p.address}" + _query(
        {
            "amount": p.decimal,
            "spl-token": p.asset.asset_id,
            "reference": p.reference,
            "label": p.label,
            "memo": p.memo,
        }
    )


def _monero(p: Payment) -> str:
    """Monero's URI: ``tx_amount`` in XMR (the payment's subaddress stands for its memo)."""
    return f"monero:{p.address}" + _query({"tx_amount": p.decimal, "recipient_name": p.label})


def _hive(p: Payment) -> str:
    """hive-uri: one operation as JSON in its own base64; the wallet puts its account in the place of ``__signer``."""
    # Hive nodes want every decimal place: 1 HIVE is "1.000 HIVE".
    whole, _, fraction = p.decimal.partition(".")
    amount = f"{whole}.{fraction.ljust(p.asset.decimals, '0')}" if p.asset.decimals else whole
    fields = {"from": "__signer", "to": p.address, "amount": f"{amount} {p.asset.code}", "memo": p.memo or ""}
    encoded = base64.b64encode(msgspec.json.encode(["transfer", fields]), altchars=b"-_").decode()
    return f"hive://sign/op/{encoded.replace('=', '.')}"


_WRITERS: Mapping[str, Callable[[Payment], str]] = {
    "bitcoin": _bitcoin,
    "evm": _evm,
    "solana": _solana,
    "monero": _monero,
    "hive": _hive,
}


def _query(values: Mapping[str, str | None]) -> str:
    """Percent-encode all that is not unreserved (RFC 3986): ``+`` is a space to some readers and a plus to others."""
    written = [f"{key}={quote(value, safe='')}" for key, value in values.items() if value]
    return "?" + "&".join(written) if written else ""
