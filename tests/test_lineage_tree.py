from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import Part, story

from tuner.record.curve import Curve
from tuner.record.lineage import TrainedSegment, Tree
from tuner.record.recipe import Recipe
from tuner.record.trial import Segment

LOW, HIGH = {"learning_rate": 0.1, "beta": 0.9}, {"learning_rate": 0.5, "beta": 0.9}


@pytest.fixture
def went_back(tmp_path: Path) -> Tree:
    """Raised at 10, given up at 16, gone on from 10 to 30."""
    study = story(
        tmp_path / "one",
        Part(start=0, to=10, params=LOW),
        Part(start=10, to=16, params=HIGH, parent=0, scores=lambda step: {"score": -float(step)}),
        Part(start=10, to=30, params=LOW, parent=0, cause="revert", verb="revert"),
    )
    tree = Tree.of(study)
    study.close()
    return tree


def spans(path: tuple[object, ...]) -> list[tuple[int, int, int]]:
    return [(span.trained.number, span.after, span.to) for span in path]  # type: ignore[attr-defined]


def test_the_head_leaves_out_what_was_given_up(went_back: Tree) -> None:
    assert spans(went_back.branch()) == [(0, 0, 10), (2, 10, 30)]


def test_a_turn_knows_what_was_given_up_and_where(went_back: Tree) -> None:
    (rollback,) = went_back.rollbacks()
    assert spans(rollback.given_up) == [(1, 10, 16)]
    assert (rollback.from_step, rollback.trained.from_step, rollback.cause) == (16, 10, "revert")
    assert [spans(each.given_up) for each in went_back.abandoned()] == [[(1, 10, 16)]]


def test_undoing_a_return_brings_the_steps_back_and_gives_the_others_up(tmp_path: Path) -> None:
    study = story(
        tmp_path / "one",
        Part(start=0, to=10),
        Part(start=10, to=16, params=HIGH, parent=0),
        Part(start=10, to=13, parent=0, cause="revert", verb="revert"),
        Part(start=16, to=20, params=HIGH, parent=1, cause="revert", verb="undo"),
    )
    tree = Tree.of(study)
    assert spans(tree.branch()) == [(0, 0, 10), (1, 10, 16), (3, 16, 20)]
    assert [spans(each.given_up) for each in tree.rollbacks()] == [[(1, 10, 16)], [(2, 10, 13)]]
    assert [spans(each.given_up) for each in tree.abandoned()] == [[(2, 10, 13)]]
    study.close()


def test_a_change_names_what_differs_from_just_before_it(went_back: Tree) -> None:
    assert [(each.parameter, each.before, each.after) for each in went_back.changes(went_back.segments[1])] == [
        ("learning_rate", 0.1, 0.5)
    ]
    assert [(each.parameter, each.before, each.after) for each in went_back.changes(went_back.segments[2])] == [
        ("learning_rate", 0.5, 0.1)
    ]


def test_a_score_is_found_on_the_path_it_was_reported_on(went_back: Tree) -> None:
    assert went_back.value_at(went_back.branch(), "score", 15) == 15.0
    assert went_back.value_at(went_back.branch(1), "score", 15) == -15.0
    assert went_back.value_at(went_back.branch(), "score", 0) is None
    assert went_back.value_at(went_back.branch(), "loss", 15) is None


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Any tree that a run can grow: each segment goes on, or begins again at a step of an earlier branch."""
    segments: list[TrainedSegment] = []
    for number in range(draw(st.integers(1, 8))):
        parent, start = None, 0
        if number:
            old = segments[draw(st.integers(0, number - 1))]
            parent, start = old.number, draw(st.integers(old.from_step, old.to_step))
        segment = Segment(number, parent, start, None, "revert", "ada", "", {"a": 1.0}, None, "")
        segments.append(
            TrainedSegment(
                segment=segment,
                recipe=Recipe.constant({"a": 1.0}),
                at=0.0,
                to_step=start + draw(st.integers(0, 6)),
                scores={"score": Curve()},
            )
        )
    return Tree(tuple(segments))


def steps(path: tuple[object, ...]) -> set[tuple[int, int]]:
    return {(number, step) for number, after, to in spans(path) for step in range(after + 1, to + 1)}


@given(tree=trees())
def test_every_step_lies_on_the_head_or_was_given_up_once(tree: Tree) -> None:
    every = {
        (trained.number, step)
        for trained in tree.segments
        for step in range(trained.from_step + 1, trained.to_step + 1)
    }
    reached = set().union(*(steps(tree.branch(trained.number)) for trained in tree.segments))
    head, given_up = steps(tree.branch()), [steps(rollback.given_up) for rollback in tree.abandoned()]
    assert reached == every
    assert head.isdisjoint(set().union(*given_up))
    assert len(head) + sum(map(len, given_up)) == len(every)


@given(tree=trees())
def test_the_spans_of_a_branch_follow_one_another(tree: Tree) -> None:
    for trained in tree.segments:
        path = tree.branch(trained.number)
        assert path[-1].trained is trained
        assert all(left.to == right.after for left, right in pairwise(path))
