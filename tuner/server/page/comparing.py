"""Two studies side by side, a row a question."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tuner.values.numbers import duration, scored, setting

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.server.page.source import StudySource


def comparison_rows(library: StudySource, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each row: what is asked, and the answer of each study."""
    with ExitStack() as held:
        studies = [held.enter_context(library.study(name)) for name in sorted(set(names))]
        told = [_facts(study) for study in studies]
    questions = dict.fromkeys(question for each in told for question in each)
    return [(question, *(each.get(question, "-") for each in told)) for question in questions]


def _facts(study: Study) -> dict[str, str]:
    state, best = study.state, study.state.best
    seconds = sum(trial.seconds for trial in state.trials)
    states = ", ".join(f"{count:,} {word}" for word, count in state.counts.items() if count)
    told = {
        "study": state.name,
        "kind": "babysat run" if state.kind == "babysitting" else "sweep",
        "objective": f"{state.objective} ({state.goal})",
        "best": "-" if best is None else scored(best.best_score, state.spread(best)),
        "trials": f"{len(state.trials):,}: {states}",
        "steps": f"{state.steps_done:,}",
        "time training": duration(seconds),
        "seed": setting(state.identity.get("seed")),
    }
    if best is not None:
        told |= {f"best {name}": setting(value) for name, value in best.settings.items()}
    return told
