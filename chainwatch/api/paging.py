"""Pages of lists: ``limit`` with ``cursor`` (stable while rows come and go) or ``offset`` (for those who count)."""

import base64
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chainwatch.api.problems import Problem
from chainwatch.tickets.token import base64url

DEFAULT, MOST = 50, 200
"""Rows of a page: when not said, and at most."""

MAX_OFFSET = 10_000
"""Rows that an offset may skip: the database reads them all; who goes further uses the cursor."""

MAX_ID = 2**63 - 1


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a query that says which page."""

    limit: Annotated[int, Meta(ge=1, le=MOST)] = DEFAULT
    cursor: Annotated[str, Meta(max_length=200)] | None = None
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET)] = 0


def after(page: Page) -> Any:
    """Return where the page begins, as ``cursor_of`` was given it; None: at the first row."""
    if page.cursor is None:
        return None
    if page.offset:
        raise Problem("bad_request", "cursor and offset are two ways to say one thing: send one of them")
    try:
        padded = page.cursor + "=" * (-len(page.cursor) % 4)
        return msgspec.json.decode(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise Problem("bad_cursor", "not a cursor of ours: take next_cursor as it is") from error


def after_id(page: Page) -> int:
    """Return the id after which the page begins."""
    if page.cursor is None:
        return 0
    value = after(page)
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise Problem("bad_cursor", "not a cursor of ours: take next_cursor as it is")
    return value


def cursor_of(position: Any) -> str:
    """Return the cursor of the page behind ``position``."""
    return base64url(msgspec.json.encode(position))


def cut(rows: Any, page: Page) -> tuple[list[Any], bool]:
    """Return the page of ``offset + limit + 1`` rows that were read, and whether there are more behind it."""
    found = list(rows)[page.offset :]
    return found[: page.limit], len(found) > page.limit


def wanted(page: Page) -> int:
    """Return how many rows to read for ``cut``."""
    return page.offset + page.limit + 1
