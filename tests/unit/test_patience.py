"""When a node that answers is left for another one."""

from chainwatch.model import BlockRef
from chainwatch.patience import IN_VAIN, STUCK_BLOCKS, STUCK_S, Patience


def test_rounds_that_fail_in_a_row_are_counted_and_one_good_one_forgives_them() -> None:
    patience = Patience(1000)
    assert [patience.failed() for _ in range(IN_VAIN - 1)] == [False] * (IN_VAIN - 1)
    patience.succeeded()
    assert [patience.failed() for _ in range(2 * IN_VAIN)] == ([False] * (IN_VAIN - 1) + [True]) * 2


def test_a_head_that_stands_still_is_told_once_each_time_it_takes_too_long() -> None:
    patience, head = Patience(1000), BlockRef(5, "a")
    assert patience.stood_still(head, 0.0) is None
    assert patience.stood_still(head, STUCK_S) is None
    assert patience.stood_still(head, STUCK_S + 1) == STUCK_S + 1
    assert patience.stood_still(head, STUCK_S + 2) is None
    assert patience.stood_still(BlockRef(5, "b"), 1000.0) is None  # another block at its height is news


def test_slow_chains_are_given_the_time_of_a_dozen_blocks() -> None:
    patience, head = Patience(600_000), BlockRef(5, "a")
    patience.stood_still(head, 0.0)
    assert patience.stood_still(head, STUCK_BLOCKS * 600.0) is None
    assert patience.stood_still(head, STUCK_BLOCKS * 600.0 + 1) is not None
    assert not patience.too_far(STUCK_BLOCKS)
    assert patience.too_far(STUCK_BLOCKS + 1)
