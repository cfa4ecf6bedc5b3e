"""Certificates of attendance: titles in their own letters, and none that is not what the event is called."""

import contextlib
import re
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from chainwatch.tickets import certificate, fonts, qr
from chainwatch.tickets.certificate import Certificate
from chainwatch.tickets.token import Issuer

ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
SITE = "https://tickets.example"


@pytest.fixture(autouse=True)
def no_fonts_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Fonts are those in this folder."""
    whole = fonts.for_text
    monkeypatch.setattr(fonts, "for_text", lambda text: whole(text, [tmp_path]))
    certificate.pdf.cache_clear()
    yield tmp_path
    certificate.pdf.cache_clear()


def printed(title: str, **more: int) -> bytes:
    said = Certificate("gala", title, 7, "6f1b0000-0000-4000-8000-000000000000", 1_760_000_000_000, more.get("minutes"))
    jws = certificate.sign(ISSUER, said, SITE)
    assert certificate.verify(ISSUER, jws)["ticket"] == said.ticket
    return certificate.pdf(said, jws, f"{SITE}/c/{jws}")


def letters(pdf: bytes) -> set[str]:
    """Return what the fonts of a page say that their glyphs mean (ToUnicode)."""
    found: set[str] = set()
    for raw in re.findall(rb">>\nstream\n(.*?)\nendstream", pdf, re.DOTALL):
        text = raw
        with contextlib.suppress(zlib.error):
            text = zlib.decompress(raw)
        if b"begincmap" not in text:
            continue
        for _, meant in re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>", text):
            found |= set(bytes.fromhex(meant.decode()).decode("utf-16-be"))
    return found


def make_font(path: Path, chars: str) -> None:
    """Write a font in which each of ``chars`` is a box."""
    names = [".notdef", *(f"u{ord(c):04X}" for c in chars)]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    box = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"u{ord(c):04X}" for c in chars})
    font.setupGlyf(dict.fromkeys(names, box))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=880, descent=-120)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    font.setupOS2(sTypoAscender=880, usWinAscent=880, usWinDescent=120)
    font.setupPost()
    font.save(path)


@pytest.mark.parametrize(
    "title",
    [
        "Žluťoučký kůň", "Đêm nhạc Việt", "Вечер джаза", "Βραδιά ποίησης", "ערב שירה", "مهرجان الموسيقى", "می‌خواهم",
        "संगीत समारोह", "เทศกาลดนตรี", "საქართველო",
    ],
)  # fmt: skip
def test_eight_scripts_print_with_the_font_that_comes_with_us(title: str) -> None:
    shown = letters(printed(title))
    plain = unicodedata.normalize("NFC", title)
    letters_of = {c for c in plain if fonts.is_letter(c)}
    assert letters_of <= shown | {unicodedata.normalize("NFKC", c) for c in shown}, letters_of - shown


def test_other_scripts_print_with_a_font_of_the_system(no_fonts_of_the_system: Path) -> None:
    make_font(no_fonts_of_the_system / "NotoSansCJK-Regular.ttc", "新年音乐会")
    page = printed("新年音乐会 Gala")
    assert set("新年音乐会") <= letters(page)
    assert "?" not in letters(page)


@pytest.mark.parametrize("title", ["新年音乐会", "Gala 星", "한국"])
def test_a_title_that_no_font_can_print_is_not_printed_wrong(title: str) -> None:
    """Once it was printed as question marks: a certificate of ??? is worse than one that says why."""
    page = printed(title)
    assert not (set(title) - set("Gala ")) & letters(page)
    assert "?" not in letters(page)
    assert set("Event gala") <= letters(page)


def test_pictures_in_a_title_are_left_out() -> None:
    said = Certificate("gala", "🎉 Party 🎉️", 7, "u", 0, None)
    assert certificate._printed(said) == ("Party", "", [])
    assert certificate._printed(Certificate("gala", "🎉", 7, "u", 0, None))[0] == "Event gala"


@pytest.mark.parametrize("title", ["W" * 200, "漢" * 200, "\U0001f600" * 200, "ab " * 66])
def test_the_longest_title_fits_the_page_and_its_code(title: str, no_fonts_of_the_system: Path) -> None:
    make_font(no_fonts_of_the_system / "unifont.otf", "漢")
    said = Certificate("g" * 64, title, 10**9, "6f1b0000-0000-4000-8000-000000000000", 1_760_000_000_000, 10**6)
    jws = certificate.sign(ISSUER, said, "https://tickets.a-rather-long-name.example")
    link = f"https://tickets.a-rather-long-name.example/c/{jws}"
    assert len(link) <= qr.MAX_BYTES
    page = certificate.pdf(said, jws, link)
    assert page.count(b"/Type /Page\n") == 1
    assert certificate.pdf(said, jws, link) is page, "who looks again waits for nothing"


def test_faces_follow_the_language(tmp_path: Path) -> None:
    path = Path("NotoSansCJK-Regular.ttc")
    for text, face in (("新年", fonts.CHINESE), ("春の夜", fonts.JAPANESE), ("한국 音", fonts.KOREAN)):
        assert fonts._face(path, text) == face


def test_a_broken_font_file_is_passed_over(no_fonts_of_the_system: Path) -> None:
    (no_fonts_of_the_system / "DejaVuSans.ttf").write_bytes(b"no font")
    assert fonts.for_text("漢") == ([], "漢")


def test_a_stay_that_has_just_begun_is_not_printed_as_none() -> None:
    """It said "for 0 minutes" to whoever looked at once."""
    assert "m" not in letters(printed("G", minutes=0))
    assert "m" in letters(printed("G", minutes=4))
