"""What an audit finds."""

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    what: str
    subject: str
    detail: str
