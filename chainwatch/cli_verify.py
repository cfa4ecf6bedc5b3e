"""``chainwatch verify``: one signature, or one a line."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from chainwatch.errors import Misconfigured
from chainwatch.terminal import NO, UNREACHABLE, ConfigOption, JsonOption, say, settings_of

if TYPE_CHECKING:
    from chainwatch.verifiers import Verification


def verify(
    chain: Annotated[str | None, typer.Option("--chain")] = None,
    address: Annotated[str | None, typer.Option("--address")] = None,
    message: Annotated[str | None, typer.Option("--message")] = None,
    signature: Annotated[str | None, typer.Option("--signature")] = None,
    jsonl: Annotated[str | None, typer.Option("--jsonl", help="File of JSON lines, or -.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """One signature, or one a line: is it by that wallet?  A configured node is asked where only its chain knows."""
    if jsonl is not None:
        _lines(jsonl)
        return
    if address is None or message is None or signature is None:
        raise Misconfigured("verify needs --address, --message and --signature, or --jsonl FILE")
    from chainwatch.verifiers import Status

    result = _one({"chain": chain, "address": address, "message": message, "signature": signature}, config)
    answer = {
        "valid": result.ok,
        "status": str(result.status),
        "scheme": result.scheme,
        "reason": str(result.reason),
    }
    say(answer, json, lambda a: print(f"valid: {a['scheme']}" if a["valid"] else f"{a['status']}: {a['reason']}"))
    raise typer.Exit(0 if result.ok else UNREACHABLE if result.status is Status.UNAVAILABLE else NO)


def _one(question: dict[str, Any], config: Path | None) -> "Verification":
    """The answer without any node; where that is no yes, the one with the nodes of the wallet's chain, if it has any.

    Accounts of Hive and contract wallets are what their chain says.
    """
    from chainwatch.verifiers import SCHEMES, averify, verify

    result = verify(**question)
    scheme = SCHEMES.get(result.scheme or "")
    if result or result.chain is None or scheme is None or scheme.resolved is None:
        return result
    from chainwatch.resolver import Resolvers

    chains = settings_of(config, built_in=False, with_secrets=False).chains
    resolvers = Resolvers({code: configured.spec for code, configured in chains.items()})
    numbers = {f"eip155:{c.spec.chain_id}": code for code, c in chains.items() if c.spec.family == "evm"}
    resolver = resolvers(numbers.get(result.chain, result.chain))
    if resolver is None:
        return result

    async def ask() -> "Verification":
        try:
            return await averify(**question, resolver=resolver)
        finally:
            await resolvers.close()

    return asyncio.run(ask())


def _lines(name: str) -> None:
    """Answer the rows of a file (``-``: standard input), from what stands in them alone."""
    from chainwatch.verifiers.jsonl import answer_lines, read_lines

    source = sys.stdin.buffer if name == "-" else _open(name)
    with source:
        for line in answer_lines(read_lines(source)):
            print(line, flush=name == "-")  # whoever writes to a pipe may wait for each answer


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror}") from error
