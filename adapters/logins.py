"""Logins of nodes: ``user:password`` in a file of the operator's, never in the configuration itself."""

import os
import stat
from pathlib import Path

from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec

LOGIN = 1_024
"""Bytes of a login file: a user, a colon, a password."""


def login(spec: ChainSpec, key: str) -> str | None:
    """Read ``user:password`` from the file that the option names; never quoted in an error.

    Others must not be able to read it.  (The group may: systemd hands credentials out so.)
    """
    path = spec.options.get(key)
    if path is None:
        return None
    where = f"chains.{spec.code}.{key}"
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LOGIN + 1)
    except (OSError, TypeError, ValueError) as error:
        raise Misconfigured(f"{where}: cannot be read ({type(error).__name__})") from error
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise Misconfigured(f"{where}: other users can read or change it; chmod 600")
    try:
        pair = text.decode().strip("\r\n")
    except UnicodeDecodeError:
        pair = ""
    user, colon, password = pair.partition(":")
    if not (user and colon and password) or len(text) > LOGIN or "\n" in pair:
        raise Misconfigured(f"{where}: one line user:password is wanted")
    return pair
