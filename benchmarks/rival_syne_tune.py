"""Syne Tune's model-based successive halving as a peer: a model at each rung, from which it draws."""

from __future__ import annotations

import datetime
import itertools
import logging
import math

import rivals
from recordings import Recording
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, uniform
from syne_tune.optimizer.baselines import ASHABORE, ASHACQR
from syne_tune.optimizer.scheduler import SchedulerDecision

_SCHEDULERS = {"cqr": ASHACQR, "bore": ASHABORE}


class SyneTune:
    """A scheduler of Syne Tune's, told of every epoch."""

    def __init__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> None:  # noqa: ARG002
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._recording, self._task, self._space = recording, task, recording.space(task)
        self._numbers = itertools.count()
        self._scheduler = _SCHEDULERS[method.partition("+")[0]](
            {
                name: uniform(0.0, 1.0) if options is None else choice(list(options))
                for name, options in rivals.options_of(self._space).items()
            },
            metric="score",
            time_attr="epoch",
            max_t=recording.length(task),
            do_minimize=False,
            random_seed=seed,
            grace_period=1,
            reduction_factor=3,
        )

    def ask(self) -> rivals.Training:
        """A new trial."""
        config = self._scheduler.suggest().config
        trial = Trial(trial_id=next(self._numbers), config=config, creation_time=datetime.datetime.now(datetime.UTC))
        self._scheduler.on_trial_add(trial)
        settings = rivals.settings(self._space, config)
        return rivals.begun(self._recording, self._task, trial, settings, None)

    def goes_on(self, training: rivals.Training, score: float) -> bool:
        """Tells the scheduler of an epoch, and does what it decides."""
        if not math.isfinite(score):
            self._scheduler.on_trial_error(training.trial)
            return False
        result = {"score": score, "epoch": training.done}
        if training.done == training.until:
            self._scheduler.on_trial_complete(training.trial, result)
            return False
        return bool(self._scheduler.on_trial_result(training.trial, result) == SchedulerDecision.CONTINUE)
