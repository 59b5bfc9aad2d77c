from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import NOON, Part, story

import tuner
from tuner.errors import StudyError
from tuner.record import events as rec
from tuner.views import text as prose
from tuner.views.logbook import logbook

LOW, HIGH = {"learning_rate": 0.003, "beta": 0.9}, {"learning_rate": 0.03, "beta": 0.9}
START = Part(start=0, to=20, params=LOW, scores=lambda step: {"score": 1.0})
RAISED = Part(
    start=20, to=40, params=HIGH, parent=0, why="loss falls slowly", scores=lambda step: {"score": 2.0 + step / 1000}
)


def told(folder: Path, *parts: Part, **more: object) -> str:
    with contextlib.closing(story(folder / "one", *parts, **more)) as study:  # type: ignore[arg-type]
        return logbook(study)


def paragraph(text: str, words: str) -> str:
    return next(each for each in text.split("\n\n") if words in each)


def test_a_change_is_told_with_who_when_what_why_and_what_came_of_it(tmp_path: Path) -> None:
    text = told(tmp_path, START, RAISED, end=("completed", "trained all 40 steps"))
    assert "## 2023-11-14" in text
    change = paragraph(text, "loss falls")
    assert change.startswith("**22:15:00, step 20.** ada set `learning_rate` 0.003 → 0.03.")
    assert "“loss falls slowly”" in change
    assert "By step 40 `score`" in change
    assert "from 1 to 2.035 (better)" in change
    assert "kept" in change


def test_a_change_that_is_still_tried_is_said_to_be_in_force(tmp_path: Path) -> None:
    assert paragraph(told(tmp_path, START, RAISED), "loss falls").endswith("It is in force.")


def test_what_was_given_up_is_told_and_stands_in_the_table(tmp_path: Path) -> None:
    back = Part(start=20, to=60, params=LOW, parent=0, cause="revert", verb="revert", why="worse")
    text = told(tmp_path, START, RAISED, back)
    assert "given up at step 40" in paragraph(text, "loss falls")
    returned = paragraph(text, "went back to")
    assert "step 40 → 20" in returned
    assert "with `learning_rate` 0.03 → 0.003" in returned
    assert "20 steps were given up" in returned
    assert "| given up 1 | 20 → 40 | `learning_rate` 0.03, `beta` 0.9 | 2.04 (step 40) | 2.04 | ada went back" in text
    assert "| **one** (head) | 0 → 60 |" in text


def test_the_verdict_and_its_evidence_are_told_with_the_change(tmp_path: Path) -> None:
    judged = rec.Judged(request="r1", verdict="worse", evidence="gap 0.3, threshold 0.1", at=NOON + 150)
    text = paragraph(told(tmp_path, START, RAISED, more=[judged]), "loss falls")
    assert "Verdict: worse (gap 0.3, threshold 0.1)." in text


def test_a_score_that_is_no_number_any_more_is_said_so(tmp_path: Path) -> None:
    blown = Part(start=20, to=40, params=HIGH, parent=0, scores=lambda step: {"score": math.nan})
    assert "By step 40 `score` was no finite" in told(tmp_path, START, blown)


def test_a_schedule_is_told_by_its_shape(tmp_path: Path) -> None:
    cosine = dict(shape="cosine", value=0.003, since=20, rate=1.0, every=1, over=300, floor=0.0)
    scheduled = Part(start=20, to=30, params=LOW, parent=0, verb="schedule", schedules={"learning_rate": cosine})
    assert "from 0.003, cosine over 300 steps" in told(tmp_path, START, scheduled)


def test_a_lost_worker_and_a_repeated_change_are_told_as_such(tmp_path: Path) -> None:
    lost = rec.TrialHeld(trial=0, state="lost", step=40, why="its machine was taken away", at=NOON + 150)
    again = Part(start=10, to=20, params=LOW, parent=0, cause="retry", by="tuner", why="its worker was lost")
    text = told(tmp_path, START, RAISED, again, more=[lost])
    assert "its machine was taken away" in text
    assert "from the checkpoint of step 10" in text


def test_notes_keep_their_words_and_break_no_markdown(tmp_path: Path) -> None:
    note = rec.Noted(trial=0, step=5, by="ada", text="a | b\n# *bold* <script> learning_rate _so_", at=NOON + 5)
    text = told(tmp_path, START, more=[note])
    assert r"ada noted: “a \| b # \*bold\* \<script\> learning_rate \_so\_”." in text


def test_pauses_and_steps_are_told_and_refusals_counted(tmp_path: Path) -> None:
    asked = [
        rec.Requested(request=verb, verb=verb, arguments={"steps": 5}, by="ada", why="lunch", at=NOON)
        for verb in ("pause", "step", "set")
    ]
    answered = [
        rec.Answered(request=verb, state="rejected" if verb == "set" else "applied", step=7, detail="", at=NOON + 9)
        for verb in ("pause", "step", "set")
    ]
    text = told(tmp_path, START, asked=asked, more=answered)
    assert "**22:13:29, step 7.** ada paused the run." in text
    assert "ada let it train 5 steps" in text
    assert "1 request changed nothing" in text


def answered(*verbs: str, detail: str = "") -> dict[str, list[rec.Record]]:
    """What was asked of a run beside its segments, and done at step 7."""
    return {
        "asked": [
            rec.Requested(request=verb, verb=verb, arguments={"times": 3}, by="ada", why="it asks for it", at=NOON)
            for verb in verbs
        ],
        "more": [rec.Answered(request=verb, state="applied", step=7, detail=detail, at=NOON + 9) for verb in verbs],
    }


def test_a_verb_that_the_logbook_has_no_words_for_is_told_by_its_meaning_and_its_answer(tmp_path: Path) -> None:
    text = told(tmp_path, START, **answered("undo", detail="at step 7"))
    assert "step 7.** ada asked for undo (takes the last change or revert back) with `times` 3: at step 7. Why:" in text


def test_a_verb_of_another_version_is_told_as_it_was_asked(tmp_path: Path) -> None:
    assert "ada asked for cheer with `times` 3: hurray. Why:" in told(
        tmp_path, START, **answered("cheer", detail="hurray")
    )
    assert "ada asked for cheer with `times` 3: done." in told(tmp_path / "b", START, **answered("cheer"))


def test_what_is_told_as_a_note_or_as_the_end_is_told_once(tmp_path: Path) -> None:
    assert "asked for" not in told(tmp_path, START, **answered("note", "stop"))


def test_a_run_without_a_score_is_told_too(tmp_path: Path) -> None:
    text = told(tmp_path, Part(start=0, to=0, scores=lambda step: {}))
    assert "It has reported no `score` yet." in text
    assert "| - | - |" in text


def test_the_same_records_give_the_same_text(tmp_path: Path) -> None:
    first, second = (told(tmp_path / place, START, RAISED) for place in ("a", "b"))
    assert first == second


def test_paragraphs_stand_in_the_order_things_happened(tmp_path: Path) -> None:
    note = rec.Noted(trial=0, step=30, by="ada", text="steady", at=NOON + 130)
    text = told(tmp_path, START, RAISED, more=[note], end=("completed", "trained all 40 steps"))
    clocks = re.findall(r"^\*\*(\d\d:\d\d:\d\d)", text, re.MULTILINE)
    assert clocks == sorted(clocks)
    assert (
        text.index("began from scratch") < text.index("loss falls") < text.index("steady") < text.index("ended, comp")
    )


def test_export_as_markdown_writes_the_logbook(tmp_path: Path) -> None:
    with contextlib.closing(story(tmp_path / "one", START)) as study:
        (path,) = study.export("markdown")
        assert path == tmp_path / "one" / "logbook.md"
        assert path.read_text() == logbook(study)
        assert study.export("markdown", to=tmp_path / "there") == [tmp_path / "there" / "logbook.md"]


def test_a_sweep_has_no_logbook_and_says_what_it_has(tmp_path: Path) -> None:
    study = tuner.sweep(
        "tuner.workloads.bowl:train",
        "sgd_momentum",
        name="night",
        objective="score",
        trials=2,
        executor="local",
        results=tmp_path,
        progress="off",
    )
    with contextlib.closing(study), pytest.raises(StudyError, match="night is a sweep"):
        study.export("markdown")


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_values_are_told_to_six_digits_or_as_given(value: float) -> None:
    text = prose.value(value).replace("e-0", "e-")
    read = 1 - float(text.removeprefix("1 − ")) if text.startswith("1 − ") else float(text)
    assert read == pytest.approx(value, rel=1e-5, abs=1e-300)
