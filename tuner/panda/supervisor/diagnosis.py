"""The diagnosis of a run: asks every rule in the order of urgency and puts what they find into advice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any

from tuner.panda.supervisor.advice import LARGEST_FACTOR, Advice, Facts, Remedy, Symptom, Urgency, command_of
from tuner.panda.supervisor.alarms import Spike, accepted, divergence, spike
from tuner.panda.supervisor.direction import BOLD, LONG_PERIOD, TIMID, Direction, alternating, direction, ringing
from tuner.panda.supervisor.series import Series, is_sane, window_length
from tuner.panda.supervisor.trend import MIN_REPORTS, Trend, bend, trend
from tuner.panda.supervisor.verdict import ChangeVerdict, verdict
from tuner.values.numbers import number, percent

SPIKE = "spike"  # the word by which a revert on account of one is known again
NEWEST = 5000  # reports that are looked at: more of them tell nothing new
UNBENT = 1 / 3  # a curve that still falls at this share of its mean pace has hardly bent
SHARE_BEFORE_SLOW = 0.1  # of the budget: before that every run is on its first stretch
STEPS_BACK = 100
SOON = 4  # times two windows: what diverges within that after a change is laid to it
GENTLY = 0.8  # people lower a returning spike's rate by 0.67 … 0.9
HALF = 0.5


def diagnose(facts: Facts) -> list[Advice]:
    """What the run's curves say, most urgent first; at least one, if only that nothing can be told.

    Divergence and spikes are looked for at all times; everything else keeps still for two windows after a change (R7),
    and while a spike may heal.
    """
    return _Case(facts).findings()


class _Case:
    """One look at one run: the facts, the loss that is watched, and how long a window is."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.name, self.loss = facts.losses
        spacing = self.loss.spacing
        left = None if facts.steps_left is None else int(facts.steps_left / spacing)
        self.window = window_length(len(self.loss), left)
        self.two_windows = round(2 * self.window * spacing)  # in steps
        self.change = facts.last_change_step
        # A change may shift the level: values are measured against others under the same settings alone.
        same = self.loss if self.change is None else self.loss.after(self.change)
        self.lately = same.last(NEWEST)

    def findings(self) -> list[Advice]:
        """All advice, most urgent first."""
        if not len(self.loss):
            return [self._say("unknown", f"nothing is known of {self.name} yet", ("reports", 0.0), MIN_REPORTS)]
        diverged = self._diverged()
        if diverged:
            return [diverged]
        found = spike(self.lately, self.window, reverts=tuple(self.facts.reverts))
        spiked = self._spiked(found) if found else None
        if spiked and found and found.state != "recovered":
            return [spiked]
        order: Mapping[Urgency, int] = {"now": 0, "consider": 1, "none": 2}
        said = [advice for advice in (spiked, *self._course()) if advice]
        return sorted(said, key=lambda advice: order[advice.urgency])

    # ── at once ─────────────────────────────────────────────────────────────────────────────────

    def _diverged(self) -> Advice | None:
        found = divergence(self.loss, self.window, change=-inf if self.change is None else self.change)
        if found is None:
            return None
        said = f"{self.name} diverged: {found.why}"
        step = self.facts.checkpoint_before(found.onset, max(self.two_windows, self._steps_back(found.onset)))
        settings: Mapping[str, Any] = self.facts.scaled(self.facts.rate_name, 1 / LARGEST_FACTOR)
        if self.change is not None and self.change < found.onset <= self.change + SOON * self.two_windows:
            said += f"; take the change at step {self.change} back"
            step = self.facts.checkpoint_before(self.change)
            settings = self._old_settings() if step is None else {}
        return self._say(
            "diverged",
            said,
            found.statistic,
            found.threshold,
            since=found.onset,
            urgency="now",
            verb="set" if step is None else "revert",
            settings=settings,
            step=step,
        )

    def _spiked(self, found: Spike) -> Advice:
        jumped, up = self.loss.way("jumped", "dropped"), self.loss.way("up", "down")
        said = f"a spike: {self.name} {jumped} to {number(found.peak)} at step {found.onset}"
        said += f", {number(found.z, 3)} robust sd {up}, and {found.why}"
        why, statistic = f"{SPIKE} of {self.name} at step {found.onset}", ("robust z of the spike", found.z)
        if found.state in ("waiting", "recovered"):
            return self._say("spike", said, statistic, 6.0, since=found.onset)
        if found.state == "returning":
            settings = self.facts.scaled(self.facts.rate_name, GENTLY)
            return self._say(
                "spike",
                f"{said}; not the data but the state of the run is at fault",
                statistic,
                6.0,
                since=found.onset,
                urgency="now",
                verb="set",
                settings=settings,
                why=why,
            )
        step = self.facts.checkpoint_before(found.onset, self._steps_back(found.onset))
        said += "; go back, and skip 200 to 500 batches by data position"
        return self._say(
            "spike",
            said,
            statistic,
            6.0,
            since=found.onset,
            urgency="now",
            verb="none" if step is None else "revert",
            step=step,
            why=why,
        )

    def _steps_back(self, onset: int) -> int:
        """A hundred steps, or a tenth of what a shorter run has behind it."""
        return min(STEPS_BACK, onset // 10)

    # ── in its own time ─────────────────────────────────────────────────────────────────────────

    def _course(self) -> list[Advice]:
        since = -inf if self.change is None else float(self.change + self.two_windows)
        settled = self.lately.where(accepted(self.lately)).after(since)
        if self.change is not None and not len(settled):
            why = f"no test for two windows, {self.two_windows} steps, after the change at step {self.change}"
            return [
                self._say(
                    "unknown",
                    why,
                    ("steps since the change", float(self.loss.steps[-1] - self.change)),
                    float(self.two_windows),
                    since=self.change,
                )
            ]
        now = trend(settled.last(max(MIN_REPORTS, len(settled) // 2)))
        judged = self._changed_for_the_worse(now)
        if judged and judged.urgency == "now":
            return [judged]
        rest = self._unchanging(settled, now) or self._oscillating(settled) or self._paced(settled, now)
        return [judged, rest] if judged else [rest]

    def _changed_for_the_worse(self, now: Trend) -> Advice | None:
        """The verdict on the last change, where it is "worse" or a fair comparison is called for."""
        facts = self.facts
        if self.change is None or facts.previous_settings is None:
            return None
        if facts.control is not None:
            if facts.objective not in facts.control and self.name not in facts.control:
                return None
            name = facts.objective if facts.objective in facts.control else self.name
            goal = facts.goal if name == facts.objective else "minimize"
            found = verdict(
                facts.control[name],
                facts.scores.get(name, Series.of(())),
                change_step=self.change,
                cool_off=self.two_windows,
                comparison=facts.comparison,
                goal=goal,
            )
            return self._go_back(found) if found.word == "worse" else None
        worth = facts.worth()  # and not a train loss, whose meaning a change of regularisation shifts
        found = verdict(worth, worth, change_step=self.change, cool_off=self.two_windows, comparison="earlier")
        if found.word != "worse" or (found.size and worth.where(is_sane(worth.values)).is_slight(found.size)):
            return None
        if not self._noisier() or now.word == "worsening":
            return self._go_back(found)
        said = (
            f"{facts.objective} is worse than before the change at step {self.change}, as it would at first after any "
            "good raise, and raw scores at different rates are not compared; branch off with the old settings and cool "
            "both down"
        )
        step = facts.checkpoint_before(self.change)
        return self._say(
            "unknown",
            said,
            found.statistic,
            found.threshold,
            since=self.change,
            urgency="consider",
            verb="fork",
            settings=self._old_settings(),
            step=step,
        )

    def _go_back(self, found: ChangeVerdict) -> Advice:
        said = f"the change at step {self.change} made it worse: {found.why}"
        step = None if self.change is None else self.facts.checkpoint_before(self.change)
        if step is not None:
            return self._say(
                "worse",
                said,
                found.statistic,
                found.threshold,
                since=self.change,
                urgency="now",
                verb="revert",
                step=step,
            )
        return self._say(
            "worse",
            said,
            found.statistic,
            found.threshold,
            since=self.change,
            urgency="now",
            verb="set",
            settings=self._old_settings(),
        )

    def _old_settings(self) -> dict[str, Any]:
        old = self.facts.previous_settings or {}
        return {name: value for name, value in old.items() if self.facts.settings.get(name) != value}

    def _noisier(self) -> bool:
        """Whether the last change raises the noise a loss settles at, so that a higher loss may be the better run."""
        facts, old = self.facts, self.facts.previous_settings or {}
        before, after = _effective_rate(facts, old), _effective_rate(facts, facts.settings)
        smaller = facts.number(facts.settings, "batch_size") < facts.number(old, "batch_size")
        return after > before or smaller

    def _unchanging(self, settled: Series, now: Trend) -> Advice | None:
        if now.word != "constant":
            return None
        since = int(settled.steps[-max(MIN_REPORTS, len(settled) // 2) :][0])
        said = f"{self.name} does not change at all: {now.why}"
        return self._say("flat", said, now.statistic, now.threshold, since=since, urgency="consider")

    def _oscillating(self, settled: Series) -> Advice | None:
        facts = self.facts
        found = ringing(settled) or alternating(settled.last(max(MIN_REPORTS, len(settled) // 2)))
        if found is None:
            return None
        settings = facts.less_momentum() if found.period > LONG_PERIOD else {}
        if settings:
            said = "long swings are momentum's: raise 1-β"
            if facts.momentum == "heavy_ball":
                said += f", which in this form also divides the effective rate by {number(self._ratio(settings), 2)}"
        else:
            settings = facts.scaled(facts.rate_name, HALF)
            said = "the rate is too large: lower it"
        said = f"{self.name} oscillates: {found.why}; {said}"
        return self._say(
            "oscillating",
            said,
            found.statistic,
            found.threshold,
            since=int(settled.steps[0]),
            urgency="consider",
            verb="set",
            settings=settings,
        )

    def _ratio(self, settings: Mapping[str, float]) -> float:
        return (1 - settings[self.facts.beta_name]) / (1 - (self.facts.beta or 0.0))

    def _paced(self, settled: Series, now: Trend) -> Advice:
        """Slow, flat, improving, worsening, or nothing to be told."""
        facts, since = self.facts, int(settled.steps[-min(len(settled), max(MIN_REPORTS, len(settled) // 2))])
        way = direction(facts.scores.get(facts.update_cos_name), facts.beta or 0.0, self.window)
        worth = facts.worth().after(since - 1)
        worth = worth.where(is_sane(worth.values))
        gains = trend(worth, smallest_gain=facts.smallest_gain, steps_left=facts.steps_left)
        meant = facts.smallest_gain is not None and facts.steps_left is not None
        if gains.word == "flat" or (gains.word == "constant" and meant):
            return self._flat(gains, way, since)
        if now.word == "improving":
            pace = min(bend(self.loss, now), bend(self.lately, now))
            if pace >= UNBENT and self._share_done() >= SHARE_BEFORE_SLOW:
                return self._slow(pace, way, since)
        if now.word == "worsening":
            return self._worsening(now, settled, since)
        if now.word == "improving":
            return self._say("improving", f"{self.name} improves: {now.why}", now.statistic, now.threshold, since=since)
        if gains.word == "constant":
            said = f"{facts.objective} does not change at all: {gains.why}"
            return self._say("flat", said, gains.statistic, gains.threshold, since=since, urgency="consider")
        return self._say("unknown", f"{self.name} cannot be told: {now.why}", now.statistic, now.threshold, since=since)

    def _worsening(self, now: Trend, settled: Series, since: int) -> Advice:
        facts = self.facts
        said = f"{self.name} gets worse: {now.why}"
        if self.loss.is_slight(now.slope * (int(settled.steps[-1]) - since)):
            said += "; of all it has gained that is too little to act on"
            return self._say("unknown", said, now.statistic, now.threshold, since=since)
        settings = facts.scaled(facts.rate_name, HALF)
        if settings:
            said += "; lower the rate"
        return self._say(
            "worse", said, now.statistic, now.threshold, since=since, urgency="consider", verb="set", settings=settings
        )

    def _share_done(self) -> float:
        left = self.facts.steps_left
        return 1.0 if left is None else float(self.loss.steps[-1]) / max(1.0, float(self.loss.steps[-1]) + left)

    def _slow(self, pace: float, way: Direction, since: int) -> Advice:
        facts = self.facts
        said = f"{self.name} {self.loss.way('falls', 'rises')} slowly"
        said += f": it still has {percent(pace)} of its mean pace, so the curve has hardly bent"
        verb: Remedy = "set"
        if way.word == "lower":
            settings, then = facts.scaled(facts.rate_name, 1 / LARGEST_FACTOR), f"and {way.why}: lower it"
        else:
            settings = facts.scaled(facts.rate_name, LARGEST_FACTOR)
            then = f"and {way.why}: raise it"
            if way.word != "raise":
                verb, then = "fork", f"but {way.why}: direction unknown, so try a larger one on a branch"
        if not settings:
            then = f"but {facts.rate_name} is at its bound"
        return self._say(
            "slow",
            f"{said}, {then}",
            ("pace now over mean pace", pace),
            UNBENT,
            since=since,
            urgency="consider",
            verb=verb,
            settings=settings,
        )

    def _flat(self, gains: Trend, way: Direction, since: int) -> Advice:
        facts = self.facts
        timid = way.word == "raise"
        settings = facts.scaled(facts.rate_name, LARGEST_FACTOR if timid else 1 / LARGEST_FACTOR)
        then = f"{way.why}, below {TIMID}: try a larger one on a branch" if timid else "cool down, or stop"
        if way.word == "lower":
            then = f"{way.why}, above {BOLD}: lower it"
        said = f"{facts.objective} is flat: {gains.why}; {then}"
        return self._say(
            "flat",
            said,
            gains.statistic,
            gains.threshold,
            since=since,
            urgency="consider",
            settings=settings,
            verb="fork" if timid else "set",
        )

    def _say(
        self,
        symptom: Symptom,
        sentence: str,
        statistic: tuple[str, float],
        threshold: float,
        *,
        since: int | None = None,
        urgency: Urgency = "none",
        verb: Remedy = "none",
        settings: Mapping[str, Any] | None = None,
        step: int | None = None,
        why: str = "",
    ) -> Advice:
        """`why` goes into the command; without it the first part of the sentence does, which names the symptom."""
        settings = dict(settings or {})
        if not settings and verb in ("set", "fork"):
            verb = "none"  # nothing that could still be changed
        first = int(self.loss.steps[0]) if len(self.loss) else 0
        last = int(self.loss.steps[-1]) if len(self.loss) else 0
        why = why or re.split("[:;,] ", sentence)[0]
        return Advice(
            symptom=symptom,
            sentence=sentence,
            statistic=statistic,
            threshold=float(threshold),
            window=(first if since is None else since, last),
            urgency=urgency,
            verb=verb,
            settings=settings,
            revert_step=step,
            command=command_of(self.facts.study, verb, settings, step, why),
        )


def _effective_rate(facts: Facts, settings: Mapping[str, Any]) -> float:
    """α, or α/(1-β) in heavy-ball form."""
    rate, beta = facts.number(settings, facts.rate_name), facts.number(settings, facts.beta_name)
    return rate / (1 - beta) if facts.momentum == "heavy_ball" and beta < 1 else rate
