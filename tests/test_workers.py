"""The coordinator's pool of workers: who has room, who stands idle, how long one waits for company."""

from __future__ import annotations

from tuner.coordinator.workers import WorkerPool


def pool_of(count: int) -> WorkerPool:
    pool = WorkerPool()
    for number in range(count):
        pool.join(f"worker-{number}", "here", 1, 0.0)
    return pool


def fill(pool: WorkerPool, depth: int, most: int = 100) -> list[str]:
    """Who is given a trial, one after the other, until nobody has room."""
    given: list[str] = []
    for worker in pool.openings(depth):
        if len(given) == most:
            break
        pool.assign(worker, 1000 + len(given), 0.0)
        given.append(worker.name)
    return given


def test_the_shortest_queue_is_filled_first_and_of_equals_who_joined_first() -> None:
    pool = pool_of(3)
    pool.assign(pool.workers["worker-0"], 7, 0.0)
    assert fill(pool, 2) == ["worker-1", "worker-2", "worker-0", "worker-1", "worker-2"]
    assert fill(pool, 2) == []
    pool.release(7)
    assert fill(pool, 2, most=1) == ["worker-0"]


def test_nothing_is_put_behind_what_must_train_alone_or_what_a_program_was_lent() -> None:
    pool = pool_of(1)
    pool.join("program", "here", 2, 0.0, lent=True)
    pool.assign(pool.workers["worker-0"], 1, 0.0, alone=True)
    assert fill(pool, 4) == ["program"]
    pool.release(1)
    assert fill(pool, 2) == ["worker-0", "worker-0"]


def test_all_are_idle_until_one_has_a_trial_and_again_once_it_left_with_it() -> None:
    pool = pool_of(2)
    assert pool.idle
    assert not pool.busy()
    pool.assign(pool.workers["worker-1"], 3, 0.0)
    assert not pool.idle
    assert [worker.name for worker in pool.busy()] == ["worker-1"]
    left = pool.leave("worker-1")
    assert left is not None
    assert list(left.queue) == [3]
    assert pool.idle
    assert pool.worker_of(3) is None


def test_who_joins_anew_under_its_name_has_nothing_to_train_and_the_first_in_line_stays_first() -> None:
    pool = pool_of(2)
    pool.assign(pool.workers["worker-0"], 3, 0.0)
    pool.join("worker-0", "here", 9, 1.0)
    assert pool.idle
    pool.release(3)
    assert fill(pool, 1) == ["worker-0", "worker-1"]


def test_only_in_a_crowd_does_what_is_said_wait_for_what_others_say_and_never_long() -> None:
    assert pool_of(64).company_s == 0
    assert pool_of(1_000).company_s == 0.005
    assert pool_of(5_000).company_s == 0.01
