"""Monero: the parameters of monero-wallet-rpc's ``transfer``.

A view-only wallet does not see what it spends: the payment is settled by the transaction key that ``transfer`` answers
(``chainwatch payouts settle --txid … --tx-key …``).  Nothing in the file rules a second one out, so taking it back needs
two operators.
"""

from chainwatch.ledger.exports import Plan, Work
from chainwatch.payfiles.options import Options, after_fee

MOST = 15
"""Payments of one transaction: 16 outputs, one of them the change."""


def plan(work: Work, options: Options) -> Plan:
    """Return the call.  What is beyond one transaction stays due."""
    items = after_fee(work.items, options.network_fee)[:MOST]
    destinations = [{"amount": i.amount, "address": i.destination} for i in items]
    params = {"destinations": destinations, "account_index": int(options.account or 0), "get_tx_key": True}
    return Plan(items, {"method": "transfer", "params": params})
