"""Following without I/O: fork points, lagging nodes, final blocks."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import Inconsistent, Unfollowable
from chainwatch.follower import (
    BELOW_FIRST,
    MEMORY,
    Behind,
    Follow,
    Held,
    Idle,
    Plan,
    linked,
    plan,
    usable_final,
    window_step,
)
from chainwatch.model import Block, BlockRef, InBlock, Transfer, Unconfirmed, Window


def chain(length: int, fork_at: int | None = None, letter: str = "a") -> list[BlockRef]:
    """Blocks 0..length-1; from ``fork_at`` on another branch."""
    blocks: list[BlockRef] = []
    for h in range(length):
        name = letter if fork_at is not None and h >= fork_at else "m"
        blocks.append(BlockRef(h, f"{name}{h}", blocks[-1].hash if blocks else ""))
    return blocks


def ask(
    held: Held, node: Sequence[BlockRef], final: BlockRef | None = None, start: int | None = None
) -> tuple[Plan, int]:
    """Run a plan against a node's blocks; return it and how many headers it took."""
    steps = plan(held, node[-1], final, start)
    asked = 0
    try:
        height = next(steps)
        while True:
            asked += 1
            height = steps.send(node[height])
    except StopIteration as done:
        return done.value, asked


def holding(blocks: Sequence[BlockRef], final: int | None = None) -> Held:
    return Held(blocks[-1], blocks[final] if final is not None else None, blocks)


def test_a_first_run_begins_at_the_head_or_where_it_is_told() -> None:
    node = chain(10)
    assert ask(Held(None, None), node)[0] == Follow(None, 9, 9)
    assert ask(Held(None, None), node, start=3)[0] == Follow(None, 3, 9)


def test_the_same_head_is_idle_until_the_final_block_moves() -> None:
    node = chain(10)
    held = holding(node, 5)
    assert ask(held, node, node[5])[0] == Idle()
    assert ask(held, node, node[7])[0] == Follow(None, 10, 9)
    assert ask(held, node, node[4])[0] == Idle()  # a final block that goes back is a lagging answer


def test_the_next_block_needs_no_header() -> None:
    assert ask(holding(chain(9)), chain(10)) == (Follow(None, 9, 9), 0)


def test_a_lower_tip_on_our_chain_is_a_lagging_node() -> None:
    """Blockbook over-disconnects here; a load-balanced node must not undo anything."""
    assert ask(holding(chain(10)), chain(7))[0] == Behind(3)


def test_a_lower_tip_on_another_branch_is_a_reorg() -> None:
    plan_, _ = ask(holding(chain(10)), chain(8, fork_at=6))
    assert plan_ == Follow(chain(10)[5], 6, 7)


def test_a_node_below_what_is_final_can_undo_nothing() -> None:
    assert ask(holding(chain(10), 8), chain(6, fork_at=3))[0] == Behind(4)


def test_a_node_below_all_that_we_remember_only_lags() -> None:
    """Begun at block 6, a node that shows block 5 again is no reason to stop the chain."""
    held = Held(chain(10)[9], None, chain(10)[6:])
    assert ask(held, chain(6))[0] == Behind(4)
    assert ask(held, chain(6, fork_at=3))[0] == Behind(4)


def test_a_reorg_below_the_final_block_says_so() -> None:
    plan_, _ = ask(holding(chain(10), 8), chain(12, fork_at=5))
    assert plan_ == Follow(chain(10)[4], 5, 11, undoes_final=True)


def test_no_common_block_is_unfollowable() -> None:
    with pytest.raises(Unfollowable, match="no common block"):
        ask(holding(chain(10)), chain(12, fork_at=0))


def test_a_reorg_across_the_first_block_ever_read_is_followed() -> None:
    """Begun at the tip, nothing of ours final yet: the very first block may be replaced like any other."""
    ours, theirs = chain(50), chain(52, fork_at=40)
    below = 48 - 1 - BELOW_FIRST  # what is ours may have moved below the first block
    assert ask(Held(ours[49], None, ours[48:]), theirs)[0] == Follow(theirs[below], below + 1, 51)
    assert ask(Held(ours[9], None, ours[8:10]), chain(12, fork_at=6))[0] == Follow(ours[0], 1, 11)
    with pytest.raises(Unfollowable):  # what was final is not given up without a word
        ask(Held(ours[49], ours[48], ours[48:]), theirs)
    long = chain(MEMORY + 10)  # more than we remember: the first block that we read is forgotten
    with pytest.raises(Unfollowable):
        ask(Held(long[-1], None, long[9:]), chain(MEMORY + 12, fork_at=5))


@given(st.lists(st.booleans(), min_size=40, max_size=40), st.integers(1, 19), st.integers(0, 3))
def test_a_node_that_changes_its_branch_between_two_answers_is_never_followed_across(
    whims: list[bool], fork_at: int, more: int
) -> None:
    """Whatever it answers, what is connected hangs on what we hold, or is refused."""
    ours, theirs = chain(20), chain(20 + more, fork_at)
    steps, answers = plan(holding(ours), theirs[-1], None, None), iter(whims)
    try:
        height = next(steps)
        while True:
            height = steps.send((ours if next(answers) else theirs)[height])
    except StopIteration as done:
        planned = done.value
    except Unfollowable:
        return
    assert isinstance(planned, Follow)
    blocks = [Block(ref, 0) for ref in theirs[planned.first :]]
    base = planned.disconnect_to or ours[-1]
    if not blocks:
        assert base in ours
    elif base.same(theirs[base.height]):
        linked(base, blocks)
    else:
        with pytest.raises(Inconsistent):
            linked(base, blocks)


@given(st.integers(2, 400), st.integers(1, 399), st.integers(0, 5))
def test_the_fork_point_is_found_in_few_headers(length: int, fork_at: int, more: int) -> None:
    fork_at = min(fork_at, length - 1)
    ours, theirs = chain(length), chain(length + more, fork_at)
    found, asked = ask(holding(ours), theirs)
    assert found == Follow(ours[fork_at - 1], fork_at, length + more - 1)
    assert asked <= 2 + 2 * (length - fork_at).bit_length() + 2


@given(st.sets(st.integers(0, 99), min_size=1), st.integers(1, 99))
def test_a_sparse_memory_falls_back_to_the_newest_block_that_it_knows(known: set[int], fork_at: int) -> None:
    ours = chain(100)
    memory = [ours[h] for h in sorted(known | {99})]
    common = [h for h in known if h < fork_at]
    held = Held(ours[99], None, memory)
    if not common:  # nothing below the first is ours, so nothing there can be wrong
        theirs = chain(101, fork_at)
        base = max(min(known) - 1 - BELOW_FIRST, 0)
        assert ask(held, theirs)[0] == Follow(theirs[base], base + 1, 100)
        with pytest.raises(Unfollowable):
            ask(Held(ours[99], memory[0], memory), theirs)
    else:
        assert ask(held, chain(101, fork_at))[0] == Follow(ours[max(common)], max(common) + 1, 100)


def test_blocks_that_do_not_connect_are_refused() -> None:
    node = chain(5)
    linked(node[1], [Block(node[2], 0), Block(node[3], 0)])
    with pytest.raises(Inconsistent):
        linked(node[1], [Block(node[3], 0)])
    with pytest.raises(Inconsistent):
        linked(node[1], [Block(BlockRef(2, "x", "y"), 0)])


def test_a_final_block_counts_only_if_it_is_ours() -> None:
    node = chain(10)
    assert usable_final(None, node[9], node) is None
    assert usable_final(node[6], node[9], node) == node[6]
    assert usable_final(BlockRef(50, "far"), node[9], node) == node[9]  # catch-up: we are below it
    assert usable_final(node[6], node[9], [node[9]]) is None  # not remembered: nothing is claimed
    with pytest.raises(Inconsistent):
        usable_final(BlockRef(6, "other"), node[9], node)


def transfer(txid: str, position: InBlock | Unconfirmed) -> Transfer:
    return Transfer("X", txid, "0", "X", 1, "me", position=position)


def test_a_complete_window_tells_what_vanished_and_where_the_chain_forked() -> None:
    ours, theirs = chain(10), chain(11, fork_at=8)
    seen = transfer("kept", InBlock(BlockRef(8, theirs[8].hash), 5))
    pool = transfer("pool", Unconfirmed(1))
    window = Window("node", 5, theirs[10], theirs[10], None, True, (seen, pool), tuple(theirs[6:10]))
    step = window_step("X", holding(ours), window, [("kept", "0"), ("gone", "0"), ("pool", "0")])
    assert step.disconnect_to == ours[7]
    assert step.vanished == (("gone", "0"),)
    assert step.unmined == (("pool", "0"),)
    assert step.snapshot == (pool,)
    assert [t.txid for b in step.blocks for t in b.transfers] == ["kept"]


def test_an_incomplete_window_moves_nothing() -> None:
    node = chain(10)
    with pytest.raises(Inconsistent):
        window_step("X", holding(node), Window("n", 5, node[9], node[9], None, False), [])
