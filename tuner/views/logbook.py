"""The story of a babysat run, from its records alone: dated prose, of which people type only the why.

What OPT-175B's, BLOOM's and Marin's keepers wrote by hand: who changed what at which step, from what to what, for which
reason, and what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tuner.errors import StudyError
from tuner.record.atomic import write_whole
from tuner.record.curve import Curve
from tuner.record.events import (
    Adjusted,
    Answered,
    CheckpointSaved,
    Judged,
    Noted,
    Requested,
    StudyOpened,
    TrialCreated,
    TrialEnded,
    TrialHeld,
)
from tuner.record.lineage import Branch, Change, TrainedSegment, Tree
from tuner.record.requests import REQUESTS
from tuner.record.trial import Trial
from tuner.values.numbers import count, number
from tuner.views import text as prose

if TYPE_CHECKING:
    from tuner.record.reader import StudyReader

# The score beside a change is the median of so many reports: of the last before it, and of the last it was in force.
_AROUND = 10
_FILE = "logbook.md"
_TOLD_ELSEWHERE = ("note", "stop")  # as a note, and as the run's end


def write_logbook(study: StudyReader, folder: Path) -> Path:
    """Writes `logbook.md` into a folder, made when it is not there; one that was there is replaced whole."""
    text, path = logbook(study), folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_whole(path, text.encode(errors="replace"))
    except OSError as error:
        raise StudyError(f"the logbook cannot be written to {folder}: {error}. Choose another with --to.") from error


def logbook(study: StudyReader) -> str:
    """The run's story as Markdown; the same records give the same text. Times are UTC."""
    if study.state.kind != "babysitting" or not study.state.trials:
        raise StudyError(
            f"{study.name} is a sweep, and a logbook tells of one babysat run. Export csv, or `tuner show`."
        )
    book = _Book(study)
    parts = [f"# {study.name}", *book.opening()]
    for day, entries in groupby(book.story(), key=lambda each: prose.day(each.at)):
        parts.append(f"## {day}")
        parts += [f"**{prose.clock(each.at)}, step {each.step}.** {each.text}" for each in entries]
    parts += ["## Branches", *book.branches(), *book.closing()]
    return "\n\n".join(parts) + "\n"


def story(study: StudyReader) -> list[Paragraph]:
    """What happened to a babysat run that has begun, the first first."""
    return _Book(study).story()


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """One paragraph of the story, in Markdown; `step` says where, or from where to where it went back."""

    at: float
    step: int | str
    text: str


class _Book:
    """The records of one run, and what each is as a paragraph."""

    def __init__(self, study: StudyReader) -> None:
        self.study, self.state = study, study.state
        self.trial: Trial = study.state.trials[0]
        self.tree = Tree.of(study)
        self.head = self.tree.branch()
        self.asked = {each.request: each for each in study.records(Requested)}
        self.answered = {each.request: each for each in study.records(Answered)}
        self.read_back = {(each.request, each.parameter): each for each in study.records(Adjusted)}
        self.verdicts = {each.request: each for each in study.records(Judged)}

    # ── before and after the story ──────────────────────────────────────────────────────────────

    def opening(self) -> Iterator[str]:
        """What was trained, and how it stands."""
        opened = next(iter(self.study.records(StudyOpened)))
        state, trial = self.state, self.trial
        higher = "higher" if state.goal == "maximize" else "lower"
        began = f"{prose.day(opened.at)} at {prose.clock(opened.at)} UTC"
        yield (
            f"One run of `{state.function}`, watched for `{state.objective}` ({higher} is better), seed {trial.seed}, "
            f"tuner {opened.version}. It began on {began} and has come to step "
            f"{trial.steps}: {trial.state}{f' ({prose.safe(trial.why)})' if trial.why else ''}. {self._best()}"
        )
        yield (
            f"New values are those read back from the training function. A score beside a change is the median of up "
            f"to {_AROUND} reports: of the last before it, and of the last it was in force. Times are UTC."
        )

    def _best(self) -> str:
        trial = self.trial
        if trial.best_score is None or trial.best_step is None:
            return f"It has reported no `{self.state.objective}` yet."
        at = next((span for span in self.head if span.after < trial.best_step <= span.to), self.head[0])
        settings = prose.settings(at.trained.recipe.at(trial.best_step))
        return f"Best: {number(trial.best_score)} at step {trial.best_step}, under {settings}."

    def closing(self) -> Iterator[str]:
        """What lies on disk, and what was refused."""
        saved = len(list(self.study.records(CheckpointSaved)))
        kept = self.state.kept(self.trial)
        where = f", of which {len(kept)} are kept: steps {prose.listed(each.step for each in kept)}" if kept else ""
        yield f"{count(saved, 'checkpoint')} {'was' if saved == 1 else 'were'} written{where}."
        refused = [each for each in self.answered.values() if each.state == "rejected"]
        if refused:
            yield f"{count(len(refused), 'request')} changed nothing, being refused: see the table `requests`."

    # ── the story ───────────────────────────────────────────────────────────────────────────────

    def story(self) -> list[Paragraph]:
        """All of it, the first first."""
        return sorted(self.entries(), key=lambda each: each.at)

    def entries(self) -> Iterator[Paragraph]:
        """A paragraph an event."""
        for trained in self.tree.segments:
            yield Paragraph(at=trained.at, step=self._steps_of(trained), text=self._began(trained))
        for note in self.study.records(Noted):
            step = 0 if note.step is None else note.step
            yield Paragraph(at=note.at, step=step, text=f"{prose.who(note.by)} noted: {prose.quoted(note.text)}.")
        for held in self.study.records(TrialHeld):
            if held.state == "lost":
                text = f"The worker was lost: {prose.safe(held.why)}. Nothing older than its last checkpoint was."
                yield Paragraph(at=held.at, step=held.step, text=text)
        for request in self.asked.values():
            answer = self.answered.get(request.request)
            if answer is not None and answer.state == "applied" and (text := self._done(request, answer)):
                step = self.trial.steps if answer.step is None else answer.step
                yield Paragraph(at=answer.at, step=step, text=f"{text}{prose.because(request.why)}")
            elif answer is not None and answer.state == "expired":
                asked = f"{prose.who(request.by)} had asked for a {request.verb}, which never took effect"
                step = self.trial.steps if answer.step is None else answer.step
                yield Paragraph(at=answer.at, step=step, text=f"{asked}: {prose.safe(answer.detail)}.")
        for end in self.study.records(TrialEnded):
            yield Paragraph(at=end.at, step=end.step, text=self._ended(end))

    def _steps_of(self, trained: TrainedSegment) -> str:
        rollback = next((each for each in self.tree.rollbacks() if each.trained is trained), None)
        return str(trained.from_step) if rollback is None else f"{rollback.from_step} → {trained.from_step}"

    def _began(self, trained: TrainedSegment) -> str:
        segment = trained.segment
        if not trained.number:
            return self._first()
        match segment.cause:
            case "adjust":
                return self._adjusted(trained)
            case "revert":
                return self._went_back(trained)
            case "retry":
                return (
                    f"The run was taken up again from {self._start(trained)} ({prose.safe(segment.why)}): "
                    "the steps since are trained anew under the same settings."
                )
        asked = self.asked.get(segment.request)
        if asked is not None and asked.verb == "extend":
            more = count(int(asked.arguments["steps"]), "step")
            return (
                f"The run was over; {prose.who(segment.by)} let it train {more} more, from {self._start(trained)}."
                f"{prose.because(asked.why)}"
            )
        return f"The run went on from {self._start(trained)}: {prose.safe(segment.why)}."

    def _first(self) -> str:
        created = next(iter(self.study.records(TrialCreated)))
        settings = prose.settings(created.params)
        if self.trial.parent is None:
            return f"The run began from scratch with {settings}: {prose.safe(created.why)}."
        verb = "promoted" if self.trial.purpose == "promote" else "forked"
        parent, _, step = self.trial.parent.partition("@")
        return f"The run was {verb} from `{parent}` at step {step}, with {settings}: {prose.safe(created.why)}."

    def _adjusted(self, trained: TrainedSegment) -> str:
        segment = trained.segment
        if any(each.segment.request == segment.request for each in self.tree.segments[: trained.number]):
            return "The change was made again, at the step it had been made before the retry."
        asked = self.asked.get(segment.request)
        told = prose.listed(self._format_change(segment.request, each) for each in self.tree.changes(trained))
        undone = asked is not None and asked.verb == "undo"
        did = f"took the last change back{': ' if told else ''}{told}" if undone else f"set {told or 'nothing anew'}"
        why = "" if asked is None else asked.why
        evidence = str(asked.arguments.get("evidence") or "") if asked is not None else ""
        shown = f" Evidence: {prose.safe(evidence).rstrip('.')}." if evidence else ""
        return f"{prose.who(segment.by)} {did}.{prose.because(why)}{shown}{self._came_of_it(trained)}"

    def _format_change(self, request: str, change: Change) -> str:
        row = self.read_back.get((request, change.parameter))
        after = change.after if row is None else row.read_back
        step = f"`{change.parameter}` {prose.value(change.before)} → {prose.value(after)}"
        if change.becomes is not None and change.was != change.becomes:
            if change.before == after:
                return f"`{change.parameter}` on a schedule from {prose.value(after)}, {prose.course(change.becomes)}"
            return f"{step}, {prose.course(change.becomes)}"
        if change.was is not None and change.becomes is None:
            steady = f"`{change.parameter}` constant from here on, at {prose.value(after)}"
            return steady if change.before == after else f"{step}, constant from here on"
        return step

    def _came_of_it(self, trained: TrainedSegment) -> str:
        objective = self.state.objective
        before = self._level(self.tree.branch(trained.number - 1), trained.from_step)
        own = trained.scores.get(objective, Curve())
        after = median(own.scores[-_AROUND:]) if len(own) else None
        parts = []
        if after is not None and not isfinite(own.scores[-1]):
            parts.append(f"By step {trained.to_step} `{objective}` was no finite number any more")
        elif before is not None and after is not None:
            signed = self.state.signed(after) - self.state.signed(before)
            way = "better" if signed > 0 else "worse" if signed < 0 else "unchanged"
            levels = f"from {number(before)} to {number(after)}"
            parts.append(f"By step {trained.to_step} `{objective}` had gone {levels} ({way})")
        if (verdict := self.verdicts.get(trained.segment.request)) is not None:
            evidence = f" ({prose.safe(verdict.evidence)})" if verdict.evidence else ""
            parts.append(f"Verdict: {prose.safe(verdict.verdict)}{evidence}")
        if verdict is None or not verdict.verdict.startswith("taken back"):
            parts.append(self._fate(trained))
        return "".join(f" {part}." for part in parts if part)

    def _fate(self, trained: TrainedSegment) -> str:
        if all(span.trained is not trained for span in self.head):
            return f"It was given up at step {trained.to_step}"
        following = self.tree.segments[trained.number + 1 : trained.number + 2]
        if following and (asked := self.asked.get(following[0].segment.request)) and asked.verb == "undo":
            return f"It was taken back at step {following[0].from_step}"
        return "It was kept" if following or self.trial.ended else "It is in force"

    def _level(self, branch: Branch, step: int) -> float | None:
        """The score when a step was reached, on a branch."""
        values = [
            value for span in branch for at, value in span.points(self.state.objective) if at <= step
        ]  # the run's whole past: a segment may be shorter than what a median needs
        return median(values[-_AROUND:]) if values else None

    def _went_back(self, trained: TrainedSegment) -> str:
        segment = trained.segment
        asked = self.asked.get(segment.request)
        rollback = next((each for each in self.tree.rollbacks() if each.trained is trained), None)
        lost = 0 if rollback is None else sum(span.to - span.after for span in rollback.given_up)
        verb = "took the last return back, to" if asked is not None and asked.verb == "undo" else "went back to"
        changes = prose.listed(self._format_change("", each) for each in self.tree.changes(trained))
        keeps = asked is not None and asked.arguments.get("keep_settings")
        settings = "with the settings kept" if keeps else f"with {changes}" if changes else "with the same settings"
        given_up = f" {count(lost, 'step')} were given up; they stay on record." if lost > 1 else ""
        why = segment.why if asked is None else asked.why
        return f"{prose.who(segment.by)} {verb} {self._start(trained)}, {settings}.{prose.because(why)}{given_up}"

    def _start(self, trained: TrainedSegment) -> str:
        checkpoint = trained.segment.checkpoint
        if checkpoint is None:
            return f"step {trained.from_step}" if trained.from_step else "the beginning"
        kind = self.state.checkpoints[checkpoint].kind
        named = f", {kind}" if kind.startswith("before") else ", pinned" if kind == "pinned" else ""
        return f"the checkpoint of step {trained.from_step} (number {checkpoint}{named})"

    def _done(self, request: Requested, answer: Answered) -> str:
        """What was asked for and opens no segment of its own; nothing for what is told elsewhere."""
        if request.verb in _TOLD_ELSEWHERE or any(
            each.segment.request == request.request for each in self.tree.segments
        ):
            return ""
        who = prose.who(request.by)
        match request.verb:
            case "pause":
                released = ", saved a checkpoint and released the worker" if request.arguments.get("release") else ""
                return f"{who} paused the run{released}."
            case "resume":
                return f"{who} let the run go on."
            case "step":
                return f"{who} let it train {count(int(request.arguments['steps']), 'step')}, then stand still."
            case "checkpoint":
                return f"{who} had a checkpoint written, to be kept ({prose.safe(answer.detail)})."
            case "extend":
                more = count(int(request.arguments["steps"]), "step")
                return f"{who} let the run train {more} beyond what its function asks for."
        verb = REQUESTS.get(request.verb)
        meaning = f" ({verb.meaning})" if verb is not None and verb.meaning else ""
        given = f" with {prose.settings(request.arguments)}" if request.arguments else ""
        return f"{who} asked for {prose.safe(request.verb)}{meaning}{given}: {prose.safe(answer.detail) or 'done'}."

    def _ended(self, end: TrialEnded) -> str:
        stops = [
            request
            for request in self.asked.values()
            if request.verb == "stop" and (answer := self.answered.get(request.request)) and answer.at >= end.at - 1.0
        ]
        if end.state == "stopped" and stops:
            return f"{prose.who(stops[0].by)} stopped the run.{prose.because(stops[0].why)}{self._at_the_end(end)}"
        error = f" `{end.error}`" if end.error else ""
        return f"The run ended, {end.state}: {prose.safe(end.why)}.{error}{self._at_the_end(end)}"

    def _at_the_end(self, end: TrialEnded) -> str:
        if end.best_score is None:
            return ""
        return f" Its best `{self.state.objective}` was {number(end.best_score)}, at step {end.best_step}."

    # ── the table ───────────────────────────────────────────────────────────────────────────────

    def branches(self) -> Iterator[str]:
        """The head, every tail still given up, and the runs forked off."""
        objective = self.state.objective
        rows: list[tuple[str, ...]] = []
        heading = ("branch", "steps", "settings at its end", f"best {objective}", f"last {objective}", "how it ended")
        rows.append(
            (
                f"**{self.study.name}** (head)",
                f"{self.head[0].after} → {self.trial.steps}",
                prose.settings(self.trial.recipe.at(self.trial.steps)),
                *self._scores(self.head),
                f"{self.trial.state}{f': {prose.safe(self.trial.why)}' if self.trial.why else ''}",
            )
        )
        for place, rollback in enumerate(self.tree.abandoned(), start=1):
            tip, segment = rollback.given_up[-1], rollback.trained.segment
            why = f": {prose.quoted(segment.why)}" if segment.why else ""
            what = f"{prose.who(segment.by)} went back{why}" if segment.cause == "revert" else prose.safe(segment.why)
            rows.append(
                (
                    f"given up {place}",
                    f"{rollback.given_up[0].after} → {tip.to}",
                    prose.settings(tip.trained.recipe.at(tip.to)),
                    *self._scores(rollback.given_up),
                    what,
                )
            )
        rows += self._forks()
        lines = ["| " + " | ".join(row) + " |" for row in (heading, *rows)]
        yield "\n".join([lines[0], "|" + "---|" * len(heading), *lines[1:]])

    def _scores(self, branch: Branch) -> tuple[str, str]:
        points = [point for span in branch for point in span.points(self.state.objective) if point[1] == point[1]]
        if not points:
            return "-", "-"
        step, best = max(points, key=lambda point: (self.state.signed(point[1]), -point[0]))
        return f"{number(best)} (step {step})", number(points[-1][1])

    def _forks(self) -> Iterator[tuple[str, ...]]:
        for fork in self.study.forks():
            with closing(fork):
                trial, path = fork.state.trials[0], Tree.of(fork).branch()
                if path:
                    yield (
                        f"`{fork.name}` (fork)",
                        f"{path[0].after} → {trial.steps}",
                        prose.settings(trial.recipe.at(trial.steps)),
                        *self._scores(path),
                        f"{trial.state}{f': {prose.safe(trial.why)}' if trial.why else ''}",
                    )
