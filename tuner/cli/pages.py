"""The pages of the verbs that read: the list of studies, one trial, the search spaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuner.record.events import Noted
from tuner.record.location import Place
from tuner.space.parameters import Choice, Parameter
from tuner.space.preview import preview
from tuner.space.space import Space
from tuner.values.numbers import count, duration, memory, number, percent, scored, setting
from tuner.views.activity import activity, ways_on
from tuner.views.terminal import chart, one_minus_names, settings_of

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.explanation import Explanation
    from tuner.api.studies import Summary
    from tuner.api.study import Study
    from tuner.insight.confirmation import Confirmation
    from tuner.insight.ranking import Recheck
    from tuner.record.state import StudyState
    from tuner.record.trial import Checkpoint, Segment, Trial

_SHARE_WIDTH = 40
_NOTES = 8


def studies(found: Iterable[Summary], runs: Mapping[str, Mapping[str, Any]], now: float) -> RenderableType:
    """One line a study; `runs` says more of those that are babysat runs."""
    table = _table("study", "kind", "state", "progress", "best", "updated")
    for each in found:
        run = runs.get(each.name)
        state = each.activity if run is None else run["activity"]
        progress = f"{count(each.trials, 'trial')}, {each.ended:,} ended" if run is None else f"step {run['step']}"
        score = each.best if run is None else run["best"]
        where = f" (trial {each.best_trial})" if run is None else f" (step {run['best_step']})"
        told = f"{each.objective} {scored(score, each.spread)}{where}"
        best = told if score is not None else "no score" if each.ended else ""
        ago = f"{duration(max(0.0, now - each.updated))} ago"
        table.add_row(*map(Text, (each.name, each.kind, state, progress, best, ago)))
    return table


def run(study: Study, *, running: bool) -> RenderableType:
    """All about a babysat run: how it stands, what it trains under, what was done to it."""
    state, curve = study.state, study.curve(0)
    found = state.trials[0]
    began = f"from {found.parent}" if found.parent else "from scratch"
    settings = settings_of(found.recipe.at(found.steps), one_minus_names(state))
    courses = {
        name: f"{each.shape.replace('_', ' ')} since step {each.since}" for name, each in found.recipe.schedules.items()
    }
    parts: list[RenderableType] = [
        Text.assemble((study.name, "bold"), f": {activity(state, running=running)}"),
        _indented(", ".join([f"step {found.steps}", *_trained(found), began])),
        Text(),
        *_score(state, found),
        _rows((name, ", ".join(filter(None, (text, courses.get(name))))) for name, text in settings.items()),
    ]
    if len(curve) > 1:
        parts += [Text(), *_plot(state.objective, list(curve.steps), list(curve.scores))]
    parts += [Text(), _rows(_stretch(found, each) for each in found.segments)]
    parts += [_rows(planned)] if (planned := list(_to_come(state))) else []
    if kept := state.kept(found):
        parts += [Text(), _rows(_checkpoint(each, study.place) for each in kept)]
    if said := list(study.records(Noted))[-_NOTES:]:
        parts += [Text(), _rows((f"note, step {each.step}", f"{each.by}: {each.text}") for each in said)]
    trace = study.traceback(0)
    parts += [Text(), Text(trace.rstrip(), style="red")] if trace else []
    hint = f"{ways_on(state)} · its story: tuner export {study.name} --format markdown"
    return Group(*parts, Text(), Text(hint, style="dim"))


def comparison(frame: pd.DataFrame, goal: str) -> RenderableType:
    """Runs side by side: what they differ in, their last and best scores, and both curves."""
    names = [str(name) for name in frame]
    table = _table("", *names)
    courses = frame.attrs["courses"]
    for word in courses[names[0]]:
        table.add_row(Text(word), *(Text(courses[name][word]) for name in names))
    if not courses[names[0]]:
        table.add_row(Text("settings"), *(Text("the same") for _ in names))
    both = frame.dropna()
    if len(both):
        table.add_row(Text(f"at step {both.index[-1]}"), *(Text(number(float(both[name].iloc[-1]))) for name in names))
    curves = [list(frame[name].dropna().items()) for name in names]
    turn = 1 if goal == "maximize" else -1
    best = [max(curve, key=lambda point: turn * point[1], default=None) for curve in curves]
    table.add_row(Text("best"), *(Text("-" if at is None else f"{number(at[1])} (step {at[0]})") for at in best))
    last = [curve[-1] if curve else None for curve in curves]
    table.add_row(Text("last"), *(Text("-" if at is None else f"{number(at[1])} (step {at[0]})") for at in last))
    return table


def _stretch(found: Trial, each: Segment) -> tuple[str, str]:
    settings = settings_of(found.recipe_of(each).at(each.from_step), ())
    told = ", ".join(f"{name} {text}" for name, text in settings.items())
    return f"step {each.from_step}", f"{each.cause} by {each.by}: {told}" + (f" ({each.why})" if each.why else "")


def _standing(found: Trial) -> str:
    """Its state and why, which may begin with the same word."""
    if found.delay:
        return f"{found.state}, {found.delay}"
    told = found.why.removeprefix(f"{found.state} ")
    return f"{found.state}, {told}" if told == found.why else f"{found.state} {told}"


def trial(study: Study, wanted: int) -> RenderableType:
    """All about one trial."""
    curve, state = study.curve(wanted), study.state
    found = state.trials[wanted]
    parts: list[RenderableType] = [
        Text.assemble((f"{study.name}/{wanted}", "bold"), f": {_standing(found)}"),
        _indented(_origin(found)),
        Text(),
        *_score(state, found),
        _rows(settings_of(found.settings, one_minus_names(state)).items()),
    ]
    if len(curve) > 1:
        parts += [Text(), *_plot(state.objective, list(curve.steps), list(curve.scores))]
    if len(found.segments) > 1:
        parts += [Text(), _rows(map(_segment, found.segments))]
    if kept := state.kept(found):
        parts += [Text(), _rows(_checkpoint(each, study.place) for each in kept)]
    trace = study.traceback(wanted)
    parts += [Text(), Text(trace.rstrip(), style="red")] if trace else []
    return Group(*parts)


def _trained(found: Trial) -> list[str]:
    """How long it trained, which is known once it is over."""
    return [f"{duration(found.seconds)} of training"] if found.ended else []


def _origin(found: Trial) -> str:
    words = [found.purpose] + ([] if found.round is None else [f"round {found.round}"])
    words += [f"seed {found.seed}", *_trained(found)]
    words += [f"on {found.node}"] if found.node else []
    return ", ".join(words) + (f"; {found.segments[0].why}" if found.segments and found.segments[0].why else "")


def _to_come(study: StudyState) -> Iterator[tuple[str, str]]:
    """What was accepted for a step to come."""
    for each in study.requests.values():
        at = each.arguments.get("at")
        if each.state == "accepted" and at is not None:
            values = each.arguments.get("values") or {each.arguments.get("parameter"): each.arguments.get("shape")}
            told = ", ".join(f"{name} {value}" for name, value in values.items())
            yield f"step {at}, to come", f"{each.verb} by {each.by}: {told}" + (f" ({each.why})" if each.why else "")


def _score(study: StudyState, found: Trial) -> Iterator[RenderableType]:
    if found.best_score is None:
        yield Text(f"no {study.objective!r} reported; {found.steps} steps", style="yellow")
    else:
        score = f"best {study.objective} {scored(found.best_score, study.spread(found))}"
        aside = "; what was given up is left out" if any(each.cause == "revert" for each in found.segments) else ""
        yield Text.assemble((score, "bold green"), f" at step {found.best_step} of {found.steps}{aside}")


def _plot(name: str, steps: Sequence[int], scores: Sequence[float]) -> Iterator[RenderableType]:
    finite = [score for score in scores if score - score == 0]
    high, low = (number(max(finite)), number(min(finite))) if finite else ("", "")
    lines = chart(scores)
    margin = max(len(high), len(low))
    for place, line in enumerate(lines):
        label = high if place == 0 else low if place == len(lines) - 1 else ""
        yield Text(f"  {label:>{margin}} {line}", no_wrap=True)
    yield Text(f"  {'':>{margin}} {name} from step {steps[0]} to {steps[-1]}", style="dim")


def _segment(each: Segment) -> tuple[str, str]:
    return f"segment {each.segment}", f"{each.cause} from step {each.from_step}: {each.why}"


def _checkpoint(each: Checkpoint, place: Place) -> tuple[str, str]:
    told = f"step {each.step}, {each.kind}, {memory(each.bytes)}: {place.where(each.path)}"
    return f"checkpoint {each.checkpoint}", told


def spaces(brought: Mapping[str, Space]) -> RenderableType:
    """The spaces that come with tuner, and what each searches."""
    table = _table("space", "searches")
    for name, space in brought.items():
        table.add_row(Text(name), Text(", ".join(space)))
    return Group(table, Text(), Text("What one of them samples: tuner spaces NAME", style="dim"))


def space(name: str, shown: Space) -> RenderableType:
    """Each parameter with its range, the reason for it, and the share of draws each stretch gets."""
    parts: list[RenderableType] = [Text(name, style="bold")]
    for parameter in shown.values():
        parts += [Text(), Text.assemble((parameter.name, "bold cyan"), f"  {_range(parameter)}")]
        parts += [_indented(parameter.why)] if parameter.why else []
        shares = preview(parameter)
        most = max(share for _, share in shares)
        table = Table.grid(padding=(0, 2))
        for label, share in shares:
            bar = "█" * max(1, round(_SHARE_WIDTH * share / max(most, 0.5)))
            table.add_row("", Text(label, justify="right"), Text(percent(share), justify="right"), Text(bar))
        parts.append(table)
    return Group(*parts)


def _range(parameter: Parameter | Choice) -> str:
    if isinstance(parameter, Choice):
        words = ["one of " + ", ".join(map(str, parameter.options))]
    else:
        whole = "whole numbers " if parameter.type == "integer" else ""
        words = [f"{whole}{number(parameter.low)} to {number(parameter.high)}, {_SCALES[parameter.scale]}"]
    words += [] if parameter.likely is None else [f"likely {setting(parameter.likely)}"]
    words += [f"tune {parameter.priority}"] if parameter.priority else []
    words += [f"when {name} is {' or '.join(map(str, values))}" for name, values in (parameter.when or {}).items()]
    return "; ".join(words)


_SCALES = {"linear": "evenly", "log": "log scale", "log_one_minus": "1-value on a log scale"}


def _indented(text: str) -> RenderableType:
    return Padding(Text(text, style="dim"), (0, 0, 0, 2), expand=False)


def _rows(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row("", Text(name), Text(text, overflow="fold"))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading)
    return table


def confirmation(found: Confirmation) -> RenderableType:
    """A line for each of the settings that were trained again."""
    table = _table("trial", "search", "mean", "± s.e.", "repeats", "chance to be best", "settings")
    for each in found.candidates:
        chance = "-" if each.chance is None else percent(each.chance)
        repeats = f"{len(each.finite)} of {len(each.scores)}" if each.scores else "none"
        repeats += f", {each.diverged} diverged" if each.diverged else ""
        texts = (str(each.trial), number(each.searched), number(each.mean), number(each.error, 2), repeats, chance)
        table.add_row(*map(Text, texts), Text(_in_a_line(each.params)))
    return table


def rechecked(found: Recheck) -> RenderableType:
    """A line for each leader, then and now."""
    table = _table("trial", "then", "today", "settings")
    for each in found.leaders:
        now = "diverged" if each.diverged else number(each.now)
        table.add_row(*map(Text, (str(each.trial), number(each.then), now)), Text(_in_a_line(each.params)))
    return table


def _in_a_line(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {text}" for name, text in settings_of(params, ()).items())


def explanation(found: Explanation) -> RenderableType:
    """What a study has learned, a heading a part."""
    parts: list[RenderableType] = [Text(f"What {found.study} has learned", style="bold")]
    for section in found.sections:
        parts += [Text(), Text(section.title, style="bold cyan")]
        parts += [Padding(Text(sentence), (0, 0, 0, 2), expand=False) for sentence in section.sentences]
        if section.table:
            head, *rows = section.table
            table = _table(*head)
            for row in rows:
                table.add_row(*map(Text, row))
            parts.append(Padding(table, (1, 0, 0, 2), expand=False))
    hint = f"with pictures: tuner explain {found.study} --format html"
    return Group(*parts, Text(), Text(hint, style="dim"))
