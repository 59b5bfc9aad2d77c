"""The schemas of what the service answers: the contract of its API, and what describes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.record.events import Cause, Goal, Purpose, RequestState, TrialState

Settings = dict[str, Any]


def _like(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class StudyLine(BaseModel):
    """A study at a glance."""

    model_config = _like(
        name="night",
        kind="sweep",
        activity="idle",
        trials=64,
        ended=64,
        objective="dev_accuracy",
        best=0.97,
        best_trial=31,
        updated=1795000000.0,
        spread=None,
    )

    name: str
    kind: Literal["sweep", "babysitting", ""] = Field(description="Empty where the study cannot be read.")
    activity: str = Field(description="`idle`, `running (pid … on …)`, `never began`, or why it cannot be read.")
    trials: int
    ended: int
    objective: str
    best: float | None
    best_trial: int | None
    updated: float = Field(description="When it was last written to, in Unix seconds.")
    spread: float | None = Field(None, description="How far the seeds of the best differ, where it has several.")
    aside: int = Field(0, description="How many trials the stopping rule has set aside.")


class Studies(BaseModel):
    """The studies of the folder, the latest first."""

    studies: list[StudyLine]


class BestTrial(BaseModel):
    """The best head report of a trial that did not diverge."""

    trial: int
    score: float
    step: int
    params: Settings
    spread: float | None = Field(None, description="How far its seeds differ there, where it has several.")


class CoordinatorLine(BaseModel):
    """Who runs a study."""

    host: str
    pid: int


class StudyFacts(BaseModel):
    """A study as it is now."""

    name: str
    kind: Literal["sweep", "babysitting"]
    objective: str
    goal: Goal
    function: str
    identity: dict[str, Any] = Field(description="What never changes: space, objective, goal, seed, sampler.")
    options: dict[str, Any] = Field(description="What may: budgets, parallel, where it trains.")
    trials: int
    ended: int
    states: dict[str, int] = Field(description="How many trials are in which state.")
    steps: int = Field(description="Steps on the heads of all trials.")
    best: BestTrial | None
    coordinator: CoordinatorLine | None = Field(description="Who runs it now; null: nobody.")
    sequence: int = Field(description="The place in the record that this was read at: events after it are news.")


class TrialLine(BaseModel):
    """A trial in a list."""

    trial: int
    purpose: Purpose
    state: TrialState
    why: str
    round: int | None
    parent: str | None
    seed: int
    params: Settings
    score: float | None = Field(description="The best score of the objective on its head.")
    spread: float | None = Field(None, description="How far its seeds differ there, where it has several.")
    best_step: int | None
    steps: int
    started: float | None = Field(description="In Unix seconds.")
    seconds: float
    node: str


class TrialPage(BaseModel):
    """Some of a study's trials, by number."""

    trials: list[TrialLine]
    shown: int
    of: int = Field(description="How many there are in all, in these states.")
    next: int | None = Field(description="What `after` is for the next page; null: there is none.")
    sequence: int


class SegmentLine(BaseModel):
    """A stretch of training under one recipe."""

    segment: int
    parent: int | None
    from_step: int
    checkpoint: int | None
    cause: Cause
    by: str
    why: str
    params: Settings | None = Field(description="The values in force; null: the trial's own.")
    schedules: dict[str, Any] | None
    request: str


class CheckpointLine(BaseModel):
    """A checkpoint as recorded; its files are not served."""

    checkpoint: int
    segment: int
    step: int
    kind: str
    bytes: int
    sha256: str
    kept: bool


class TrialFacts(TrialLine):
    """A trial with all that is known of it."""

    settings: Settings = Field(description="The values in force on the head.")
    schedules: dict[str, Any]
    segments: list[SegmentLine]
    checkpoints: list[CheckpointLine]
    error: str
    traceback: str
    printed: str = Field(description="The end of what the training function printed.")


class CurveLine(BaseModel):
    """The head curve of one trial."""

    trial: int
    steps: list[int]
    scores: list[float | None] = Field(description="null: no finite number.")
    of: int = Field(description="How many reports there are; fewer shown are the extremes of buckets, and the last.")


class Curves(BaseModel):
    """Head curves of the objective."""

    objective: str
    curves: list[CurveLine]
    shown: int = Field(description="Reports shown.")
    of: int = Field(description="Reports that these trials have.")
    trials: int = Field(description="Trials shown.")
    of_trials: int = Field(description="Trials with a report.")
    sequence: int


class RoundLine(BaseModel):
    """A stage of coarse-to-fine."""

    round: int
    first_trial: int
    box: dict[str, tuple[float, float]] = Field(description="The interval of each parameter in the unit cube.")
    seen: int
    trials: int
    best: float | None
    why: str


class Rounds(BaseModel):
    """The rounds, in order."""

    rounds: list[RoundLine]


class SectionLine(BaseModel):
    """A part of an explanation."""

    title: str
    sentences: list[str]


class Explained(BaseModel):
    """What a search has learned."""

    sections: list[SectionLine]
    trials: int
    sequence: int = Field(description="The place in the record that it was thought at.")


class Asked(BaseModel):
    """A request: what is asked of a study."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"verb": "set", "arguments": {"values": {"learning_rate": 0.003}}, "why": "loss spikes"}]
        },
    )

    verb: str = Field(min_length=1, max_length=100, description="Such as `pause`, `set` or `stop_trial`.")
    arguments: dict[str, Any] = Field(default={}, description="What the verb takes.")
    why: str = Field(default="", max_length=100_000)
    by: str = Field(default="", max_length=200, description="Who asks; empty: the name of the token.")
    expect: int | None = Field(default=None, description="The segment last seen: a newer one refuses the request.")


class Answer(BaseModel):
    """What became of a request."""

    model_config = _like(request="a1", verb="set", state="applied", step=40, why="learning_rate 0.01 → 0.003")

    request: str
    verb: str
    state: RequestState
    step: int | None = Field(description="The step at which it took effect.")
    why: str = Field(description="What happened, or what it waits for.")
    study: str | None = Field(default=None, description="The run that a fork or a promotion has begun.")
