"""The whole error tree, by what the caller must do.

    ChainwatchError
    ├── Transient        try again later: the outside is slow, busy, behind or disagrees with itself
    │   ├── Unreachable  no endpoint answers (command line: exit 3)
    │   ├── Inconsistent one node's answers contradict each other or do not connect
    │   └── LostRace     another writer moved first: roll back, read again
    ├── Persistent       do not try again: stop this chain, alarm, tell the operator
    │   └── Unfollowable no common block with the node as far back as we remember
    ├── Misconfigured    refuse to start; the message says which line (command line: exit 2)
    └── Rejected         a request or an input that is wrong; carries a stable ``code``

The original exception is always chained (``raise … from``).
"""


class ChainwatchError(Exception):
    """Root of everything this package raises on purpose."""


class Transient(ChainwatchError):
    """Try again later."""


class Unreachable(Transient):
    """No endpoint answered in time."""


class Inconsistent(Transient):
    """A node's answers contradict each other."""


class LostRace(Transient):
    """Another writer was first; nothing was written."""


class Persistent(ChainwatchError):
    """Trying again cannot help."""


class Unfollowable(Persistent):
    """The node's chain has no block in common with ours as far back as we remember."""


class Misconfigured(ChainwatchError):
    """The configuration or the node it names is wrong."""


class Rejected(ChainwatchError):
    """An input is wrong.  ``code`` is stable and part of the interface."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
