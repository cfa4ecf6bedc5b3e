"""QR codes: their form; an independent decoder reads them in ``tests/nodes/test_uris.py``."""

import struct
import zlib
from xml.etree import ElementTree

import pytest

from chainwatch.errors import Rejected
from chainwatch.tickets import qr

SVG = "{http://www.w3.org/2000/svg}"


def test_an_svg_has_words_a_quiet_zone_and_no_script() -> None:
    root = ElementTree.fromstring(qr.svg("cw:abc", "Pay 5 HIVE <now> & here"))
    assert root.attrib["role"] == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == "Pay 5 HIVE <now> & here"
    assert {child.tag for child in root} == {f"{SVG}title", f"{SVG}path"}
    assert root.attrib["viewBox"] == "0 0 29 29"  # 21 squares and four on each side
    background, squares = root[1], root[2]
    assert (background.attrib["fill"], squares.attrib["stroke"]) == ("#fff", "#000")
    assert squares.attrib["d"].startswith("M4 4.5")
    assert "width" not in root.attrib  # it fills the place it is put into


def pixels(picture: bytes) -> tuple[int, list[bytes]]:
    """Width and rows of a grey PNG of one bit."""
    at, width, data = 8, 0, b""
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        if kind == b"IHDR":
            width, _, depth, colour = struct.unpack(">IIBB", picture[at + 8 : at + 18])
            assert (depth, colour) == (1, 0)
        data += picture[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    row = 1 + (width + 7) // 8
    raw = zlib.decompress(data)
    return width, [raw[i + 1 : i + row] for i in range(0, len(raw), row)]


@pytest.mark.parametrize("scale", [1, 8, 32])
def test_a_png_has_its_quiet_zone(scale: int) -> None:
    width, rows = pixels(qr.png("cw:abc", scale))
    assert width == len(rows) == 29 * scale
    white = rows[0]
    assert all(row == white for row in rows[: 4 * scale] + rows[-4 * scale :])
    assert rows[4 * scale] != white


@pytest.mark.parametrize("text", ["", "x" * 1025, "é" * 513])
def test_texts_that_no_telephone_reads_are_refused(text: str) -> None:
    for make in (qr.svg, qr.png):
        with pytest.raises(Rejected) as caught:
            make(text)
        assert caught.value.code == "qr_text"
    assert qr.svg("x" * 1024)


@pytest.mark.parametrize("scale", [0, -1, 33])
def test_scales_are_bounded(scale: int) -> None:
    with pytest.raises(Rejected, match="scale"):
        qr.png("x", scale)


def test_the_same_text_gives_the_same_bytes() -> None:
    assert qr.svg("x") == qr.svg("x")
    assert qr.png("x") == qr.png("x")
