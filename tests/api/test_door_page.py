"""What ``/door`` serves: all of its files, from nowhere else, under a policy that lets nothing else in."""

import re
from pathlib import Path

import pytest

from chainwatch.api import door_page
from chainwatch.testing.served import served

FOLDER = Path(door_page.__file__).parent / "pages" / "door"
BESIDE = {"qr/LICENSE", "qr/README.md"}


def test_every_file_of_the_page_is_served_or_says_whose_it_is() -> None:
    held = {str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*") if p.is_file()}
    assert held == {*door_page.FILES, door_page.WORKER, *BESIDE}
    assert "MIT" in (FOLDER / "qr/LICENSE").read_text("utf-8")


@pytest.mark.parametrize("name", [*door_page.FILES, door_page.WORKER])
def test_no_file_loads_from_another_host_and_none_is_code_in_a_page(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    code = re.sub(r"/\*.*?\*/|^\s*//.*$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"""(?:src|href|from|import|fetch|url)\s*[=(]?\s*["'`(](?:https?:)?//""", code)
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", code)
    if name.endswith(".js") and not name.startswith("qr/"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code), (
            "text is text"
        )
        assert "localStorage" not in code


async def test_the_page_s_headers(tmp_path: Path) -> None:
    async with served(tmp_path, chains=("HIVE",)) as api:
        for path, kind in (
            ("/door", "text/html"),
            ("/door/app.js", "text/javascript"),
            ("/door/qr/decode.js", "text/javascript"),
            ("/door/sw.js", "text/javascript"),
            ("/door/manifest.webmanifest", "application/manifest+json"),
            ("/door/icon.svg", "image/svg+xml"),
        ):
            async with api.session.get(api.server.url + path) as response:
                assert response.status == 200
                assert response.content_type == kind
                policy = response.headers["Content-Security-Policy"]
                tag = response.headers["ETag"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            async with api.session.get(api.server.url + path, headers={"If-None-Match": tag}) as response:
                assert response.status == 304
        async with api.session.get(api.server.url + "/door/sw.js") as response:
            worker = await response.text()
            assert response.headers["Service-Worker-Allowed"] == "/door"
        assert "__" not in worker
        assert '"/door/verdict.js"' in worker
        for path in ("/door/", "/door/../app.js", "/door/qr/LICENSE", "/door/%2e%2e/wire.py"):
            async with api.session.get(api.server.url + path) as response:
                assert response.status == 404
