"""The look of a run on so many columns and rows: its curves with what was changed on them, its tree, its words."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import plotext  # type: ignore[import-untyped]
from rich.text import Text

from tuner.room.scene import Branch, Entry, Line, Picture, Score, age
from tuner.values.numbers import duration, number

_STATES = {
    "running": "bold green",
    "paused": "bold yellow",
    "lost": "bold red",
    "completed": "bold cyan",
    "failed": "bold red",
    "diverged": "bold red",
}
_KINDS = {
    "applied": "",
    "accepted": "cyan",
    "received": "cyan",
    "rejected": "red",
    "expired": "yellow",
    "superseded": "yellow",
    "ended": "bold",
    "note": "green",
    "said": "dim",
    "error": "red",
}
_MARKS = {"adjust": "orange", "revert": "magenta", "retry": "red"}
_HEAD, _BAND, _GIVEN_UP = "cyan+", "blue", "gray"
# A score that falls by more than this factor is drawn on a log scale.
_DECADES = 30.0


def drawn(draw: Callable[..., Text], *arguments: Any) -> Text:
    """What `draw` makes of its arguments, or in its place why it failed: a drawing costs no more than itself."""
    try:
        return draw(*arguments)
    except Exception as error:  # whatever it is, the room stays
        return Text(f"{draw.__name__} cannot be drawn: {type(error).__name__}: {error}", style="red")


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def heading(picture: Picture, width: int) -> Text:
    """The run in a line: its state, step, speed, and its last checkpoint."""
    state = Text(picture.state, style=_STATES.get(picture.state, "bold"))
    parts = [Text(picture.name, style="bold"), state, Text(f"step {picture.steps}")]
    if picture.speed is not None:
        parts.append(Text(f"{number(picture.speed, 3)} steps/s"))
    if picture.checkpoint is None:
        parts.append(Text("no checkpoint yet", style="yellow"))
    else:
        step, at = picture.checkpoint
        # What a run that trains would lose; once it is over, its age says nothing, and takes the room of the why.
        old = "" if picture.ended else f", {duration(age(at))} old"
        parts.append(Text(f"checkpoint of step {step}{old}"))
    if picture.state not in ("running", "waiting") and picture.why:
        parts.append(Text(picture.why, style="dim"))
    return _cut(Text(" · ").join(parts), width)


def settings(picture: Picture) -> Text:
    """The values in force, those under a schedule with it."""
    schedules = dict(picture.schedules)
    parts = []
    for name, text in picture.settings:
        part = Text.assemble((name, "dim"), " ", (text, "bold"))
        if name in schedules:
            part.append(f" ({schedules[name]})", style="yellow")
        parts.append(part)
    return _one_line(Text("  ").join(parts))


def tree(picture: Picture, width: int, rows: int) -> Text:
    """The newest segments, a line each: the path that counts in colour, what was given up dim and set aside."""
    shown = picture.branches[-rows:]
    growing = None if picture.ended else picture.head
    lines = [_branch(each, is_head=each.number == picture.head, grows=each.number == growing) for each in shown]
    return Text("\n").join([_cut(line, width) for line in lines])


def _branch(each: Branch, *, is_head: bool, grows: bool) -> Text:
    style = ("bold green" if is_head else "green") if each.on_head else "dim"
    line = Text("● " if each.on_head else "│ ○ ", style=style)
    line.append(f"{each.number} {each.cause} ", style=style)
    line.append(f"{each.from_step}–{'' if grows else each.to_step}", style=style)
    rest = (
        each.what if each.cause != "revert" else "; ".join(filter(None, (f"back at step {each.from_step}", each.what)))
    )
    line.append(f" {rest}" if rest else "", style="" if each.on_head else "dim")
    by = "" if each.cause == "start" or not each.by else f"  {each.by}" + (f": {each.why}" if each.why else "")
    return line.append(by, style="dim")


def _cut(line: Text, width: int) -> Text:
    """The line, and one alone whatever somebody has written: a second one would read as another branch."""
    line = _one_line(line)
    line.truncate(width, overflow="ellipsis")
    return line


def _one_line(line: Text) -> Text:
    line.plain = line.plain.replace("\n", " ")
    return line


def log(entries: Sequence[Entry]) -> Text:
    """What was asked and what became of it, the newest last; further lines of one stand in, so that none is another."""
    told = (each.text if each.kind == "said" else each.text.replace("\n", "\n    ") for each in entries)
    return Text("\n").join(
        Text(text, style=_KINDS.get(each.kind, "")) for text, each in zip(told, entries, strict=True)
    )


# ── curves ──────────────────────────────────────────────────────────────────────────────────────


def chart(score: Score, picture: Picture, width: int, height: int) -> Text:
    """A score over the steps, `width` × `height` cells: the head bright, what was given up dim, each change a line.

    The number at a change is that of the segment it opened, as in the tree.
    """
    drawn = [line for line in score.lines if line.steps]
    title = _title(score, width, reported=bool(drawn))
    if not drawn or width < 12 or height < 4:
        return title
    head = [value for line in drawn if line.on_head for value in (*line.lows, *line.highs)] or list(drawn[-1].means)
    logarithmic = min(head) > 0 and max(head) > _DECADES * min(head)

    def bent(values: Iterable[float]) -> list[float]:
        """Where the values lie on the axis; what is beyond its ends lies at them."""
        if logarithmic:
            values = (math.log10(value) if value > 0 else low for value in values)
        return [min(max(value, low), high) for value in values]

    low, high = _limits([math.log10(value) for value in head] if logarithmic else head)
    last = _last_step(picture, drawn)
    drawn = [short for line in drawn if (short := _until(line, last)).steps]
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plot_size(width, height - 1)
    plotext.theme("clear")
    plotext.xlim(0, last)
    plotext.ylim(low, high)
    _marks(picture, low)
    for line in drawn:
        dots = max(1, 2 * width * (line.steps[-1] - line.steps[0]) // last)
        steps, means, lows, highs = _in_columns(line, dots)
        if lows != highs:  # more than there are dots: the band of what was reported, and in it the mean
            band = [step for step in steps for _ in range(2)]
            ends = [end for pair in zip(bent(lows), bent(highs), strict=True) for end in pair]
            plotext.plot(band, ends, marker="braille", color=_BAND if line.on_head else _GIVEN_UP)
        plotext.plot(steps, bent(means), marker="braille", color=_HEAD if line.on_head else _GIVEN_UP)
    _axes(width, height - 1, last, low, high, logarithmic=logarithmic)
    return Text("\n").join([title, Text.from_ansi(plotext.build().rstrip("\n"))])


def _last_step(picture: Picture, drawn: Iterable[Line]) -> int:
    """Where the axis ends: what counts takes half of it at least, however far the run was when it went back."""
    reached = max(1, picture.steps, *(line.steps[-1] for line in drawn if line.on_head))
    furthest = max(line.steps[-1] for line in drawn)
    return max(reached, min(furthest, 2 * reached))


def _until(line: Line, last: int) -> Line:
    """The line up to a step."""
    count = bisect_right(line.steps, last)
    return replace(
        line, steps=line.steps[:count], means=line.means[:count], lows=line.lows[:count], highs=line.highs[:count]
    )


def _title(score: Score, width: int, *, reported: bool) -> Text:
    """The score in words; where they do not fit, the best is said in fewer."""
    title = Text.assemble((score.name, "bold"))
    if score.last is not None:
        title.append(f" {number(score.last)}")
    if score.best is not None:
        step, value = score.best
        ways = (f"  best {number(value)} at step {step}", f"  best {number(value)} at {step}", f"  best at {step}")
        title.append(next((each for each in ways if title.cell_len + len(each) <= width), ways[-1]), style="dim")
    if not reported:
        title.append("  nothing reported yet", style="dim")
    return _cut(title, width)


def _in_columns(line: Line, dots: int) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps, means, lows and highs of a line, as they are or no more than a pair for each dot."""
    count = len(line.steps)
    bins = min(count, dots) if count > 2 * dots else count
    edges = [(place * count // bins, (place + 1) * count // bins) for place in range(bins)]
    means = [sum(line.means[low:high]) / (high - low) for low, high in edges]
    lows, highs = [min(line.lows[low:high]) for low, high in edges], [max(line.highs[low:high]) for low, high in edges]
    return [line.steps[(low + high) // 2] for low, high in edges], means, lows, highs


def _marks(picture: Picture, low: float) -> None:
    for each in picture.branches:
        if each.cause in _MARKS and each.on_head:
            plotext.vline(each.from_step, color=_MARKS[each.cause])
            plotext.text(str(each.number), each.from_step, low, color=_MARKS[each.cause], alignment="left")


def _axes(width: int, height: int, last: int, low: float, high: float, *, logarithmic: bool) -> None:
    plotext.axes_color("default")
    plotext.ticks_color("default")
    whole = [step for step in ticks(0, last, max(3, width // 12)) if step == int(step)]
    plotext.xticks(whole, [str(int(step)) for step in whole])
    rows = max(2, height // 3)
    places = log_ticks(low, high, rows) if logarithmic else ticks(low, high, rows)
    plotext.yticks(places, labels([10**place for place in places] if logarithmic else places))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """What the axis spans: all values, but outliers beyond four quartile ranges stay at its edge."""
    ordered = sorted(values)
    first, third = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
    reach = 4.0 * (third - first) or math.inf
    low, high = max(ordered[0], first - reach), min(ordered[-1], third + reach)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most about `count` round numbers between the two, and two at least, however close they lie.

    >>> ticks(0, 100, 4)
    [0.0, 50.0, 100.0]
    >>> ticks(0.9812, 0.9876, 2)
    [0.982, 0.984, 0.986]
    """
    decade = math.floor(math.log10((high - low) / count)) + 1
    for exponent in (decade - 2, decade - 1, decade):
        for factor in (1, 2, 5):
            size = factor * 10.0**exponent
            places = range(math.ceil(low / size), math.floor(high / size) + 1)
            if 2 <= len(places) <= max(count, 3):
                return sorted({min(max(float(f"{place * factor}e{exponent}"), low), high) for place in places})
    return [low, high]  # closer than floats of their size tell apart


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """The common logarithms of at most about `count` round numbers, between two logarithms.

    >>> [round(10**place, 6) for place in log_ticks(-1.5, 0.5, 3)]
    [0.1, 1.0]
    >>> [round(10**place, 6) for place in log_ticks(-1.5, 0.5, 6)]
    [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    decades = range(math.floor(low), math.ceil(high) + 1)
    for within in ((1, 2, 5), (1, 3), (1,)):
        places = [decade + math.log10(factor) for decade in decades for factor in within]
        inside = [place for place in places if low <= place <= high]
        if 2 <= len(inside) <= count:
            return inside
    if len(inside) < 2:  # not two powers of ten, or within one stretch of them
        return [math.log10(value) for value in ticks(10**low, 10**high, count)]
    return inside[:: math.ceil(len(inside) / count)]


def labels(values: Sequence[float]) -> list[str]:
    """The numbers with as few digits as tell them apart.

    >>> labels([0.98201, 0.98202]), labels([10.0, 20.0])
    (['0.98201', '0.98202'], ['10', '20'])
    """
    for digits in range(3, 18):
        told = [number(value, digits) for value in values]
        if len(set(told)) == len(values):
            return told
    return told


def words_of(words: Sequence[tuple[str, str]], marked: int | None, width: int) -> Text:
    """The words a line could go on with, in one row; the marked one says what it means."""
    row = Text(no_wrap=True, overflow="ellipsis")
    if marked is not None and words:
        meaning = words[marked][1]
        row.append(f"{words[marked][0].strip()} ", style="bold reverse")
        row.append(f" {meaning}  " if meaning else " ", style="dim")
        words = [*words[marked + 1 :], *words[:marked]]
    for word, _ in words:
        if row.cell_len + len(word) + 1 > width:
            row.append("…", style="dim")
            break
        row.append(f"{word.strip()} ", style="cyan")
    return row
