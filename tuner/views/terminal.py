"""A study on a terminal: live while it trains, summed up afterwards."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tuner.insight.edges import edges_of
from tuner.record.events import ENDED
from tuner.record.leaders import leaders, why_no_winner
from tuner.values.numbers import duration, near_one, number, percent, scored
from tuner.values.plain import shown
from tuner.views.activity import delay

if TYPE_CHECKING:
    from tuner.coordinator.observers import Status
    from tuner.insight.recommendation import Recommended
    from tuner.record.reader import StudyReader
    from tuner.record.round import Round
    from tuner.record.state import StudyState
    from tuner.record.trial import Trial

_PLAIN_EVERY_S = 5.0
# What a round says of the ends of the space: the table `rounds` has it, and the summary names the ends, once.
_OF_AN_END = ("because it may be better there after all", "a wider space may hold a better value")
_NOTES_SHOWN = 3
_ROUNDS = 6  # beside the first one
_BAR_WIDTH = 24
# Fewer ended trials than this say little about how long the rest will take.
_PACE_FROM = 3
_BARS = "▁▂▃▄▅▆▇█"
_STATE_COLOURS = {"completed": "green", "running": "cyan", "diverged": "yellow", "failed": "red", "lost": "red"}


# ── settings, states and curves ──────────────────────────────────────────────────────────────────────────


def settings_of(params: Mapping[str, Any], one_minus: Iterable[str]) -> dict[str, str]:
    """Settings as texts, each number searched as 1-value with that beside it."""
    beside = set(one_minus)
    texts: dict[str, str] = {}
    for name, value in params.items():
        if name in beside and isinstance(value, int | float):
            texts |= {name: near_one(value), f"1-{name}": number(1 - value, 3)}
        else:
            texts[name] = number(value)
    return texts


def states_of(counts: Mapping[str, int], total: int | None = None) -> str:
    """How many trials are in each state, the shares of `total` beside them."""
    shares = {state: f" ({percent(count / total)})" if total else "" for state, count in counts.items()}
    return ", ".join(f"{count} {state}{shares[state]}" for state, count in counts.items() if count)


def chart(values: Sequence[float], width: int = 60, height: int = 6) -> list[str]:
    """Lines of blocks whose tops follow the values, the first line on top; what is not finite leaves a gap."""
    groups = [values[i * len(values) // width : (i + 1) * len(values) // width] for i in range(width)]
    groups = groups if len(values) > width else [[value] for value in values]
    means = [sum(group) / len(group) for group in groups]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top, half = 8 * height, high / 2 - low / 2  # the whole of it may be more than a float holds
    levels = [
        (1 + round((top - 1) * ((mean / 2 - low / 2) / half if half else 0.5))) if math.isfinite(mean) else 0
        for mean in means
    ]
    return [
        "".join(_block(level - 8 * row) for level in levels).rstrip() for row in reversed(range(height))
    ]  # each row is worth 8 eighths of a block


def _block(eighths: int) -> str:
    return " " if eighths <= 0 else _BARS[min(eighths, 8) - 1]


def one_minus_names(study: StudyState) -> tuple[str, ...]:
    """The parameters that are searched as 1-value."""
    described = (study.identity.get("space") or {}).get("parameters", ())
    return tuple(each["name"] for each in described if each.get("scale") == "log_one_minus")


# ── while it trains ─────────────────────────────────────────────────────────────────────────────


class HarmlessConsole(Console):
    """A console whose terminal is commanded by tuner alone, whatever stands in the texts that it shows."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is to be shown, piece by piece."""
        for each in super().render(renderable, options):
            yield each if each.control or each.text.isprintable() else Segment(shown(each.text), each.style)


class Progress:
    """Shows a running study: redrawn in place on a terminal, a plain line now and then anywhere else."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is stderr unless told, so that what a program prints stays its own; `clock` tells seconds."""
        self._clock = clock
        self._file = sys.stderr if file is None else file
        console = HarmlessConsole(file=self._file, force_terminal=self._file.isatty(), highlight=False)
        on_terminal = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False) if on_terminal else None
        self._rounds_shown = -1
        self._notes: deque[str] = deque(maxlen=_NOTES_SHOWN)
        self._paces: deque[tuple[float, int, int]] = deque(maxlen=300)
        self._first_pace: tuple[float, int, int] | None = None
        self._next_plain = 0.0
        self._last = ""
        self._waited_for: str | None = None

    def show(self, study: StudyState, status: Status) -> None:
        """Shows the study as it is now; cheap enough for ten times a second."""
        self._paces.append((status.elapsed_s, tried(study), study.steps_done))
        self._first_pace = self._first_pace or self._paces[0]
        if status.note is not None:
            self._notes.append(status.note)
        self._say(self._news(study, status))
        if self._live is not None:
            self._live.start()
            self._live.update(self._frame(study, status), refresh=True)
            return
        self._last = self._line(study, status)
        if self._clock() >= self._next_plain:
            self._say([self._last])
            self._next_plain, self._last = self._clock() + _PLAIN_EVERY_S, ""

    def close(self) -> None:
        """Leaves the last state standing and the terminal as it was found."""
        if self._live is not None:
            self._live.stop()
        elif self._last:
            self._say([self._last])
            self._last = ""

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            if self._live is not None:
                self._live.console.print(Text(line), no_wrap=True, overflow="ellipsis")
            else:
                print(shown(line), file=self._file, flush=True)

    def _news(self, study: StudyState, status: Status) -> Iterator[str]:
        """What is said once: a round that opens, and off a terminal every warning. A study taken up tells its last."""
        rounds = study.rounds_with_trials()
        first = max(0, len(rounds) - 1) if self._rounds_shown < 0 else self._rounds_shown
        for each in rounds[first:]:
            yield ", ".join(reason_of(each))
        self._rounds_shown = len(rounds)
        if status.note is not None and self._live is None:
            yield status.note
        because = _because(study, status)
        if because not in ("", self._waited_for) and self._live is None:
            yield f"{study.name}: {because}"
        self._waited_for = because

    def _pace(self, status: Status, done: int) -> tuple[float | None, float | None]:
        """Seconds left, and steps a second, by the last half minute or all that was seen; None where that is little."""
        recent = self._paces[0]
        elapsed, was_done, was_steps = recent if done - recent[1] >= _PACE_FROM else self._first_pace or recent
        now, _, steps = self._paces[-1]
        if now <= elapsed:
            return None, None
        rate = (done - was_done) / (now - elapsed)
        wanted = status.trials_wanted
        left = (wanted - done) / rate if wanted and done - was_done >= _PACE_FROM and wanted > done else None
        return left, (steps - was_steps) / (now - elapsed)

    def _times(self, study: StudyState, status: Status) -> str:
        left, steps_a_second = self._pace(status, tried(study))
        words = [duration(status.elapsed_s)]
        if left is not None:
            words.append(f"{duration(left)} left")
        if steps_a_second:
            words.append(f"{number(steps_a_second, 3)} steps/s")
        return ", ".join(words)

    def _line(self, study: StudyState, status: Status) -> str:
        """Everything in one line, for a log."""
        counts = {state: count for state, count in study.counts.items() if state != "waiting"}
        parts = [f"{study.name}: {_of(tried(study), status.trials_wanted)} tried", states_of(counts)]
        parts += [best_of(study), self._times(study, status), _because(study, status)]
        return "; ".join(part for part in parts if part)

    def _frame(self, study: StudyState, status: Status) -> RenderableType:
        done = tried(study)
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, status.trials_wanted or 1), completed=done, width=_BAR_WIDTH)
        head.add_row(
            Text(study.name, style="bold", no_wrap=True, overflow="ellipsis"),
            *([bar] if status.trials_wanted else []),
            Text(_of(done, status.trials_wanted), no_wrap=True),
            Text(self._times(study, status), style="dim"),
        )
        lines = [_coloured(study.counts), Text(best_of(study))]
        lines += [Text(text, style="yellow") for text in (_because(study, status), *self._notes)]
        # The cursor rests on an empty line: there the ^C that a terminal echoes breaks nothing.
        return Group(head, *(Padding(line, (0, 0, 0, 2)) for line in lines if line), Text())


def _because(study: StudyState, status: Status) -> str:
    """Why nothing goes on, or a trial does not; empty: all do."""
    return status.waiting_because or delay(study)


def tried(study: StudyState) -> int:
    """How many trials are over, or were paused where more was expected of others."""
    return sum(count for state, count in study.counts.items() if state in ENDED or state == "paused")


def best_of(study: StudyState) -> str:
    """The best score so far with where it comes from, in a line; empty while there is none."""
    trial = study.best
    if trial is None:
        return ""
    texts = settings_of(trial.settings, one_minus_names(study)).items()
    settings = ", ".join(f"{name} {text}" for name, text in texts)
    return f"best {study.objective} {score_of(study, trial)} (trial {trial.trial}): {settings}"


def score_of(study: StudyState, trial: Trial) -> str:
    """The best score of a trial; the mean of several seeds with how far they differ."""
    return scored(trial.best_score, study.spread(trial))


def reason_of(opened: Round) -> tuple[str, str]:
    """A round of the search, and since which trial and why it looks where it does."""
    name = f"round {opened.round}"
    why = opened.why.removeprefix(name).removeprefix(": ")
    brief = "; ".join(part for part in why.split("; ") if not part.endswith(_OF_AN_END)) or why
    return name, f"from trial {opened.first_trial}: {brief}"


def _of(done: int, wanted: int | None) -> str:
    return f"{done} of {wanted}" if wanted else f"{done} trials"


def _coloured(counts: Mapping[str, int]) -> Text:
    return Text(", ").join(
        Text(f"{count} {state}", style=_STATE_COLOURS.get(state, "")) for state, count in counts.items() if count
    )


# ── afterwards ──────────────────────────────────────────────────────────────────────────────────


def summary(study: StudyReader, top: int = 8, recommended: Recommended | None = None) -> RenderableType:
    """What came out: the winner, the best trials beside one another, where the search looked and why, the files.

    What is `recommended` stands beside the winner.
    """
    state = study.state
    begun, done = len(state.trials), tried(state)
    total = max(begun, (state.options.get("trials") or 0) + state.repeating - state.repeats_within)
    aside = f"{_ASIDE} {_ASKED if done == total else ''}".rstrip()
    parts: list[RenderableType] = [
        Text.assemble((state.name, "bold"), f": {done} of {total} trials tried"),
        *([Text(f"  {states_of(state.counts, begun)}")] if begun else []),
        *([Text(f"  {delay(state)}", style="yellow")] if delay(state) else []),
        *([Text(f"  {aside}", style="dim")] if any(trial.frozen for trial in state.trials) else []),
        Text(),
        *_winner(study),
        *(_recommendation(study, recommended) if recommended is not None and recommended.doubt is not None else ()),
    ]
    if ranked := leaders(state, top):
        parts += [Text(), _Roomy(_leaders_table(state, ranked), _leaders_list(state, ranked))]
    if rounds := state.rounds_with_trials():
        parts += [Text(), Text("where it looked", style="bold"), _pairs(_looked(rounds))]
    if study.space is not None and (ends := edges_of(state, study.space)):
        at = ", ".join(f"{each.parameter} {number(each.value)} ({each.end})" for each in ends)
        told = f"the best lies at an end of its range: {at}; whether to widen it: tuner explain {state.name}"
        parts += [Text(), Text(told, style="yellow")]
    folder = study.place.folder
    inside = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    files = f"files: {folder}" + (f" with {', '.join(inside)}" if inside else "")
    parts += [Text(), Text(files, style="dim", overflow="fold")]
    return Group(*parts)


_ASIDE = "a paused trial was overtaken; it goes on once more is expected of it than of others"
_ASKED = "and more trials are asked for; with --stopping off each is trained to its end"


def test_scores(study: StudyReader) -> dict[str, float]:
    """The scores named test_… that the winner reported at its best step."""
    best = study.best
    if best is None:
        return {}
    return {name: score for name, score in study.scores_at(best.trial, best.step).items() if name.startswith("test_")}


def _winner(study: StudyReader) -> Iterator[RenderableType]:
    best = study.best
    if best is None:
        yield Text(why_no_winner(study.state), style="yellow")
        return
    score = f"best {study.state.objective} {scored(best.score, best.spread)}"
    yield Text.assemble((score, "bold green"), f" (trial {best.trial}, step {best.step})")
    rows = list(settings_of(best.params, one_minus_names(study.state)).items())
    rows += [(name, f"{number(value)} at the same step") for name, value in test_scores(study).items()]
    if (lies := best.checkpoint or best.checkpoint_url) is not None:
        rows.append(("checkpoint", str(lies)))
    yield _pairs(rows)


def _recommendation(study: StudyReader, found: Recommended) -> Iterator[RenderableType]:
    """What is expected of the settings recommended; the settings too where they are not the winner's."""
    low, high = found.bounds or (math.nan, math.nan)
    told = f"recommended (trial {found.trial}, tried {found.times}): {number(found.score)} ± {number(found.doubt, 2)}"
    told += f" expected of another training (95 %: {number(low)} to {number(high)})"
    yield Text.assemble((told, "green"))
    if study.best is None or study.best.params != found.params:
        yield _pairs(settings_of(found.params, one_minus_names(study.state)).items())


def _looked(rounds: Sequence[Round]) -> Iterator[tuple[str, str]]:
    """The first round and the last ones; what lies between is counted."""
    yield reason_of(rounds[0])
    left_out = len(rounds) - 1 - _ROUNDS
    if left_out > 0:
        more = (
            "1 round more: the table rounds has it"
            if left_out == 1
            else f"{left_out} rounds more: the table rounds has them"
        )
        yield "…", more
    for each in rounds[max(1, left_out + 1) :]:
        yield reason_of(each)


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row("", Text(name), Text(text, overflow="fold"))
    return table


def _leaders_table(study: StudyState, ranked: Sequence[Trial]) -> Table:
    rows = [settings_of(trial.settings, one_minus_names(study)) for trial in ranked]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = _plain_table()
    for heading in ("trial", study.objective):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for trial, row in zip(ranked, rows, strict=True):
        table.add_row(
            str(trial.trial), score_of(study, trial), trial.state, *(Text(row.get(name, "")) for name in names)
        )
    return table


def _leaders_list(study: StudyState, ranked: Sequence[Trial]) -> Table:
    table = _plain_table()
    for heading in ("trial", study.objective):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("settings")
    for trial in ranked:
        settings = settings_of(trial.settings, one_minus_names(study)).items()
        text = ", ".join(f"{name} {value}" for name, value in settings)
        table.add_row(str(trial.trial), score_of(study, trial), trial.state, Text(text))
    return table


def _plain_table() -> Table:
    return Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


class _Roomy:
    """The first of two tables where it fits, else the second, which wraps."""

    def __init__(self, wide: Table, narrow: Table) -> None:
        self._wide, self._narrow = wide, narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=10_000)
        fits = Measurement.get(console, unbounded, self._wide).maximum <= options.max_width
        yield self._wide if fits else self._narrow
