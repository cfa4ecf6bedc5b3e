"""Fonts to print with: one that comes with us, and those of the system for letters that it has not.

FiraGO (SIL Open Font License, from the package ``pymupdf-fonts``) has Latin, Greek, Cyrillic, Georgian, Hebrew, Arabic,
Devanagari and Thai.  Chinese, Japanese, Korean and the rest are looked for where systems keep fonts: their fonts are
larger than this program (Debian: ``fonts-noto-cjk``, ``fonts-noto-core``).
"""

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import msgspec

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
WANTED = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans*-Regular.[ot]tf",
    "DroidSansFallback*.ttf",
    "wqy-*.tt[cf]",
    "DejaVuSans.ttf",
    "FreeSans.ttf",
    "unifont*.[ot]tf",
)
"""Names of files, the best first."""

JAPANESE, KOREAN, CHINESE = 0, 1, 2
"""Faces of Noto Sans CJK: the same character is drawn differently in each."""


class Font(msgspec.Struct, frozen=True):
    """A font file; ``face``: which one of a collection."""

    path: Path
    face: int = 0


def own(bold: bool = False) -> bytes:
    """Return the font that comes with us, as a TrueType file."""
    from pymupdf_fonts import myfont

    return bytes(myfont("figbo" if bold else "figo"))


@functools.cache
def own_letters() -> frozenset[int]:
    """Return what our own font can write."""
    import io

    from fontTools.ttLib import TTFont

    return frozenset(TTFont(io.BytesIO(own()), lazy=True).getBestCmap())


def for_text(text: str, folders: Sequence[Path] = FOLDERS) -> tuple[list[Font], str]:
    """Return the fonts of the system that ``text`` needs beside ours, and the letters that none of them has."""
    missing = {c for c in text if not _is_blank(c) and ord(c) not in own_letters()}
    fonts = []
    for path in _files(tuple(folders)) if missing else ():
        has = {c for c in missing if ord(c) in _letters(path)}
        if has:
            fonts.append(Font(path, _face(path, text)))
            missing -= has
        if not missing:
            break
    return fonts, "".join(sorted(missing))


def is_letter(char: str) -> bool:
    """Is it part of a word?  Signs and pictures may be left out, and a title still says the same."""
    return unicodedata.category(char)[0] in "LMN"


def _is_blank(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) == "Cf"


def _face(path: Path, text: str) -> int:
    """Return the face for the language that the letters tell."""
    if not path.name.startswith("NotoSansCJK"):
        return 0
    names = [unicodedata.name(c, "") for c in text]
    if any(n.startswith("HANGUL") for n in names):
        return KOREAN
    return JAPANESE if any(n.startswith(("HIRAGANA", "KATAKANA")) for n in names) else CHINESE


@functools.cache
def _files(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    found = (path for want in WANTED for folder in folders for path in sorted(folder.rglob(want)))
    return tuple(dict.fromkeys(found))


@functools.lru_cache(maxsize=32)
def _letters(path: Path) -> frozenset[int]:
    """Return what a font can write; nothing where it cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with path.open("rb") as file, TTFont(file, fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (TTLibError, OSError):
        return frozenset()
