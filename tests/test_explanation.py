"""A real sweep, explained: in the shell, as Markdown, as a page, in pictures."""

from __future__ import annotations

import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tuner.cli import main
from tuner.errors import SettingsError, StudyError
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.views.plots.explanation import fits, importance, isolation, portraits

SPACE = Space(
    learning_rate=log(1e-4, 0.3),
    beta=log_one_minus(0.9, 0.999),
    units=integer(4, 64),
    activation=choice("relu", "tanh"),
    dropout=linear(0.0, 0.5),
)


def train(run: tuner.Run) -> None:
    """Better the higher the learning rate, up to 1, but diverging above 0.2 without dropout."""
    rate, units = run.params["learning_rate"], run.params["units"]
    floor = 0.03 * abs(math.log10(rate)) + 0.4 / units
    for step in run.steps(20):
        if rate > 0.2 and run.params["dropout"] < 0.2 and step > 2:
            run.report(dev_accuracy=float("nan"))
            continue
        error = floor + (0.5 - floor) * 0.7**step
        gap = 0.2 * (0.5 - run.params["dropout"]) * step / 20
        run.report(train_accuracy=1 - error, dev_accuracy=1 - error - gap + 1e-4 * ((run.seed >> step) % 7))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    tuner.sweep(
        train,
        SPACE,
        name="night",
        objective="dev_accuracy",
        trials=40,
        sampler="random",
        stopping="off",
        executor="local",
        progress="off",
        results=folder,
    ).close()
    return folder


@pytest.fixture(scope="module")
def found(results: Path) -> tuner.Explanation:
    return tuner.explain("night", results=results)


class Page(HTMLParser):
    """Whether tags close as they should, and what the page holds."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag in ("link", "script"):
            self.links.append(tag)
        if tag not in ("img", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_part_has_its_sentence_and_the_numbers_behind_it(found: tuner.Explanation) -> None:
    assert [section.title for section in found.sections] == [
        "The winner",
        "What matters",
        "Where to look next",
        "What diverged",
        "How the best fit",
        "Are more trials worth it?",
    ]
    assert found.winner is not None
    assert found.sentences[0].startswith(f"Trial {found.winner.trial} is the best")
    assert {each.parameter for each in found.importance.shares} == set(SPACE)
    assert len(found.fits) == 3
    assert found.worth.trials == 20
    assert all(sentence.strip().endswith((".", "5", ")")) for sentence in found.sentences)


@pytest.mark.long
def test_the_same_study_explains_itself(found: tuner.Explanation, results: Path) -> None:
    study = tuner.open("night", results=results)
    assert study.explain() == found
    assert study.explain(target_error=0.5).fits[0].bias != found.fits[0].bias
    assert study.explain(more=7).worth.trials == 7
    study.close()


def test_markdown_has_a_heading_a_part_and_tables_that_hold_together(found: tuner.Explanation) -> None:
    text = found.markdown()
    assert text.startswith("# What night has learned\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [section.title for section in found.sections]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert len(rows) == 2 + len(SPACE)


@pytest.mark.long
def test_the_page_needs_nothing_beside_it_and_shows_the_pictures(found: tuner.Explanation) -> None:
    page = Page()
    page.feed(found.html())
    assert page.open == []
    assert page.links == []
    assert "http" not in page.text
    assert len(page.images) == 3
    for image in page.images:
        assert image.startswith("data:image/png;base64,")
        assert base64.b64decode(image.partition(",")[2])[:8] == b"\x89PNG\r\n\x1a\n"
    assert all(sentence in page.text for sentence in found.sentences)


def test_names_are_text_in_the_page_whatever_they_hold(tmp_path: Path) -> None:
    def cheeky(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(**{"<b>score": 1.0})

    study = tuner.sweep(
        cheeky,
        Space(x=linear(0.0, 1.0)),
        name="night",
        objective="<b>score",
        trials=2,
        executor="local",
        progress="off",
        results=tmp_path,
    )
    page = study.explain().html()
    assert "<b>score" not in page
    assert "&lt;b&gt;score" in page
    study.close()


def test_isolation_shows_a_panel_a_parameter_with_the_best_of_each_stretch(found: tuner.Explanation) -> None:
    figure = isolation(found)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(SPACE)
    assert found.winner is not None
    best = max(float(np.max(np.asarray(line.get_ydata()))) for line in figure.axes[0].lines)
    assert best == pytest.approx(found.winner.score)
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[1].xaxis_inverted()  # 1 − beta falls where beta rises
    assert [text.get_text() for text in figure.axes[3].get_xticklabels()] == ["relu", "tanh"]


def test_importance_draws_a_bar_a_parameter_and_fits_a_panel_a_trial(found: tuner.Explanation) -> None:
    bars = importance(found).axes[0]
    assert [text.get_text() for text in bars.get_yticklabels()] == [s.parameter for s in found.importance.shares[::-1]]
    panels = fits(found).axes
    assert [axes.get_title(loc="left").split(":")[0] for axes in panels] == [f"trial {fit.trial}" for fit in found.fits]
    assert [line.get_label() for line in panels[0].lines][:2] == ["train", "dev"]


def test_pictures_are_written_as_files(found: tuner.Explanation, tmp_path: Path) -> None:
    assert sorted(path.name for path in found.plot(tmp_path / "new")) == ["fits.png", "importance.png", "isolation.png"]


def test_a_study_of_which_little_is_known_says_what_it_takes(tmp_path: Path) -> None:
    study = tuner.sweep(
        lambda run: run.report(score=run.params["x"]),
        Space(x=linear(0.0, 1.0)),
        name="night",
        objective="score",
        trials=2,
        executor="local",
        progress="off",
        results=tmp_path,
    )
    found = study.explain()
    told = " ".join(found.sentences)
    assert "there are 2: 6 more" in told
    assert "run.report(train_error=…, dev_error=…)" in told
    assert set(portraits(found)) == {"isolation"}
    study.close()


def test_a_study_without_a_score_is_explained_all_the_same(tmp_path: Path) -> None:
    study = tuner.sweep(
        lambda run: run.report(score=float("nan")),
        Space(x=linear(0.0, 1.0)),
        name="night",
        objective="score",
        trials=2,
        executor="local",
        progress="off",
        results=tmp_path,
    )
    found = study.explain()
    assert found.sentences[0].startswith("No trial has come to a score of 'score'")
    assert "trial 1, diverged" in found.sentences[0]
    assert "2 of 2 trials diverged (100%)" in " ".join(found.sentences)
    assert portraits(found) == {}
    assert "prefers-color-scheme: dark" in found.html()
    study.close()


def test_repeats_are_told_of_with_the_winner_and_change_nothing_else(results: Path, tmp_path: Path) -> None:
    study = tuner.sweep(
        train,
        SPACE,
        name="night",
        objective="dev_accuracy",
        trials=12,
        sampler="random",
        stopping="off",
        executor="local",
        progress="off",
        results=tmp_path,
    )
    before = study.explain()
    study.close()
    confirmed = tuner.confirm("night", top=2, repeats=2, results=tmp_path, progress="off")
    tuner.recheck("night", top=4, results=tmp_path, progress="off")
    after = tuner.explain("night", results=tmp_path)

    assert confirmed.sentence in after.sentences
    assert after.recheck is not None
    assert after.recheck.sentence in after.sentences
    assert (after.trials, after.importance, after.divergences) == (before.trials, before.importance, before.divergences)
    assert after.worth.measured
    assert "| trial | search | mean | s.e. | repeats | chance to be best |" in after.markdown()


@pytest.mark.long
def test_it_is_told_in_the_shell_in_words_and_as_json_and_written_to_files(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], found: tuner.Explanation
) -> None:
    def shell(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["explain", "night", *words, "--results", str(results)])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    page = " ".join(shell().split())
    assert all(" ".join(sentence.split()) in page for sentence in found.sentences)
    told = json.loads(shell("--json"))
    assert [each["title"] for each in told["sections"]] == [section.title for section in found.sections]
    assert told["importance"]["shares"][0]["parameter"] == found.importance.shares[0].parameter
    assert shell("--format", "markdown").strip() == str(results / "night" / "explanation.md")
    assert (results / "night" / "explanation.md").read_text() == found.markdown()
    assert shell("--to", str(tmp_path / "page.html")).strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_what_cannot_be_explained_or_written_is_refused_with_the_reason(
    found: tuner.Explanation, results: Path, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="there is no study 'nigth'"):
        tuner.explain("nigth", results=results)
    with pytest.raises(SettingsError, match=r".md or .html, got 'page.txt'"):
        found.save(tmp_path / "page.txt")
    with pytest.raises(SettingsError, match=r"target_error .*got -1"):
        tuner.explain("night", target_error=-1, results=results)


def test_a_babysat_run_is_sent_to_its_logbook(tmp_path: Path) -> None:
    from stories import Part, story

    study = story(tmp_path / "one", Part(start=0, to=10))
    with pytest.raises(StudyError, match=r"babysat run.*logbook"):
        study.explain()
    study.close()
