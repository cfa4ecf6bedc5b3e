"""Is there anybody at the destination?  Asked before money is promised to it, where a chain knows accounts by name.

A Hive transaction in which one transfer goes to an account that does not exist fails whole, and with it every other
payment of its file.  Other chains' addresses need nobody behind them.
"""

from chainwatch.api.backend import Backend
from chainwatch.api.problems import Problem
from chainwatch.verifiers import Unavailable
from chainwatch.verifiers.addresses import wallet_for
from chainwatch.verifiers.chains import parse_chain


async def check(backend: Backend, chain: str, destination: str) -> None:
    """``Problem`` ``bad_destination`` for an account that does not exist, ``unavailable`` while no node can be asked.

    What is no address of ``chain`` at all is the ledger's to refuse.
    """
    context, known = backend.contexts.get(chain), parse_chain(chain)
    if context is None or known is None or context.spec.family != "hive":
        return
    resolver, wallet = backend.resolver(chain), wallet_for(destination, known)
    if resolver is None or wallet is None:
        return
    try:
        found = await resolver.hive_accounts([wallet.canonical])
    except Unavailable as error:
        raise Problem("unavailable", f"{chain} cannot be asked about {wallet.canonical!r} now: try again") from error
    if wallet.canonical not in {account.get("name") for account in found}:
        raise Problem("bad_destination", f"there is no account {wallet.canonical!r} on {chain}")
