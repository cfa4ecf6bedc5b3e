"""Ports for the programs that tests start."""

import socket

import pytest

from chainwatch.testing import ports

pytestmark = pytest.mark.network


def test_ports_for_programs_are_not_those_that_the_system_gives_to_others() -> None:
    given = ports._first_given()
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(port < given for port in found) or given <= 2 * ports.LOWEST
    for port in found:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
