"""How a user writes it: strictly checked as written here, and run by `test_typing.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import optuna
import pandas as pd

import tuner
from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.coordinator.observers import Status
from tuner.record.state import StudyState
from tuner.samplers import CoarseToFineSampler
from tuner.workloads import bowl


class Network:
    """Whatever has `state_dict` and `load_state_dict`."""

    def __init__(self, hidden_units: int, seed: int) -> None:
        self.weights = [float(seed % 7)] * hidden_units

    def train_epoch(self, learning_rate: float, beta: float) -> float:
        self.weights = [beta * weight + learning_rate for weight in self.weights]
        return sum(self.weights) / len(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = list(state["weights"])


space = Space(
    learning_rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    hidden_units=integer(50, 100),
    dropout=linear(0.0, 0.5),
    batch_size=choice(32, 64, 128),
    decay=choice("none", "exponential"),
    decay_rate=log_one_minus(0.9, 0.99, when={"decay": "exponential"}),
)


def train(run: tuner.Run) -> None:
    """Reports after every epoch."""
    network = Network(hidden_units=run.params["hidden_units"], seed=run.seed)
    run.state(network)
    for epoch in run.steps(5):
        loss = network.train_epoch(run.params["learning_rate"], run.params["beta"])
        run.report(loss=loss, dev_accuracy=1.0 / (1.0 + abs(loss)))
        if epoch > 100:
            break
    if run.ended is not None:
        assert_type(run.ended, str)


def train_with_folders(run: tuner.Run) -> None:
    """Says how to save and load with two functions of a folder."""
    losses: list[float] = []

    def save(folder: Path) -> None:
        (folder / "losses.txt").write_text("\n".join(map(str, losses)))

    def load(folder: Path) -> None:
        losses[:] = map(float, (folder / "losses.txt").read_text().split())

    run.state(save=save, load=load)
    while run.step():
        losses.append(1.0 / (1 + run.done))
        run.report(loss=losses[-1])
        if run.done >= 2:
            break


def score(run: tuner.Run) -> float:
    """Returns its score."""
    return float(run.params["learning_rate"])


class Lamp:
    """A face of one's own."""

    def __init__(self) -> None:
        self.ended = 0

    def show(self, study: StudyState, status: Status) -> None:
        self.ended = len(study.ended_order)

    def close(self) -> None:
        pass


def in_a_notebook() -> None:
    """A bare run, without anything around it."""
    run = tuner.Run({"learning_rate": 0.1, "beta": 0.9, "hidden_units": 3}, seed=1)
    train(run)
    assert [report.step for report in run.reports] == [1, 2, 3, 4, 5]
    assert_type(run.reports[0].scores, dict[str, float])


def in_a_script(results: Path) -> None:
    """A sweep, its best, its tables."""
    lamp = Lamp()
    study = tuner.sweep(
        train,
        space,
        name="night",
        objective="dev_accuracy",
        goal="maximize",
        trials=6,
        executor="local",
        stopping="asha",
        start=[{"learning_rate": 0.1, "beta": 0.9}],
        results=results,
        progress=lamp,
    )
    assert lamp.ended == 6
    assert_type(study, tuner.Study)
    best = study.best
    assert best is not None
    assert_type(best, tuner.Best)
    assert_type(best.score, float)
    assert_type(best.params, Mapping[str, Any])
    assert_type(best.checkpoint, Path | None)
    assert_type(study.trials, pd.DataFrame)
    assert len(study.trials) == 6
    assert set(study.reports["name"]) == {"loss", "dev_accuracy"}
    paths = study.export("csv", to=results / "tables")
    assert_type(paths, list[Path])
    study.close()

    again = tuner.open("night", results=results)
    assert again.best_score == best.score
    summaries = tuner.studies(results)
    assert_type(summaries, list[tuner.Summary])
    assert [each.name for each in summaries] == ["night"]


def a_program(results: Path) -> None:
    """A script that knows nothing of tuner."""
    told = tuner.command("python train.py --lr {learning_rate}", metric=r"val_acc=(\S+)")
    listed = tuner.command(["python", "train.py", "{learning_rate}"], metric=["(1)", "(?P<loss>.*)"], shell="none")
    tuner.report(step=3, dev_accuracy=0.9)
    tuner.report(dev_accuracy=0.9)
    for each in (told, listed):
        tuner.sweep(each, "sgd_momentum", name="night", objective="val_acc", results=results).close()


def what_was_learned(results: Path) -> None:
    """Whether the winner is one, whether the order holds, and all else that a search says."""
    tuner.sweep(
        train,
        space,
        name="night",
        objective="dev_accuracy",
        trials=6,
        executor="local",
        stopping="off",
        results=results,
        progress="off",
    ).close()
    confirmed = tuner.confirm("night", top=2, repeats=2, results=results, progress="off")
    assert_type(confirmed, tuner.Confirmation)
    if confirmed.best is not None:
        assert_type(confirmed.best.mean, float | None)
    with tuner.open("night", results=results) as study:
        assert_type(study.recommended, tuner.Recommended | None)
        if study.recommended is not None:
            assert_type(study.recommended.doubt, float | None)
            assert_type(study.recommended.sentence, str)
    again = tuner.recheck("night", top=4, results=results, progress="off")
    assert_type(again, tuner.Recheck)
    assert_type(again.sentence, str)
    found = tuner.explain("night", results=results)
    assert_type(found, tuner.Explanation)
    assert_type(found.sentences, tuple[str, ...])
    assert_type(found.worth.gain, float | None)
    found.save(results / "night.md")
    warm = tuner.sweep(
        train,
        space,
        name="next",
        objective="dev_accuracy",
        trials=2,
        executor="local",
        warm_start="night",
        results=results,
        progress="off",
    )
    warm.close()


def with_parts_of_optuna(results: Path) -> None:
    """Samplers and pruners of Optuna in a sweep, and a sampler of ours in an Optuna study."""
    study = tuner.sweep(
        score,
        space,
        name="tpe",
        objective="score",
        trials=4,
        executor="local",
        results=results,
        store="memory",
        sampler=optuna.samplers.TPESampler(seed=0),
        stopping=optuna.pruners.MedianPruner(),
        progress="off",
    )
    study.close()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ours = optuna.create_study(sampler=CoarseToFineSampler(seed=0))
    ours.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=3)


def what_goes_wrong(results: Path) -> None:
    """Every mistake is a `TunerError` with a sentence."""
    try:
        tuner.open("nigth", results=results)
    except tuner.TunerError as error:
        print(error)


def before_a_long_run() -> None:
    """Whether a checkpoint brings everything back."""
    report = tuner.check(train, {"learning_rate": 0.1, "beta": 0.9, "hidden_units": 3})
    assert report.same, str(report)
    assert_type(report.differences, tuple[str, ...])


def start_and_come_back() -> None:
    """A babysat run begins, by itself or from a sweep, and is found again from any process."""
    one = tuner.babysit(train, {"learning_rate": 0.01}, name="one", objective="dev_accuracy", space=space)
    assert_type(one, tuner.RunHandle)
    assert_type(tuner.promote("night", 17), tuner.RunHandle)
    again = tuner.attach("one", by="ann")
    assert isinstance(again, tuner.Handle)
    again.note("day 2")
    tuner.sweep(bowl.train, "sgd_momentum", name="bowl", objective="score")


def steer(handle: tuner.SweepHandle) -> None:
    """What a person may ask of a running sweep."""
    reply = handle.pause(why="the GPU is needed")
    assert_type(reply, tuner.Reply)
    handle.resume()
    handle.add({"learning_rate": 0.1}, why="a hunch")
    handle.set_box(learning_rate=(0.01, 0.1), why="the rest is hopeless")
    handle.set_parallel(4)
    handle.stop_trial(3)
    handle.note("day 2", trial=3)
    handle.stop()


def babysit(handle: tuner.RunHandle) -> None:
    """What a person may ask of a babysat run."""
    handle.set(learning_rate=0.003, why="loss spikes")
    handle.schedule("learning_rate", "cosine", over=2000)
    handle.pause()
    handle.resume()
    handle.checkpoint()
    handle.revert(step=40)
    handle.undo()
    handle.extend(1000)
    assert_type(handle.fork(learning_rate=0.03), tuner.RunHandle)
    assert_type(handle.compare("one-2"), pd.DataFrame)
    assert_type(handle.wait(timeout_s=60.0), tuner.Study)


def points() -> None:
    """Values and their places in the unit cube."""
    point = space.to_unit(
        {"learning_rate": 0.01, "beta": 0.99, "hidden_units": 75, "dropout": 0.1, "batch_size": 64, "decay": "none"}
    )
    settings = space.from_unit(point)
    assert settings["batch_size"] == 64
    assert "decay_rate" not in settings
    named = Space.load("sgd_momentum")
    assert_type(named, Space)


def what_is_new(study: tuner.Study) -> None:
    """A program waits for news, and reads them in short."""
    waited = study.wait("improved", "ended", timeout_s=60.0)
    assert_type(waited, tuner.Waited)
    assert_type(waited.digest, tuner.Digest)
    assert_type(study.digest(since=waited.digest.cursor), tuner.Digest)


def what_it_would_take() -> None:
    """A sweep has a price before it begins."""
    assert_type(tuner.price(train, trials=48), tuner.Price)


def from_another_machine() -> None:
    """A service hands out what a folder would."""
    with tuner.connect("http://127.0.0.1:8765", "a token") as studies:
        assert_type(studies, tuner.RemoteStudies)


def lend(handle: tuner.SweepHandle) -> None:
    """A program asks for a trial, reports, and tells its end."""
    trial = handle.ask("worker-1")
    assert_type(trial, tuner.LeasedTrial | None)
    if trial is not None and trial.report(1, score=0.5):
        assert_type(trial.tell(), str)
