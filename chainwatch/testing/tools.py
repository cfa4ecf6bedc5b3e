"""Where the real parts of the tests are: what ``make test`` put into ``.tools/``, or the machine's own."""

import os
import shutil
from pathlib import Path

_IN_NODE_MODULES = {
    "anvil": "@foundry-rs/anvil-linux-amd64/bin/anvil",
    "axe": "axe-core/axe.min.js",
    "bcoin": "bcoin/bin/node",
    "surfpool": "@solana/surfpool-linux-x64-gnu",
}


def tools_dir() -> Path:
    """Return ``$CHAINWATCH_TOOLS``, else ``.tools`` of the checkout that the tests run in."""
    return Path(os.environ.get("CHAINWATCH_TOOLS", ".tools")).absolute()


def node_modules() -> Path:
    """Return the folder that Node.js programs of the tests import from (it may be absent)."""
    return tools_dir() / "node_modules"


def find_tool(name: str) -> Path | None:
    """Return a program or package of the tests, or None.

    First what the variable of its name says (``BITCOIND=/opt/bin/bitcoind``), then ``.tools/``, then PATH.
    """
    candidates = [Path(given)] if (given := os.environ.get(name.upper().replace("-", "_"))) else []
    if name in _IN_NODE_MODULES:
        candidates.append(node_modules() / _IN_NODE_MODULES[name])
    candidates.append(tools_dir() / "bin" / name)
    if found := shutil.which(name):
        candidates.append(Path(found))
    return next((c for c in candidates if c.exists()), None)
