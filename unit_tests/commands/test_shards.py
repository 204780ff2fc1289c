"""The lists of an account divided over several connections."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from source_listrak.commands.shards import balance

ROWS = st.dictionaries(st.integers(1, 10**6), st.integers(0, 10**7), min_size=1, max_size=40)


@given(ROWS, st.integers(1, 12))
def test_each_list_is_in_exactly_one_shard_and_no_shard_is_empty(
    rows: dict[int, int], count: int
) -> None:
    shards = balance(rows, count)
    assert sorted(one for shard in shards for one in shard.list_ids) == sorted(rows)
    assert len(shards) == min(count, len(rows))
    for shard in shards:
        assert shard.list_ids == sorted(shard.list_ids) != []
        assert shard.rows == sum(rows[one] for one in shard.list_ids)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=7), st.integers(1, 3))
@example([3, 3, 2, 2, 2], 2)  # the worst case of the rule: 7 where 6 are possible
def test_no_shard_is_more_than_a_third_larger_than_necessary(sizes: list[int], count: int) -> None:
    largest = max(shard.rows for shard in balance(dict(enumerate(sizes)), count))
    necessary = min(
        max(
            sum(size for size, place in zip(sizes, places, strict=True) if place == shard)
            for shard in range(count)
        )
        for places in itertools.product(range(count), repeat=len(sizes))
    )
    assert largest <= 4 / 3 * necessary


@given(ROWS, st.integers(1, 12))
def test_the_same_account_is_divided_the_same_way(rows: dict[int, int], count: int) -> None:
    assert balance(rows, count) == balance(dict(reversed(rows.items())), count)


def test_a_list_that_outweighs_all_others_is_a_shard_of_its_own() -> None:
    shards = balance({1: 5, 2: 1000, 3: 7, 4: 0}, 2)
    assert [shard.list_ids for shard in shards] == [[1, 3, 4], [2]]


def test_lists_without_rows_are_divided_evenly() -> None:
    shards = balance(dict.fromkeys(range(1, 13), 0), 3)
    assert [len(shard.list_ids) for shard in shards] == [4, 4, 4]
