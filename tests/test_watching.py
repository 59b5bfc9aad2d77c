"""What the supervisor is told of a run on record."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stories import Part, story

from tuner.reading import Study
from tuner.watching import Watch, facts

SLOW, STEEP = {"lr": 0.01, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}


def run_of(folder: Path, settings: dict[str, Any], **more: Any) -> Study:
    return story(
        folder / "one", Part(start=0, to=50, params=settings, scores=lambda step: {"score": step / 50}), **more
    )


@pytest.mark.parametrize(
    ("settings", "rate", "beta", "form"),
    [
        ({"learning_rate": 0.1, "beta": 0.9}, "learning_rate", "beta", "averaged"),
        ({"lr": 0.1, "momentum": 0.9}, "lr", "momentum", "heavy_ball"),
        ({"alpha": 0.1, "beta1": 0.9}, "alpha", "beta1", "averaged"),
        ({"units": 50}, "learning_rate", "beta", "averaged"),
    ],
)
def test_rate_and_momentum_are_known_by_the_names_people_give_them(
    tmp_path: Path, settings: dict[str, Any], rate: str, beta: str, form: str
) -> None:
    with closing(run_of(tmp_path, settings)) as study:
        found = facts(study.state, study.trial(0), {}, None)
    assert (found.rate_name, found.beta_name, found.momentum) == (rate, beta, form)
    assert found.rate == settings.get(rate)


def test_what_was_given_up_is_no_part_of_what_is_looked_at(tmp_path: Path) -> None:
    def rising(step: int) -> dict[str, float]:
        return {"score": step / 100}

    study = story(
        tmp_path / "one",
        Part(start=0, to=50, params=SLOW, scores=rising),
        Part(start=50, to=90, params=STEEP, parent=0, scores=lambda step: {"score": -float(step)}),
        Part(start=50, to=100, params=SLOW, parent=0, cause="revert", verb="revert", scores=rising),
    )  # fmt: skip
    with closing(study):
        trial = study.trial(0)
        watch = Watch(None)
        for flush in study.reported(0):
            watch.take(flush, trial)
        seen = watch.look(study.state, trial)
        assert [each.symptom for each in seen] == [each.symptom for each in study.advice()]
        assert "diverged" not in [each.symptom for each in seen]
        assert seen[0].window[1] == 100
