"""A study's news since a place in its record, in at most two kilobytes: for programs that come back again and again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.record import events as rec
from tuner.record.dialogue import DIALOGUE
from tuner.record.reports import objective_rows
from tuner.record.spending import Spending, spending
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import count, number, scored, setting

LIMIT_BYTES = 2048
"""No digest is longer, neither as JSON nor as text."""
# What parts of it may take, as JSON; a line of news that is longer is cut, so that one cannot keep out all others.
_NAME, _STANDING, _SETTINGS, _VALUE, _LINE = 120, 240, 480, 60, 260
_TRIED = 80  # sentences: of those that come after, none would find room


@dataclass(frozen=True, kw_only=True)
class Digest:
    """How a study stands, and its news since a place in its record; at most 2 KB as JSON and as text.

    Attributes:
        study: Its name.
        kind: "sweep" or "babysitting".
        stands: How it stands, in a few words.
        objective: The score that counts.
        goal: "maximize" or "minimize" it.
        best: Trial, score, step and settings of the best so far; None where none has a score.
        spent: Its trials and steps, with what there may be of each, None where there is no bound.
        news: What has happened since, in sentences: the weightiest first, and of equal weight the latest.
        left_out: How many sentences had no room; the weightiest are there.
        cursor: The place in the record that it goes up to: the next one begins there.

    Example:
        >>> told = study.digest()
        >>> len(str(told).encode()) <= 2048, study.digest(since=told.cursor).news
        (True, ())
    """

    study: str
    kind: str
    stands: str
    objective: str
    goal: str
    best: Mapping[str, Any] | None
    spent: Mapping[str, int | None]
    news: tuple[str, ...]
    left_out: int
    cursor: int

    def as_value(self) -> dict[str, Any]:
        """It as JSON has it, of which `as_json` is at most 2 KB.

        Returns:
            Its fields by their names.

        Example:
            >>> study.digest().as_value()["study"]
            'night'
        """
        return {**vars(self), "news": list(self.news)}

    def __str__(self) -> str:
        lines = [f"{self.study}: {self.stands}"]
        if self.best is not None:
            settings = ", ".join(f"{name} {setting(value)}" for name, value in self.best["params"].items())
            where = f"trial {self.best['trial']}, step {self.best['step']}"
            lines.append(f"best {self.objective} {number(self.best['score'])} ({where}): {settings}")
        lines += [f"- {line}" for line in self.news]
        if self.left_out:
            lines.append(f"- {self.left_out} more, of less weight")
        return "\n".join([*lines, f"since here: --since {self.cursor}"])


def as_json(value: Any) -> str:
    """A value as the shell prints it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def digest(study: StudyState, records: Sequence[Any], *, cursor: int, running: bool) -> Digest:
    """What `records`, all that was written since, say of a study."""
    heard = sorted(_news(study, records), key=lambda each: each[0])

    def with_news(chosen: Iterable[int]) -> Digest:
        kept = list(chosen)
        return Digest(
            study=cut(study.name, _NAME),
            kind=study.kind,
            stands=cut(standing(study, running=running), _STANDING),
            objective=cut(study.objective, _NAME),
            goal=study.goal,
            best=_best(study),
            spent=_spent(spending(study)),
            news=tuple(cut(heard[place][1], _LINE) for place in kept),
            left_out=len(heard) - len(kept),
            cursor=cursor,
        )

    chosen: list[int] = []
    for place in range(min(len(heard), _TRIED)):
        tried = with_news([*chosen, place])
        if max(len(as_json(tried.as_value()).encode()) + 1, len(str(tried).encode()) + 1) <= LIMIT_BYTES:
            chosen.append(place)
    return with_news(chosen)


def worth_telling(study: StudyState, records: Iterable[Any]) -> list[Any]:
    """Those of these records that a digest speaks of: reports, by far the most, only where they hold the best score."""
    best = study.best
    return [each for each in records if not isinstance(each, rec.Reported) or _has(best, each, study.objective)]


def improved(study: StudyState, records: Iterable[Any]) -> bool:
    """Whether the best score there is was reported in these records."""
    best = study.best
    return any(_has(best, each, study.objective) for each in records if isinstance(each, rec.Reported))


def best_line(study: StudyState) -> str:
    """The best score and where it comes from; empty where there is none."""
    best = study.best
    if best is None:
        return ""
    where = f"at step {best.best_step}" if study.kind == "babysitting" else f"trial {best.trial}, step {best.best_step}"
    return f"the best {study.objective} is {scored(best.best_score, study.spread(best), 6)} ({where})"


def standing(study: StudyState, *, running: bool) -> str:
    """How a study stands, in a few words."""
    if study.kind == "babysitting":
        if not study.trials:
            return "starting" if running else "never began"
        trial = study.trials[0]
        told = f"{trial.state} at step {trial.steps}" + (f": {trial.why}" if trial.why else "")
        return told if running or trial.ended else f"{told}; nobody coordinates it, and the next request wakes it"
    over = Counter(trial.state for trial in study.trials)
    states = ", ".join(f"{many} {state}" for state, many in over.items())
    most = study.options.get("trials")
    begun = f"{len(study.trials)}{f' of {most}' if most else ''} trials begun"
    return f"{'running' if running else 'not running'}, {begun}" + (f": {states}" if states else "")


def cut(text: str, most: int) -> str:
    """A text in one line, shortened until it takes at most so many bytes as JSON."""
    text = " ".join(text.split())
    if len(json.dumps(text, ensure_ascii=False).encode()) <= most:
        return text
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(json.dumps(text[:middle] + "…", ensure_ascii=False).encode()) <= most
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + "…"


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _has(best: Trial | None, reported: rec.Reported, objective: str) -> bool:
    """Whether these reports have the best score."""
    if best is None or reported.trial != best.trial:
        return False
    rows = objective_rows(reported, objective)
    return any((step, score) == (best.best_step, best.best_score) for step, score in rows)


def _best(study: StudyState) -> dict[str, Any] | None:
    best = study.best
    if best is None:
        return None
    params: dict[str, Any] = {}
    for name, value in best.settings.items():
        short = cut(value, _VALUE) if isinstance(value, str) else value
        more = {**params, cut(name, _VALUE): short}
        if len(as_json({"best": {"params": more}}).encode()) > _SETTINGS:
            break
        params = more
    left_out = len(best.settings) - len(params)
    told = {"trial": best.trial, "score": best.best_score, "step": best.best_step, "params": params}
    if (spread := study.spread(best)) is not None:
        told["spread"] = spread
    return {**told, "params_left_out": left_out} if left_out else told


def _spent(spent: Spending) -> dict[str, int | None]:
    most = {"trials_most": spent.trials_most, "steps_most": spent.steps_most}
    return {"trials": spent.trials, "steps": spent.steps, **most}


def _news(study: StudyState, records: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Sentences with their weight, 0 the weightiest; within a weight the latest come first."""
    if improved(study, records):
        yield 0, f"improved: {best_line(study)}"
    ended: Counter[str] = Counter()
    latest = list(reversed(records))
    for record in latest:
        match record:
            case rec.TrialEnded():
                ended[record.state] += 1
                if study.kind == "babysitting":
                    yield 0, f"over at step {record.step}: {record.state}, {record.why}"
                elif record.state == "failed":
                    yield 2, f"trial {record.trial} failed at step {record.step}: {record.why}"
            case rec.Answered() if told := _answer(study, record):
                yield (1 if record.state == "rejected" else 2), told
            case rec.Noted():
                kind = "advice" if record.by == "supervisor" else f"note by {record.by}"
                of = "" if record.trial is None or study.kind == "babysitting" else f" of trial {record.trial}"
                at = "" if record.step is None else f" at step {record.step}"
                yield (1 if record.by == "supervisor" else 3), f"{kind}{of}{at}: {record.text}"
            case rec.RoundOpened():
                why = record.why.removeprefix(f"round {record.round}: ")
                yield 4, f"round {record.round} from trial {record.first_trial}: {why}"
            case rec.TrialHeld(state="lost"):
                yield 3, f"{_of(study, record.trial)}lost at step {record.step}: {record.why}"
            case rec.SegmentOpened(cause="retry"):
                yield 4, f"{_of(study, record.trial)}goes on from step {record.from_step}: {record.why}"
    if ended and study.kind == "sweep":
        states = ", ".join(f"{many} {state}" for state, many in ended.most_common())
        yield 2, f"{count(ended.total(), 'trial')} ended: {states}"


def _of(study: StudyState, trial: int) -> str:
    return "" if study.kind == "babysitting" else f"trial {trial} "


# by what a program says, trials begin, improve and end
_TOLD_OTHERWISE = frozenset({"note", *DIALOGUE})


def _answer(study: StudyState, record: rec.Answered) -> str:
    """What became of a request, who asked and why; empty where that is told otherwise or is yet to come."""
    asked = study.requests.get(record.request)
    if asked is None or asked.verb in _TOLD_OTHERWISE or record.state in ("received", "accepted"):
        return ""
    at = "" if record.step is None else f" at step {record.step}"
    why = f" (why: {asked.why})" if asked.why else ""
    return f"{asked.verb} by {asked.by} {record.state}{at}: {record.detail}{why}"
