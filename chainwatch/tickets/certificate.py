"""A certificate of attendance: a page to print, with our signature over what it says.

The signature is a JWS (``typ`` certificate+jwt) in the page's QR code, as a link that checks it, and as an attachment
of the PDF.  The paper proves nothing by itself; the link does, and so does the public key, without us.
"""

import functools
import io
import tempfile
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec

from chainwatch.errors import Rejected
from chainwatch.tickets import fonts, qr
from chainwatch.tickets.token import Issuer
from chainwatch.times import format_ms

PURPOSE = "certificate"
MAX_TITLE = 200
MAX_SIGNED = 200
"""Bytes of a title in the signed statement: that is in a QR code, and Chinese has three bytes a letter."""
ATTACHMENT = "certificate.jws"
SIZES, HIGHEST = (26, 20, 16, 12), 48
"""Points of a title, and the millimetres that it may take above the code."""
KEPT = 64
"""Certificates that are kept, some 20 kB each: whoever looks at one looks again."""
_VARIANTS = "\ufe0e\ufe0f"
"""Say whether a sign is a picture."""
_JOINERS = "\u200c\u200d"
"""Invisible, but Persian and the scripts of India are spelled with them."""


class Certificate(msgspec.Struct, frozen=True):
    """What is certified: somebody with this ticket was there.  No wallet, no name."""

    event: str
    title: str
    number: int
    ticket: str
    attended_ms: int
    minutes: int | None


def sign(issuer: Issuer, certificate: Certificate, iss: str) -> str:
    """The signed statement.  It holds no time of signing: the same attendance gives the same text."""
    claims = {
        "iss": iss,
        "event": certificate.event,
        "title": _short(certificate.title),
        "number": certificate.number,
        "ticket": certificate.ticket,
        "attended_at": format_ms(certificate.attended_ms),
    }
    if certificate.minutes is not None:
        claims["minutes"] = certificate.minutes
    return issuer.signer(PURPOSE).sign(claims)


def verify(issuer: Issuer, text: str) -> dict[str, Any]:
    """The claims of a certificate of ours; ``Rejected('bad_certificate')``."""
    try:
        return issuer.signer(PURPOSE).verify(text, require=("event", "ticket"))
    except jwt.InvalidTokenError as error:
        raise Rejected("bad_certificate", "this certificate was not signed by us") from error


def _short(title: str) -> str:
    """Return a title that fits the code, with a sign where it was cut."""
    if len(title.encode()) <= MAX_SIGNED:
        return title
    return title.encode()[: MAX_SIGNED - 3].decode("utf-8", "ignore") + "…"


@functools.lru_cache(maxsize=KEPT)
def pdf(certificate: Certificate, jws: str, link: str) -> bytes:
    """The page, A4 across.  ``link`` checks the signature.  It takes a second or two: not for the loop.

    A title is printed in its own letters.  Where no font at hand has them (``fonts``), the page says so and names the
    event by its id: a wrong title on a certificate would be worse than none.
    """
    from fpdf import FPDF  # half a second and fonttools: only who asks for a certificate pays for it

    title, note, more = _printed(certificate)
    page = FPDF(orientation="landscape", unit="mm", format="A4")
    page.set_creation_date(datetime.fromtimestamp(certificate.attended_ms // 1000, UTC))  # the same bytes each time
    page.set_title(f"Certificate of attendance: {title}")
    page.set_lang("en")
    page.set_margin(25)
    page.add_page()
    with tempfile.TemporaryDirectory(prefix="chainwatch-") as folder:
        _load(page, Path(folder), more)
        page.set_draw_color(40, 60, 90)
        page.set_line_width(1.2)
        page.rect(10, 10, 277, 190)
        page.set_y(28)
        _line(page, "", 16, "Certificate of attendance")
        _line(page, "B", _size(page, title), title)
        _line(page, "", 14, f"Ticket no. {certificate.number} was there on {_day(certificate.attended_ms)}")
        if certificate.minutes:  # none of a stay that has just begun
            _line(page, "", 14, f"for {certificate.minutes} minute{'s' * (certificate.minutes != 1)}")
        if note:
            _line(page, "", 10, note)
        page.image(io.BytesIO(qr.png(link, scale=6)), x=116, y=112, w=65, alt_text="Link that checks this certificate")
        page.set_y(180)
        page.set_font("own", "", 8)
        page.cell(0, 5, f"Ticket {certificate.ticket}. Scan to check the signature.", align="C", link=link)
        page.embed_file(bytes=jws.encode(), basename=ATTACHMENT, desc="Signed statement (JWS, EdDSA)")
        return bytes(page.output())


def _line(page: Any, style: str, size: int, text: str) -> None:
    page.set_font("own", style, size)
    page.multi_cell(0, size * 0.5, text, align="C", new_x="LMARGIN", new_y="NEXT")
    page.ln(3)


def _size(page: Any, title: str) -> int:
    """Return the largest size in which a title stays above the code."""
    for size in SIZES:
        page.set_font("own", "B", size)
        lines = page.multi_cell(0, size * 0.5, title, dry_run=True, output="LINES")
        if len(lines) * size * 0.5 <= HIGHEST:
            return size
    return SIZES[-1]


def _printed(certificate: Certificate) -> tuple[str, str, list[fonts.Font]]:
    """Return the title as it is printed, what is to be said of it, and the fonts that it needs beside our own."""
    said = unicodedata.normalize("NFC", certificate.title)[:MAX_TITLE]
    title = "".join(c for c in said if (c.isprintable() and c not in _VARIANTS) or c in _JOINERS).strip()
    more, missing = fonts.for_text(title)
    if any(map(fonts.is_letter, missing)):
        note = "Its title has letters that no font here can print; the signed statement in this file has it as it is."
        return f"Event {certificate.event}", note, []
    return "".join(c for c in title if c not in missing).strip() or f"Event {certificate.event}", "", more


def _load(page: Any, folder: Path, more: list[fonts.Font]) -> None:
    """Give the page its fonts; only the letters that are used end up in the file."""
    for style, name in (("", "own.ttf"), ("B", "bold.ttf")):
        (folder / name).write_bytes(fonts.own(bold=style == "B"))
        page.add_font("own", style, folder / name)
    families = [f"more{i}" for i in range(len(more))]
    for family, font in zip(families, more, strict=True):
        page.add_font(family, "", font.path, collection_font_number=font.face)
    page.set_fallback_fonts(families, exact_match=False)
    page.set_text_shaping(True)  # Arabic is joined and written from the right, Devanagari is stacked


def _day(ms: int) -> str:
    return (format_ms(ms) or "")[:10]
