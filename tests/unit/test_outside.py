"""Which URLs and addresses we may call."""

import pytest

from chainwatch.errors import Rejected
from chainwatch.outside import check_url, is_public

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254",  # the cloud's metadata
    "100.64.0.1", "100.127.255.255",  # carrier-grade NAT
    "192.88.99.1", "3fff::1", "5f00::1",
    "192.0.2.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f000001", "8.8.8.8.8", "☃"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "url", ["https://example.org/hook", "https://example.org:8443/a?b=c", "https://8.8.8.8/", "https://8.example/"]
)
def test_good_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "https:///x",
        "https://user:word@example.org/", "https://user@example.org/", "https://example.org/#x",
        "https://example.org:0/", "https://example.org:99999/", "https://example.org/ x", "https://example.org/\n",
        "https://example.org\\@127.0.0.1/", "https://exämple.org/", "https://[::1/",
        "https://example.org/" + "x" * 2048, "https://127.1/", "https://2130706433/", "https://0x7f000001/",
        "https://0177.0.0.1/", "https://10.0.0.0x1./",
        *(f"https://{f'[{a}]' if ':' in a else a}/" for a in PRIVATE if "%" not in a),
    ],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_url(url)
    assert caught.value.code == "bad_url"


def test_private_ones_are_good_where_that_is_allowed() -> None:
    for url in ("http://127.0.0.1:8000/hook", "http://receiver.internal/", "https://[::1]:1/"):
        assert check_url(url, allow_private=True) == url
    with pytest.raises(Rejected):
        check_url("ftp://127.0.0.1/", allow_private=True)
