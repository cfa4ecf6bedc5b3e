"""Unit tests cannot reach the network even by accident."""

import asyncio
import socket
import urllib.request

import pytest


def test_connecting_is_refused() -> None:
    with pytest.raises(RuntimeError, match="may not use the network"), socket.socket() as sock:
        sock.connect(("127.0.0.1", 9))


def test_listening_is_refused() -> None:
    with pytest.raises(RuntimeError, match="may not use the network"), socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


def test_libraries_are_refused_too() -> None:
    with pytest.raises(RuntimeError, match="may not use the network"):
        urllib.request.urlopen("http://localhost:9/")


async def test_an_event_loop_works_without() -> None:
    await asyncio.sleep(0)
