"""Callbacks for loops that a framework owns; each framework's tests run where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tuner.callbacks import keras_callback, lightning_callback, transformers_callback
from tuner.callbacks.stepping import follow_in_torch, imported
from tuner.errors import MissingExtra, TrainingError
from tuner.worker.checkpoints import load, save
from tuner.worker.state import State

os.environ.setdefault("KERAS_BACKEND", "torch")

RATE = 0.25
X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2)
Y = (X @ np.array([[1.0], [-2.0]], dtype=np.float32)).astype(np.float32)

# What frameworks of today say of the libraries beneath them is not this project's to fix.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*treespec"),
]


def installed(module: str, install: str) -> Any:
    reason = f"{module.partition('.')[0]} is not installed: pip install {install}"
    return pytest.importorskip(module, reason=reason)


class ScriptedControl:
    """A control with a script: what happens between two steps, by the number of steps then done."""

    def __init__(self, *, stop_at: int = 10**9, resume: Path | None = None, resume_at: int = 0) -> None:
        self.stop_at, self.resume, self.resume_at = stop_at, resume, resume_at
        self.actions: dict[int, Callable[[], object]] = {}
        self.scores: list[tuple[int, dict[str, float]]] = []
        self.between_steps: list[int] = []
        self.state: State | None = None
        self.run = tuner.Run({"learning_rate": RATE}, control=self)

    def report(self, step: int, scores: dict[str, float]) -> None:
        self.scores.append((step, scores))

    def register(self, state: State) -> int:
        self.state = state
        if self.resume is None:
            return 0
        load(self.resume, state)
        return self.resume_at

    def between(self, done: int) -> str | None:
        self.between_steps.append(done)
        self.actions.pop(done, lambda: None)()
        return "stopped" if done >= self.stop_at else None

    def set_rate(self, rate: float) -> None:
        self.run.params = {"learning_rate": rate}

    def save(self, folder: Path) -> None:
        assert self.state is not None
        save(folder, step=self.run.done, state=self.state, settings={})

    def go_back(self, folder: Path, step: int) -> None:
        assert self.state is not None
        load(folder, self.state)
        self.run.rewind(step)

    def score(self, name: str) -> dict[int, float]:
        """The last score of that name at every step."""
        return {step: scores[name] for step, scores in self.scores if name in scores}


Train = Callable[[tuner.Run], Any]


# ── without a framework ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_callbacks_import_no_framework_until_they_are_used() -> None:
    code = (
        "import sys, tuner.callbacks, tuner.callbacks.lightning, tuner.callbacks.transformers, tuner.callbacks.keras; "
        "print({'torch', 'lightning', 'pytorch_lightning', 'transformers', 'keras', 'tensorflow', 'jax', 'ray'}"
        " & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert told.stdout.strip() == "set()"


@pytest.mark.parametrize("callback", [keras_callback, lightning_callback, transformers_callback])
def test_what_a_callback_cannot_step_is_refused_before_a_framework_is_looked_for(callback: Callable[..., Any]) -> None:
    there = set(sys.modules)
    with pytest.raises(TrainingError, match="the Run"):
        callback("no run")
    with pytest.raises(TrainingError, match="every='year'"):
        callback(tuner.Run({}), every="year")
    assert not {"keras", "lightning", "pytorch_lightning", "transformers"} & (set(sys.modules) - there)


def test_a_framework_that_is_missing_is_named_with_how_to_install_it() -> None:
    with pytest.raises(MissingExtra, match=r"no_such_framework.*pip install lightning"):
        imported("no_such_framework.pytorch", "lightning")


# ── learning rates in torch ─────────────────────────────────────────────────────────────────────────────────────────

SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda _: 0.9),
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multi_step": lambda s, o: s.MultiStepLR(o, [4, 8], 0.5),
    "constant": lambda s, o: s.ConstantLR(o, 0.5, 8),
    "linear": lambda s, o: s.LinearLR(o, 0.1, 1.0, 10),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, 16),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 16, eta_min=0.01),
    "warm_restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, eta_min=0.01),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "one_cycle": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=20),
    "sequence": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 12)], [4]),
    "chain": lambda s, o: s.ChainedScheduler([s.ExponentialLR(o, 0.9), s.StepLR(o, 3, 0.5)]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_a_changed_rate_is_effective_at_once_and_scales_the_rest_of_the_schedule(name: str) -> None:
    torch = installed("torch", "torch")
    plain, changed = rates(torch, name, change_at=None), rates(torch, name, change_at=6)
    factor = RATE / plain[6][0]

    assert changed[:6] == plain[:6]
    assert changed[6][0] == RATE
    np.testing.assert_allclose(changed[6:], np.array(plain[6:]) * factor, rtol=1e-12)


def rates(torch: Any, name: str, *, change_at: int | None) -> list[list[float]]:
    """The rates of two groups at 16 steps, with the first group's set to `RATE` before one of them."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.05}], lr=0.1, momentum=0.9)
    scheduler = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
    seen = []
    for step in range(16):
        if step == change_at:
            follow_in_torch([optimizer], [scheduler], RATE, 0.1)
            assert scheduler.get_last_lr()[0] == RATE
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def test_a_rate_set_while_the_warm_up_stands_at_zero_scales_the_schedule_by_what_was_set_before() -> None:
    torch = installed("torch", "torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 4)

    follow_in_torch([optimizer], [scheduler], 0.2, before=0.1)
    assert optimizer.param_groups[0]["lr"] == 0.2
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 / 4)


# ── Lightning ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lightning(tmp_path: Path) -> Callable[..., Train]:
    """A training function of Lightning: a linear model under a schedule that halves the rate every epoch."""
    pytorch = installed("lightning.pytorch", "lightning")
    torch = installed("torch", "torch")

    class Module(pytorch.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, run: tuner.Run, interval: str) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.layer, self.run, self.interval = torch.nn.Linear(2, 1), run, interval
            self.used: list[float] = []

        def training_step(self, batch: Any, _index: int) -> Any:
            loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
            self.log("train_loss", loss)
            self.used.append(self.optimizers().param_groups[0]["lr"])
            return loss

        def validation_step(self, batch: Any, _index: int) -> None:
            self.log("dev_loss", ((self.layer(batch[0]) - batch[1]) ** 2).mean())

        def on_train_epoch_end(self) -> None:
            self.log("late", float(self.current_epoch))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.run.params["learning_rate"], momentum=0.9)
            if self.interval == "plateau":
                schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "dev_loss"}}
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self.interval}}

    def made(every: str = "epoch", *, interval: str = "epoch", least_gain: float = 0.0, **options: Any) -> Train:
        def train(run: tuner.Run) -> Any:
            module = Module(run, interval)
            data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
            trainer = pytorch.Trainer(
                accelerator="auto",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=tmp_path,
                log_every_n_steps=1,
                callbacks=[
                    lightning_callback(run, every=every),  # type: ignore[arg-type]
                    pytorch.callbacks.EarlyStopping("dev_loss", patience=4, min_delta=least_gain),
                ],
                **{"max_epochs": 6, **options},
            )
            trainer.fit(
                module,
                torch.utils.data.DataLoader(data, batch_size=4, shuffle=True),
                torch.utils.data.DataLoader(data, batch_size=16),
            )
            return trainer, module

        return train

    return made


def test_lightning_reports_every_epoch_what_its_module_logs(lightning: Callable[..., Train]) -> None:
    run = tuner.Run({"learning_rate": RATE})
    lightning()(run)

    assert run.done == 6
    assert [report.step for report in run.reports] == [1, 2, 3, 4, 5, 6]
    assert run.reports[0].scores.keys() == {"learning_rate", "train_loss", "dev_loss", "late"}
    assert [report.scores["late"] for report in run.reports] == [0, 1, 2, 3, 4, 5]
    assert [report.scores["learning_rate"] for report in run.reports] == [RATE / 2**epoch for epoch in range(6)]
    assert run.reports[-1].scores["dev_loss"] < run.reports[0].scores["dev_loss"]


@pytest.mark.parametrize("interval", ["epoch", "step", "plateau"])
def test_lightning_resumes_and_goes_back_bit_for_bit(lightning: Callable[..., Train], interval: str) -> None:
    report = tuner.check(lightning(max_epochs=8, interval=interval), {"learning_rate": RATE}, steps=6)

    assert report.same, report
    assert report.saved_at == 3


def test_lightning_stops_when_the_run_does_whatever_its_least_epochs(lightning: Callable[..., Train]) -> None:
    control = ScriptedControl(stop_at=2)
    trainer, _ = lightning(min_epochs=5)(control.run)

    assert trainer.current_epoch == 2
    assert control.run.ended == "stopped"
    assert control.score("dev_loss").keys() == {1, 2}


def test_lightning_trains_nothing_where_the_run_has_ended_before_its_first_step(
    lightning: Callable[..., Train],
) -> None:
    _, module = lightning()(ScriptedControl(stop_at=0).run)

    assert module.used == []


def test_lightning_trains_at_the_rate_that_is_set_and_its_schedule_goes_on_from_there(
    lightning: Callable[..., Train],
) -> None:
    control = ScriptedControl()
    control.actions[2] = lambda: control.set_rate(0.03)
    _, module = lightning()(control.run)

    expected = [RATE, RATE / 2, 0.03, 0.015, 0.0075, 0.00375]
    assert module.used == pytest.approx([rate for rate in expected for _ in range(4)])
    assert list(control.score("learning_rate").values()) == pytest.approx(expected)


def test_lightning_resumed_under_another_rate_trains_at_that_one(
    lightning: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()
    control.actions[2] = lambda: control.save(tmp_path / "two")
    lightning()(control.run)
    again = ScriptedControl(resume=tmp_path / "two", resume_at=2)
    again.actions[2] = lambda: again.set_rate(0.5)
    trainer, module = lightning()(again.run)

    assert trainer.current_epoch == 6
    assert trainer.global_step == 24
    assert module.used[::4] == [0.5, 0.25, 0.125, 0.0625]


def test_lightning_resumes_its_other_callbacks_too(lightning: Callable[..., Train], tmp_path: Path) -> None:
    control = ScriptedControl()
    control.actions[2] = lambda: control.save(tmp_path / "two")
    lightning(max_epochs=10, least_gain=1e9)(control.run)
    again = ScriptedControl(resume=tmp_path / "two", resume_at=2)
    lightning(max_epochs=10, least_gain=1e9)(again.run)

    assert control.run.done == again.run.done == 5


def test_lightning_goes_back_to_the_very_beginning_and_to_its_rate(
    lightning: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()

    def go_back() -> None:
        control.go_back(tmp_path / "zero", 0)
        control.set_rate(RATE)

    control.actions[0] = lambda: control.save(tmp_path / "zero")
    control.actions[1] = lambda: control.set_rate(0.01)
    control.actions[2] = go_back
    trainer, module = lightning()(control.run)

    assert control.between_steps == [0, 1, 2, 1, 2, 3, 4, 5, 6]
    assert trainer.current_epoch == 6
    assert module.used[::4] == pytest.approx([RATE, 0.01, *(RATE / 2**epoch for epoch in range(6))])


def test_lightning_steps_once_an_update_and_a_validation_belongs_to_the_update_before(
    lightning: Callable[..., Train],
) -> None:
    control = ScriptedControl()
    lightning("step", max_epochs=2, val_check_interval=2)(control.run)

    assert control.between_steps == list(range(9))
    assert list(control.score("train_loss")) == list(range(1, 9))
    assert list(control.score("dev_loss")) == [2, 4, 6, 8]


def test_lightning_stops_between_two_updates(lightning: Callable[..., Train]) -> None:
    control = ScriptedControl(stop_at=6)
    trainer, module = lightning("step", min_steps=20)(control.run)

    assert len(module.used) == trainer.global_step == 6


def test_lightning_counts_updates_where_gradients_are_accumulated(lightning: Callable[..., Train]) -> None:
    control = ScriptedControl()
    trainer, module = lightning("step", max_epochs=2, accumulate_grad_batches=2)(control.run)

    assert len(module.used) == 8
    assert control.run.done == trainer.global_step == 4


def test_lightning_goes_back_between_two_updates_and_takes_all_its_steps(
    lightning: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()
    control.actions[3] = lambda: control.save(tmp_path / "three")
    control.actions[6] = lambda: control.go_back(tmp_path / "three", 3)
    trainer, module = lightning("step", max_epochs=-1, max_steps=10, interval="step")(control.run)

    assert control.between_steps == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9, 10]
    assert trainer.global_step == 10
    assert module.used[6:] == module.used[3:6] + [RATE / 2**step for step in range(6, 10)]


# ── Transformers ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def transformers(tmp_path: Path) -> Callable[..., Train]:
    """A training function of Transformers' Trainer: a linear model under its default schedule, linear to 0."""
    module = installed("transformers", "'transformers[torch]'")
    installed("accelerate", "'transformers[torch]'")
    torch = installed("torch", "torch")

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.layer, self.dropout = torch.nn.Linear(2, 1), torch.nn.Dropout(0.1)

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            return {"loss": ((self.dropout(self.layer(x)) - labels) ** 2).mean()}

    class Rates(module.TrainerCallback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.used: list[float] = []

        def on_pre_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
            self.used.append(optimizer.param_groups[0]["lr"])

    def made(every: str = "step", *, resume: bool = True, **options: Any) -> Train:
        def train(run: tuner.Run) -> Any:
            callback, seen = transformers_callback(run, every=every), Rates()  # type: ignore[arg-type]
            arguments = module.TrainingArguments(
                output_dir=str(tmp_path / "out"),
                learning_rate=run.params["learning_rate"],
                report_to=[],
                num_train_epochs=3,
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
                logging_steps=1,
                dataloader_pin_memory=False,
                **{"per_device_train_batch_size": 4, **options},
            )
            data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
            trainer = module.Trainer(
                Model(), arguments, train_dataset=data, eval_dataset=data, callbacks=[callback, seen]
            )
            trainer.train(resume_from_checkpoint=callback.resume_from if resume else None)
            return trainer, seen.used

        return train

    return made


LINEAR = [RATE * (1 - step / 12) for step in range(12)]


def test_transformers_reports_every_step_what_the_trainer_logs_with_its_evaluation(
    transformers: Callable[..., Train],
) -> None:
    control = ScriptedControl()
    transformers(eval_strategy="steps", eval_steps=5, eval_on_start=True)(control.run)

    assert control.between_steps == list(range(13))
    assert list(control.score("loss")) == list(range(1, 13))
    assert list(control.score("eval_loss")) == [5, 10, 12]
    assert list(control.score("learning_rate").values()) == pytest.approx(LINEAR)
    assert "train_runtime" not in {name for _, scores in control.scores for name in scores}


@pytest.mark.parametrize("logging", ["epoch", "steps"])
def test_transformers_reports_every_epoch(transformers: Callable[..., Train], logging: str) -> None:
    control = ScriptedControl()
    transformers("epoch", eval_strategy="epoch", logging_strategy=logging)(control.run)

    assert control.between_steps == [0, 1, 2, 3]
    assert control.score("loss").keys() == control.score("eval_loss").keys() == {1, 2, 3}


def test_transformers_waits_for_no_log_of_a_step_that_was_logged_before(transformers: Callable[..., Train]) -> None:
    options = {"logging_strategy": "epoch", "logging_first_step": True, "per_device_train_batch_size": 16}
    trainer, _ = transformers("epoch", **options)(ScriptedControl(stop_at=1).run)

    assert trainer.state.global_step == 1


@pytest.mark.parametrize(("every", "done"), [("step", 6), ("epoch", 2)])
def test_transformers_resumes_bit_for_bit(
    transformers: Callable[..., Train], tmp_path: Path, every: str, done: int
) -> None:
    control = ScriptedControl()
    control.actions[done] = lambda: control.save(tmp_path / "saved")
    transformers(every)(control.run)
    again = ScriptedControl(resume=tmp_path / "saved", resume_at=done)
    _, used = transformers(every)(again.run)

    assert again.between_steps == [each for each in control.between_steps if each >= done]
    assert again.scores == [(step, scores) for step, scores in control.scores if step > done]
    assert used == pytest.approx(LINEAR[6 if every == "step" else 8 :])


def test_transformers_says_that_a_checkpoint_is_to_be_passed_on(
    transformers: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()
    control.actions[6] = lambda: control.save(tmp_path / "six")
    transformers()(control.run)
    with pytest.raises(TrainingError, match=r"resume_from_checkpoint=callback\.resume_from"):
        transformers(resume=False)(ScriptedControl(resume=tmp_path / "six", resume_at=6).run)


@pytest.mark.parametrize(("every", "stop_at", "steps"), [("step", 5, 5), ("epoch", 2, 8)])
def test_transformers_stops_when_the_run_does(
    transformers: Callable[..., Train], every: str, stop_at: int, steps: int
) -> None:
    trainer, used = transformers(every, eval_strategy=every.replace("step", "steps"))(
        ScriptedControl(stop_at=stop_at).run
    )

    assert trainer.state.global_step == len(used) == steps


def test_transformers_trains_at_the_rate_that_is_set_and_its_schedule_goes_on_from_there(
    transformers: Callable[..., Train],
) -> None:
    control = ScriptedControl()
    control.actions[4] = lambda: control.set_rate(0.02)
    _, used = transformers()(control.run)

    expected = LINEAR[:4] + [0.02 * LINEAR[step] / LINEAR[4] for step in range(4, 12)]
    assert used[4] == 0.02
    assert used == pytest.approx(expected)
    assert list(control.score("learning_rate").values()) == pytest.approx(expected)


def test_transformers_goes_back_in_state_and_says_that_its_loop_does_not(
    transformers: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()
    control.actions[3] = lambda: control.save(tmp_path / "three")
    control.actions[6] = lambda: control.go_back(tmp_path / "three", 3)
    with pytest.warns(UserWarning, match=r"step 3 .*3 steps early.*'reenter'"):
        _, used = transformers()(control.run)

    assert control.run.done == 9
    assert used == pytest.approx(LINEAR[:6] + LINEAR[3:9])


# ── Keras ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def keras() -> Callable[..., Train]:
    """A training function of Keras: a linear model at a constant rate, or under a schedule."""
    module = installed("keras", "keras")
    if module.backend.backend() == "torch":
        installed("torch", "torch")

    class Rates(module.callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.used: list[float] = []

        def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
            self.used.append(float(module.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    def made(every: str = "epoch", *, schedule: bool = False, momentum: float = 0.9) -> Train:
        def train(run: tuner.Run) -> Any:
            module.utils.set_random_seed(1)
            rate = run.params["learning_rate"]
            model = module.Sequential([module.layers.Input((2,)), module.layers.Dense(1), module.layers.Dropout(0.1)])
            model.compile(
                module.optimizers.SGD(
                    module.optimizers.schedules.ExponentialDecay(rate, 4, 0.5, staircase=True) if schedule else rate,
                    momentum=momentum,
                ),
                loss="mse",
            )
            callback, seen = keras_callback(run, every=every), Rates()  # type: ignore[arg-type]
            model.fit(X, Y, batch_size=4, epochs=5, validation_data=(X, Y), callbacks=[callback, seen], verbose=0)
            return model, seen.used

        return train

    return made


def test_keras_reports_every_epoch_what_fit_logs(keras: Callable[..., Train]) -> None:
    run = tuner.Run({"learning_rate": RATE})
    keras()(run)

    assert run.done == 5
    assert [report.step for report in run.reports] == [1, 2, 3, 4, 5]
    assert run.reports[0].scores.keys() == {"learning_rate", "loss", "val_loss"}


def test_keras_steps_once_a_batch_and_a_validation_belongs_to_the_batch_before(keras: Callable[..., Train]) -> None:
    control = ScriptedControl()
    keras("step")(control.run)

    assert control.between_steps == list(range(21))
    assert list(control.score("loss")) == list(range(1, 21))
    assert list(control.score("val_loss")) == [4, 8, 12, 16, 20]


@pytest.mark.parametrize("schedule", [False, True])
def test_keras_resumes_bit_for_bit(keras: Callable[..., Train], tmp_path: Path, schedule: bool) -> None:
    control = ScriptedControl()
    control.actions[1] = lambda: control.set_rate(0.125)
    control.actions[3] = lambda: control.save(tmp_path / "three")
    _, rates = keras(schedule=schedule)(control.run)
    again = ScriptedControl(resume=tmp_path / "three", resume_at=3)
    again.set_rate(0.125)
    _, used = keras(schedule=schedule)(again.run)

    assert again.scores == [(step, scores) for step, scores in control.scores if step > 3]
    assert used == rates[12:]


def test_keras_resumed_within_an_epoch_takes_as_many_steps_as_it_would_have(
    keras: Callable[..., Train], tmp_path: Path
) -> None:
    control = ScriptedControl()
    control.actions[6] = lambda: control.save(tmp_path / "six")
    keras("step")(control.run)
    again = ScriptedControl(resume=tmp_path / "six", resume_at=6)
    _, used = keras("step")(again.run)

    assert again.run.done == 20
    assert len(used) == 14
    assert max(again.score("val_loss")) == 20


@pytest.mark.parametrize(
    ("every", "stop_at", "batches"), [("epoch", 2, 8), ("step", 6, 6), ("step", 8, 8), ("epoch", 0, 0)]
)
def test_keras_stops_when_the_run_does(keras: Callable[..., Train], every: str, stop_at: int, batches: int) -> None:
    control = ScriptedControl(stop_at=stop_at)
    _, used = keras(every)(control.run)

    assert len(used) == batches
    assert control.run.done == stop_at


@pytest.mark.parametrize("schedule", [False, True])
def test_keras_trains_at_the_rate_that_is_set_and_its_schedule_goes_on_from_there(
    keras: Callable[..., Train], schedule: bool
) -> None:
    control = ScriptedControl()
    control.actions[2] = lambda: control.set_rate(0.02)
    _, used = keras(schedule=schedule)(control.run)

    halved = 0.5 if schedule else 1.0
    expected = [RATE, RATE * halved, 0.02, 0.02 * halved, 0.02 * halved**2]
    assert used[::4] == pytest.approx(expected)
    assert list(control.score("learning_rate").values()) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [False, True])
def test_keras_updates_weights_at_the_rate_that_is_set(keras: Callable[..., Train], schedule: bool) -> None:
    control = ScriptedControl()
    control.actions[2] = lambda: control.set_rate(1e-12)
    keras(schedule=schedule, momentum=0.0)(control.run)
    losses = list(control.score("val_loss").values())

    assert losses[0] != losses[1]
    assert losses[2:] == pytest.approx([losses[1]] * 3)


def test_keras_goes_back_in_state_and_says_that_its_loop_does_not(keras: Callable[..., Train], tmp_path: Path) -> None:
    control = ScriptedControl()
    control.actions[1] = lambda: control.save(tmp_path / "one")
    control.actions[3] = lambda: control.go_back(tmp_path / "one", 1)
    with pytest.warns(UserWarning, match=r"step 1 .*2 steps early.*'reenter'"):
        keras()(control.run)

    assert control.run.done == 3
