"""The policy of a babysat run: one trial, which ends when it ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.policy.protocol import Draft
from tuner.policy.verdicts import Verdict
from tuner.record.state import StudyState
from tuner.record.trial import Trial


class Panda:
    """One model, watched: nothing is proposed beyond it, nothing stopped unless somebody asks."""

    adaptive = False
    asks = False
    overlapping, haste_s = False, 0.0
    thaws = False
    wanted = 1
    losses = 20  # a long run may well outlive a few machines

    def trains(self, trial: Trial) -> bool:  # noqa: ARG002 - a policy's word
        """There is but one."""
        return True

    def restore(self, study: StudyState) -> None:
        """Nothing is remembered beside the record."""

    def propose(self, study: StudyState) -> Draft | None:  # noqa: ARG002 - a policy's word
        """Nothing beyond the one trial, which is there from the start."""
        return None

    def planned(self, trial: Trial) -> str | None:  # noqa: ARG002
        """However long it means to train."""
        return None

    def spent(self, study: StudyState) -> str | None:
        """The run is over when its trial is."""
        if not study.trials or not study.trials[0].ended:
            return None
        return f"the run is over: {study.trials[0].state}, {study.trials[0].why}"

    def parting(self, study: StudyState) -> str | None:  # noqa: ARG002 - a policy's word
        """Nothing is remarked."""
        return None

    def first_ask(self, trial: int, step: int) -> int | None:  # noqa: ARG002 - a policy's word
        """Nothing waits for a verdict."""
        return None

    def allowance(self, study: StudyState, trial: Trial, step: int) -> int | None:  # noqa: ARG002 - a policy's word
        """Nothing is rationed."""
        return None

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:  # noqa: ARG002
        """On it goes."""
        return Verdict(action="continue", why="", ask_at=None)

    def ended(self, study: StudyState, trial: Trial) -> None:
        """Nothing to give back."""

    def may_retry(self, error: Sequence[str], tries: int) -> bool:  # noqa: ARG002
        """An exception is shown to whoever watches, who decides."""
        return False

    def collapsed(self, study: StudyState) -> str | None:  # noqa: ARG002
        """One run does not make a pattern."""
        return None
