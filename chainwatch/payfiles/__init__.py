"""Unsigned payment files: what the operator's own wallet signs.  No key is ever here.

Each family's module has ``plan(work, options) -> Plan`` (``chainwatch.ledger.exports.Planner`` with its options bound).
Pure: what a plan needs of a node (a nonce, earlier transactions) the caller has asked for before.
"""

import importlib
from collections.abc import Mapping

import msgspec

from chainwatch.errors import Rejected
from chainwatch.ledger.exports import Plan, Planner, Work
from chainwatch.model import ChainSpec
from chainwatch.payfiles.options import Options

FAMILIES: Mapping[str, str] = {
    "hive": "chainwatch.payfiles.hive",
    "evm": "chainwatch.payfiles.evm",
    "bitcoin": "chainwatch.payfiles.bitcoin",
    "solana": "chainwatch.payfiles.solana",
    "monero": "chainwatch.payfiles.monero",
}


def planner(spec: ChainSpec, options: Options | None = None) -> Planner:
    """Return the planner of a chain; ``Rejected`` ``no_payment_file`` for a family that has none."""
    name = FAMILIES.get(spec.family)
    if name is None:
        raise Rejected("no_payment_file", f"chainwatch writes no payment files for {spec.family}")
    module = importlib.import_module(name)
    chosen = options or Options()

    def plan(work: Work) -> Plan:
        made: Plan = module.plan(work, chosen)
        return made

    return plan


def again(spec: ChainSpec, payload: str, options: Options | None = None) -> Planner:
    """Return the planner that writes a file anew (a Hive transaction whose time is over): the same account pays it."""
    chosen = options or Options()
    if spec.family == "hive" and chosen.account is None and payload:
        operations = msgspec.json.decode(payload)["operations"]
        chosen = msgspec.structs.replace(chosen, account=operations[0][1]["from"])
    return planner(spec, chosen)


__all__ = ["Options", "again", "planner"]
