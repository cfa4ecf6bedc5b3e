"""Fakes that ship, so that users can test their integration against them."""

from chainwatch.testing.clock import FakeClock
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx

__all__ = ["FakeBlock", "FakeChain", "FakeClock", "FakeTransfer", "FakeTx"]
