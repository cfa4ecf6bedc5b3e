"""Secrets: read from files that only their owner can read, and never shown.

Also the two refusals of DESIGN invariant 11: a private key where a public one is asked for,
and a secret that everybody knows.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from chainwatch.errors import Misconfigured

MAX_BYTES = 64 * 1024  # the largest secret is a PEM key of a few kB; anything longer is the wrong file

PLACEHOLDERS = frozenset(
    {"changeme", "change-me", "change_me", "change", "secret", "password", "passwd", "pass", "default", "example"}
    | {"chainwatch", "test", "admin", "root", "todo", "fixme", "xxx", "none", "null", "placeholder", "letmein"}
    | {"123456", "12345678", "your-secret", "your_secret", "yoursecret", "hunter2", "default_secret", "…", "..."}
)

_B58 = "1-9A-HJ-NP-Za-km-z"
_HEX_32 = re.compile(r"(?:0[xX])?[0-9a-fA-F]{64}")
_PRIVATE = (
    # 51 or 52 characters of base58: no address of any chain has that length, every WIF key has.
    (re.compile(rf"[{_B58}]{{51,52}}"), "a private key (WIF)"),
    # BIP-32 prefixes with "prv" (SLIP-132), Litecoin, Dogecoin and Dash variants; also inside a descriptor.
    (re.compile(rf".*(?:[A-Za-z]prv|[LM]tpv|dgpv|drkp)[{_B58}]{{80,}}.*", re.DOTALL), "an extended private key"),
    (_HEX_32, "what looks like a private key (64 hex digits)"),
    (re.compile(rf"[{_B58}]{{86,88}}"), "what looks like a private key (64 bytes in base58)"),
    (re.compile(r"[a-z]{3,8}(?: +[a-z]{3,8}){11,24}"), "what looks like a recovery phrase"),
)


class Secret(str):
    """A secret's text.  ``repr`` hides it; the log filter removes it (``Settings.secrets``)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


def private_key(text: str, *, hashes: bool = False) -> str | None:
    """Say what kind of private key ``text`` looks like, or None.  ``hashes``: 32 bytes of hex are meant here."""
    stripped = text.strip()
    if hashes and _HEX_32.fullmatch(stripped):
        return None
    return next((kind for pattern, kind in _PRIVATE if pattern.fullmatch(stripped)), None)


def is_placeholder(text: str) -> bool:
    """Is this a secret that everybody knows, or none at all?"""
    bare = text.strip().strip("<>").lower()
    return not bare or bare in PLACEHOLDERS or len(set(bare)) == 1


def secret_file(name: str, path: Path | None, *, environ: Mapping[str, str]) -> Path | None:
    """Return where the secret ``name`` stands: ``$CREDENTIALS_DIRECTORY/<name>`` if systemd gives it, else ``path``."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder and (credential := Path(folder) / name).is_file():
        return credential
    return path


def read_secret(path: Path) -> Secret:
    """Read a secret.

    ``Misconfigured`` for a file that is missing, open to everybody, no regular file, not text, too large,
    or holds a placeholder.
    """
    text = _read_private(path)
    if is_placeholder(text):
        raise Misconfigured(f"{path} holds a placeholder, not a secret")
    return Secret(text)


def _read_private(path: Path) -> str:
    try:
        # O_NONBLOCK: a named pipe must not hang the start.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise Misconfigured(f"{path} is not a regular file")
        # The group may read: systemd hands credentials out so.
        if mode & 0o037:
            raise Misconfigured(f"{path} can be read or changed by other users of this machine: chmod 0600 {path}")
        raw = os.read(fd, MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(raw) > MAX_BYTES:
        raise Misconfigured(f"{path} is larger than {MAX_BYTES} bytes: that is no secret")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not text") from error
