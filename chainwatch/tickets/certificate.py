"""A certificate of attendance: a page to print, with our signature over what it says.

The signature is a JWS (``typ`` certificate+jwt) in the page's QR code, as a link that checks it, and as an attachment
of the PDF.  The paper proves nothing by itself; the link does, and so does the public key, without us.
"""

import io
import unicodedata
from datetime import UTC, datetime
from typing import Any

import jwt
import msgspec

from chainwatch.errors import Rejected
from chainwatch.tickets import qr
from chainwatch.tickets.token import Issuer
from chainwatch.times import format_ms

PURPOSE = "certificate"
MAX_TITLE = 200
ATTACHMENT = "certificate.jws"


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
        "title": certificate.title[:MAX_TITLE],
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


def pdf(certificate: Certificate, jws: str, link: str) -> bytes:
    """The page, A4 across.  ``link`` checks the signature.

    The built-in fonts know Latin letters only; others are written by their nearest Latin ones, or as ``?``.  The signed
    statement has the title as it is.
    """
    from fpdf import FPDF  # half a second and fonttools: only who asks for a certificate pays for it

    page = FPDF(orientation="landscape", unit="mm", format="A4")
    page.set_creation_date(datetime.fromtimestamp(certificate.attended_ms // 1000, UTC))  # the same bytes each time
    page.set_title(_latin(f"Certificate of attendance: {certificate.title}"))
    page.set_margin(25)
    page.add_page()
    page.set_draw_color(40, 60, 90)
    page.set_line_width(1.2)
    page.rect(10, 10, 277, 190)
    page.set_y(35)
    rows = [
        ("helvetica", "", 16, "Certificate of attendance"),
        ("helvetica", "B", 26, certificate.title),
        ("helvetica", "", 14, f"Ticket no. {certificate.number} was there on {_day(certificate.attended_ms)}"),
    ]
    if certificate.minutes is not None:
        rows.append(("helvetica", "", 14, f"for {certificate.minutes} minutes"))
    for family, style, size, text in rows:
        page.set_font(family, style, size)
        page.multi_cell(0, size * 0.55, _latin(text), align="C", new_x="LMARGIN", new_y="NEXT")
        page.ln(5)
    page.image(io.BytesIO(qr.png(link, scale=6)), x=123.5, y=125, w=50, alt_text="Link that checks this certificate")
    page.set_y(178)
    page.set_font("helvetica", "", 8)
    page.cell(0, 5, _latin(f"Ticket {certificate.ticket}. Scan to check the signature."), align="C", link=link)
    page.embed_file(bytes=jws.encode(), basename=ATTACHMENT, desc="Signed statement (JWS, EdDSA)")
    return bytes(page.output())


def _day(ms: int) -> str:
    return (format_ms(ms) or "")[:10]


def _latin(text: str) -> str:
    plain = unicodedata.normalize("NFC", "".join(c for c in text if c.isprintable())[:MAX_TITLE])
    return "".join(c if ord(c) < 256 else _nearest(c) for c in plain)


def _nearest(char: str) -> str:
    return unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"
