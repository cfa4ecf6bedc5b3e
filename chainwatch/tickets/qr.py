"""QR codes: black on white, with the quiet zone that scanners need, and words for those who cannot see them."""

import io

import segno

from chainwatch.errors import Rejected

ERROR_LEVEL = "m"
"""15 % of a code may be damaged: a scratched telephone, a fold in the paper; more makes the squares smaller."""
QUIET_ZONE = 4
"""Empty squares around a code (ISO/IEC 18004): without them scanners on dark pages find nothing."""
MAX_BYTES = 1024
"""A payment URI has some 300 bytes, a signed ticket 600; what is longer no telephone reads from a screen."""
MAX_SCALE = 32
TITLE = "QR code"


def svg(text: str, title: str = TITLE) -> bytes:
    """Return the code as an SVG picture that fills its place; ``title`` is what screen readers say.

    ``Rejected('qr_text')`` when the text is empty or longer than ``MAX_BYTES``.
    """
    out = io.BytesIO()
    _code(text).save(
        out,
        kind="svg",
        border=QUIET_ZONE,
        light="#fff",
        dark="#000",
        title=title,
        omitsize=True,
        xmldecl=False,
        nl=False,
    )
    return out.getvalue().replace(b"<svg ", b'<svg role="img" ', 1)


def png(text: str, scale: int = 8) -> bytes:
    """Return the code as a PNG picture, ``scale`` pixels a square."""
    if not 1 <= scale <= MAX_SCALE:
        raise Rejected("qr_scale", f"a scale is from 1 to {MAX_SCALE}")
    out = io.BytesIO()
    _code(text).save(out, kind="png", border=QUIET_ZONE, scale=scale, light="#fff", dark="#000")
    return out.getvalue()


def _code(text: str) -> segno.QRCode:
    if not text or len(text.encode()) > MAX_BYTES:
        raise Rejected("qr_text", f"a QR code holds 1 to {MAX_BYTES} bytes")
    return segno.make(text, error=ERROR_LEVEL, micro=False, boost_error=False)
