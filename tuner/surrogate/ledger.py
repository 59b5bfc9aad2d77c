"""All trials of a study by what became of them, one entry a trial, and which of them are worth learning from."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import overload

from tuner.policy.proposals import Outcome, Point
from tuner.record.events import ENDED, Goal, TrialState
from tuner.space.space import Space
from tuner.surrogate.evidence import MOST_ROWS, QUICK_ROWS, bad
from tuner.surrogate.learners import Learners
from tuner.surrogate.posterior import Surrogate

_PENDING: frozenset[TrialState] = frozenset({"waiting", "running", "lost"})
_MOST_PENDING = 256  # of more runs in training the newest: what the others come to is told by their own scores
_A_CROWD = 8  # of those in training: each of a thousand that says something changes little of what is known


class Ledger(Sequence[Outcome]):
    """Outcomes by the number of their trial; what a trial is known by is replaced when it is known by more.

    An entry costs about as much whether there are ten others or ten thousand.
    """

    def __init__(
        self, outcomes: Iterable[Outcome] = (), goal: Goal = "maximize", patience: float = 0.0, part: int = QUICK_ROWS
    ) -> None:
        """`patience`: the share that is to be learned beside what the model knows before it is made anew.

        `part`: from how many trials it learns where more than `MOST_ROWS` tell something.
        """
        self.goal: Goal = goal
        """Which way scores were reported: here higher is always better, in words it is the user's own."""
        self.version = 0
        """Grows with every entry."""
        self.information = 0
        """How much has been seen: one a trial for every doubling of its steps, and one for its end."""
        self.learners = Learners()
        """How many settings learn at all."""
        self.most_trials: int | None = None
        """How many trials there are to be; None: nobody has said."""
        self.most_steps: int | None = None
        """How many steps of training there are to be."""
        self._entries: dict[int, Outcome] = {}
        self._ranked: list[tuple[float, int]] = []  # those that tell something: minus the score, and the trial
        self._pending: dict[int, None] = {}
        self._tried: set[Point] = set()
        self._planned = self._completed = self._furthest = 0
        self.edition = 0
        """Grows with every entry that makes what the model knows another."""
        self._patience, self._unlearned, self._part = patience, 0, part
        self._first_drawn: int | None = None
        self._surrogate: Surrogate | None = None
        self._space: Space | None = None
        for outcome in outcomes:
            self.put(outcome)

    def put(self, outcome: Outcome) -> None:
        """Enters what a trial is known by now."""
        trial = outcome.trial
        before, known = self.information, self._entries.get(trial)
        self.learners.put(known, outcome)
        if known is not None:
            self.information -= _information(known)
            if _informs(known):
                del self._ranked[bisect.bisect_left(self._ranked, _rank(known))]
        self._entries[trial] = outcome
        self.version += 1
        self.information += _information(outcome)
        if _informs(outcome):
            bisect.insort(self._ranked, _rank(outcome))
        if outcome.state in _PENDING:
            self._pending[trial] = None
        else:
            self._pending.pop(trial, None)
        self._tried.add(_key(outcome.point))
        self._planned = max(self._planned, outcome.planned or 0)
        self._furthest = max(self._furthest, outcome.steps)
        if outcome.state == "completed":
            self._completed = max(self._completed, outcome.steps)
        if known is None and _unheard(outcome) and (self._surrogate is None or self._surrogate.expect(outcome)):
            return  # it makes what is known no different
        self._unlearned += abs(self.information - before)
        enough = self._patience * max(self.information, _A_CROWD * len(self._pending))
        if self._surrogate is None or self._unlearned >= enough:
            self._surrogate = None
            self.edition += 1

    def of(self, trial: int) -> Outcome:
        """What a trial is known by; KeyError where it is not known."""
        return self._entries[trial]

    def point_of(self, trial: int) -> Point | None:
        """Where a trial's settings lie in the unit cube; None where it is not known."""
        known = self._entries.get(trial)
        return None if known is None else known.point

    def has(self, point: Point) -> bool:
        """Whether a trial has these very settings."""
        return _key(point) in self._tried

    def copy(self) -> Ledger:
        """The same entries, whatever is entered later."""
        other = copy.copy(self)
        other._entries, other._ranked = self._entries.copy(), self._ranked.copy()
        other.learners = self.learners.copy()
        other._pending, other._tried, other._surrogate = self._pending.copy(), self._tried.copy(), None
        return other

    @property
    def untrained(self) -> bool:
        """Whether there is no score yet to learn from."""
        known = (self._entries[trial] for _, trial in self._ranked)
        return not any(outcome.observations and not bad(outcome) for outcome in known)

    @property
    def telling(self) -> int:
        """How many trials tell something."""
        return len(self._ranked)

    def drawn_together(self, trial: int) -> int:
        """The first of the trials before this one, and of it, that were drawn from the same knowledge.

        Nothing has been heard of any of them, or, where there is patience, little. Alone it is this one itself.
        """
        if self._patience:
            self._first_drawn = trial if self._first_drawn is None else self._first_drawn
            return self._first_drawn
        while (before := self._entries.get(trial - 1)) is not None and _unheard(before):
            trial -= 1
        return trial

    @property
    def horizon(self) -> int:
        """How many steps a whole training takes: what functions plan, else the most that one took; at least 1."""
        return horizon_of(self._planned, self._completed, self._furthest)

    def surrogate(self, space: Space) -> Surrogate:
        """The model of all entries; made once for each state of them."""
        if self._surrogate is None or self._space is not space:
            informative = [self._with_all_known(outcome) for outcome in self._informative()]
            pending = [self._entries[trial] for trial in sorted(self._pending)[-_MOST_PENDING:]]
            horizon, information = self.horizon, self.information
            self._surrogate = Surrogate(space, informative, pending, horizon, information, self.goal)
            self._space, self._unlearned, self._first_drawn = space, 0, None
        return self._surrogate

    def _informative(self) -> list[Outcome]:
        """Those that tell something, by number: all, or of too many the best and newest two fifths, and some others."""
        newest = (trial for trial in reversed(self._entries) if _informs(self._entries[trial]))
        return [self._entries[trial] for trial in telling(_Trials(self._ranked), newest, self._part)]

    def _with_all_known(self, outcome: Outcome) -> Outcome:
        """A duplicate with what has become of its original."""
        if outcome.duplicate_of is None:
            return outcome
        original = self._entries[outcome.duplicate_of]
        return replace(original, trial=outcome.trial, point=outcome.point, duplicate_of=original.trial)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._entries.values())

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sequence[Outcome]:
        return tuple(self._entries.values())[index]


class _Trials(Sequence[int]):
    """The trials of what is ranked, as they are asked for: of ten thousand a few hundred are."""

    def __init__(self, ranked: Sequence[tuple[float, int]]) -> None:
        self._ranked = ranked

    def __len__(self) -> int:
        return len(self._ranked)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        return _Trials(self._ranked[index]) if isinstance(index, slice) else self._ranked[index][1]


def telling(ranked: Sequence[int], newest: Iterable[int], part: int) -> list[int]:
    """The trials a model learns from, by number: all, or a part of too many, the best, the newest, and some others.

    Those that tell something are `ranked`, the best first, and told once more with the `newest` first. A part is two
    fifths the best, two fifths the newest.
    """
    if len(ranked) <= MOST_ROWS:
        return sorted(ranked)
    share = 2 * part // 5
    chosen = set(ranked[:share])
    for trial in newest:
        if len(chosen) >= 2 * share:
            break
        chosen.add(trial)
    stride = len(ranked) / (part - len(chosen))
    chosen |= {ranked[int(turn * stride)] for turn in range(part - len(chosen))}
    return sorted(chosen)


def horizon_of(planned: int, completed: int, furthest: int) -> int:
    """How many steps a whole training takes, by the most that was planned, that a whole one took, and that any took."""
    if planned:
        return planned
    if completed >= furthest:
        return max(1, completed)
    return 4 * furthest  # nobody knows yet: far, so that a long run stays interesting


def ledger_of(outcomes: Sequence[Outcome]) -> Ledger:
    """These outcomes as a ledger; one is taken as it is."""
    return outcomes if isinstance(outcomes, Ledger) else Ledger(outcomes)


def _information(outcome: Outcome) -> int:
    return outcome.steps.bit_length() + (outcome.state in ENDED)


def _unheard(outcome: Outcome) -> bool:
    return outcome.state in _PENDING and not outcome.steps and not outcome.observations and outcome.planned is None


def _informs(outcome: Outcome) -> bool:
    return bool(outcome.observations) or bad(outcome)


def _rank(outcome: Outcome) -> tuple[float, int]:
    return (math.inf if outcome.score is None else -outcome.score), outcome.trial


def _key(point: Point) -> Point:
    """A point as one can look for it: NaN is not equal to itself."""
    return tuple(-1.0 if math.isnan(u) else u for u in point)
