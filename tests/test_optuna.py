from __future__ import annotations

import ast
import importlib.util
import json
import logging
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

import tuner
from tuner.errors import MissingExtra, SettingsError, StudyError
from tuner.policy.proposals import Proposal
from tuner.record import events as rec
from tuner.record.events import Goal, Purpose, Record, TrialState
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.samplers import internals
from tuner.samplers.optuna import OptunaProposer, OptunaPruning, describe
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.worker.sources import syntax_of

samplers = optuna.samplers
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
PLAIN = Space(
    learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999), units=integer(4, 20), batch=choice(32, 64, 128)
)
CONDITIONAL = Space(
    momentum=linear(0.5, 0.99, when={"optimizer": "sgd"}),
    optimizer=choice("sgd", "adam"),
    learning_rate=log(1e-4, 1.0),
    second_beta=log_one_minus(0.9, 0.9999, when={"optimizer": "adam"}),
)


class Sweep:
    """A study by its records, each as a database would give it back, and whoever proposes its trials."""

    def __init__(self, space: Space = PLAIN, goal: Goal = "maximize", records: Sequence[Record] = ()) -> None:
        self.space, self.study = space, StudyState()
        self.records: list[Record] = []
        opened = rec.StudyOpened(
            name="night",
            kind="sweep",
            identity={"objective": "score", "goal": goal},
            function="f",
            source_sha256="",
            version="",
            at=0,
        )
        for record in records or [opened]:
            self.apply(record)

    def again(self) -> Sweep:
        """The same study after a restart."""
        return Sweep(self.space, records=self.records)

    def with_sampler(self, sampler: optuna.samplers.BaseSampler) -> Sweep:
        self.proposer = OptunaProposer(sampler)
        self.proposer.attach(self.study, self.space)
        return self

    def apply(self, record: Record) -> None:
        self.records.append(record)
        self.study.apply(record)

    def create(self, params: Mapping[str, Any], memo: Any = None, purpose: Purpose = "search") -> int:
        number = len(self.study.trials)
        params, memo = json.loads(json.dumps([dict(params), memo]))
        self.apply(
            rec.TrialCreated(
                trial=number,
                purpose=purpose,
                round=None,
                parent=None,
                seed=0,
                params=params,
                seen=len(self.study.ended_order),
                why="drawn",
                memo=memo,
                at=0,
            )
        )
        self.open_segment(number, from_step=0)
        return number

    def open_segment(self, number: int, from_step: int) -> None:
        count = len(self.study.trials[number].segments)
        self.apply(
            rec.SegmentOpened(
                trial=number,
                segment=count,
                parent_segment=count - 1 if count else None,
                from_step=from_step,
                checkpoint=None,
                cause="thaw" if count else "start",
                by="",
                why="",
                params=None,
                at=0,
            )
        )

    def propose(self, seed: int = 7) -> Proposal | None:
        return self.proposer.propose(self.space, seed, len(self.study.trials), [], [])

    def start(self, seed: int = 7) -> int:
        proposal = self.propose(seed)
        assert proposal is not None
        return self.create(self.space.from_unit(proposal.point), proposal.memo)

    def report(self, number: int, scores: Sequence[float], first: int = 1) -> None:
        segment = self.study.trials[number].head.segment
        rows = [(step, "score", score, 0.0) for step, score in enumerate(scores, start=first)]
        self.apply(pack_reports(number, segment, rows))

    def end(self, number: int, scores: Sequence[float] = (), state: TrialState = "completed") -> None:
        if scores:
            self.report(number, scores)
        trial = self.study.trials[number]
        self.apply(
            rec.TrialEnded(
                trial=number,
                segment=trial.head.segment,
                state=state,
                why="done",
                step=trial.steps,
                best_step=trial.best_step,
                best_score=trial.best_score,
                started=0,
                seconds=1,
                node="",
                error="",
                traceback="",
                at=1,
            )
        )


class Watch(optuna.samplers.RandomSampler):
    """Draws at random and remembers how each trial stood when it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[OptunaState, float | None]] = []
        self.shown: list[optuna.trial.FrozenTrial] = []

    def __deepcopy__(self, memo: Mapping[int, object]) -> Watch:
        return self

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        self.shown = study.get_trials()[:-1]
        self.seen = [(each.state, each.value) for each in self.shown]
        super().before_trial(study, trial)


def loss(params: Mapping[str, Any]) -> float:
    """Least where the learning rate is 0.01, with a little from everything else."""
    rest = sum((len(value) if isinstance(value, str) else value) / 1000 for value in params.values())
    return (math.log10(params["learning_rate"]) + 2) ** 2 + rest


def run(sweep: Sweep, trials: int, parallel: int = 1, seed: int = 7) -> list[tuple[Mapping[str, Any], Any]]:
    """Trains up to that many trials in all; those in flight end out of order, and some badly."""
    states: list[TrialState] = ["completed", "completed", "pruned", "completed", "diverged", "completed", "failed"]
    while len(sweep.study.ended_order) < trials:
        while len(sweep.study.live) < parallel and len(sweep.study.trials) < trials:
            sweep.start(seed)
        number = max(sweep.study.live) if len(sweep.study.trials) % 2 else min(sweep.study.live)
        score = -loss(sweep.study.trials[number].params)
        state = states[number % len(states)]
        sweep.end(number, [score - 1, score, math.nan] if state == "diverged" else [score - 1, score], state)
    return [(trial.params, trial.memo) for trial in sweep.study.trials]


MAKERS: dict[str, Callable[[], samplers.BaseSampler]] = {
    "random": lambda: samplers.RandomSampler(),
    "tpe": lambda: samplers.TPESampler(n_startup_trials=4),
    "independent_tpe": lambda: samplers.TPESampler(n_startup_trials=4, multivariate=False),
    "grouped_tpe": lambda: samplers.TPESampler(n_startup_trials=4, multivariate=True, group=True),
    "genetic": lambda: samplers.NSGAIISampler(population_size=4),
    "genetic_3": lambda: samplers.NSGAIIISampler(population_size=4),
    "sobol": lambda: samplers.QMCSampler(scramble=True, warn_asynchronous_seeding=False),
    "cma_es": lambda: samplers.CmaEsSampler(warn_independent_sampling=False),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


# ── the same again ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
@makers
@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("space", [PLAIN, CONDITIONAL], ids=["plain", "conditional"])
def test_a_study_goes_on_after_a_kill_as_if_nothing_had_happened(
    make: Callable[[], samplers.BaseSampler], parallel: int, space: Space
) -> None:
    lived = Sweep(space).with_sampler(make())
    whole = run(lived, 24, parallel)
    killed = Sweep(space).with_sampler(make())
    for trials in (3, 9, 14, 24):
        parts = run(killed, trials, parallel)
        killed = killed.again().with_sampler(make())
    assert len({str(params) for params, _ in whole}) > 12
    if parallel == 1:  # the settings, since CMA-ES leaves a part of what it remembers uninitialised
        assert [params for params, _ in parts] == [params for params, _ in whole]
    replayed = Sweep(space).with_sampler(make())
    for record in lived.records[1:]:  # the same record, whoever is killed between any two of its lines
        if isinstance(record, rec.TrialCreated):
            again = replayed.again().with_sampler(make()).propose()
            whole_draw = replayed.propose()
            assert again is not None
            assert whole_draw is not None
            assert again.point == whole_draw.point
            assert space.from_unit(again.point) == record.params
        replayed.apply(record)


def test_what_a_sampler_remembers_by_itself_does_not_matter() -> None:
    """Groups of parameters are remembered in the order they were met, and drawn in that order."""
    make = MAKERS["grouped_tpe"]
    sweep = Sweep(CONDITIONAL).with_sampler(make())
    first = sweep.create({"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1})
    for beta in (0.9, 0.99, 0.999, 0.9999):
        number = sweep.create({"optimizer": "adam", "second_beta": beta, "learning_rate": 0.1})
        sweep.end(number, [beta])
    sweep.end(sweep.start(), [0.5])
    sweep.end(first, [0.5])
    assert sweep.propose() == sweep.again().with_sampler(make()).propose()


def test_draws_are_keyed_by_the_seed() -> None:
    def draws(seed: int) -> list[Any]:
        return run(Sweep().with_sampler(samplers.TPESampler(n_startup_trials=3, seed=1)), 8, seed=seed)

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_a_sampler_learns_from_what_it_is_told() -> None:
    sweep = Sweep().with_sampler(samplers.TPESampler())
    for _ in range(40):
        number = sweep.start()
        sweep.end(number, [-loss(sweep.study.trials[number].params)])
    late = [abs(math.log10(trial.params["learning_rate"]) + 2) for trial in sweep.study.trials[30:]]
    assert sum(late) / len(late) < 0.5  # an even draw is 1 away on average


# ── what the twin is told ───────────────────────────────────────────────────────────────────────


def known(sweep: Sweep) -> list[tuple[str, float | None]]:
    watch = Watch()
    sweep.with_sampler(watch).propose()
    return [(state.name, value) for state, value in watch.seen]


def test_every_end_is_told_in_optunas_words() -> None:
    sweep = Sweep().with_sampler(samplers.RandomSampler())
    ends: list[tuple[Sequence[float], TrialState]] = [
        ([0.2, 0.5, 0.4], "completed"),
        ([0.1, 0.3, 0.2], "pruned"),
        ([], "pruned"),
        ([0.9, math.nan], "diverged"),
        ([0.9], "failed"),
        ([0.6, 0.7], "stopped"),
        ([], "stopped"),
        ([], "completed"),
        ([0.1, math.inf], "completed"),
        ([0.4, -math.inf], "pruned"),
    ]
    for scores, state in ends:
        sweep.end(sweep.start(), scores, state)
    sweep.start()
    assert known(sweep) == [
        ("COMPLETE", 0.5),
        ("PRUNED", 0.2),
        ("PRUNED", None),
        ("COMPLETE", 0.3),
        ("FAIL", None),
        ("PRUNED", 0.7),
        ("FAIL", None),
        ("FAIL", None),
        ("COMPLETE", 0.3),
        ("PRUNED", 0.4),
        ("RUNNING", None),
    ]


def test_divergence_is_held_back_until_there_is_a_score_to_be_as_bad_as() -> None:
    sweep = Sweep(goal="minimize").with_sampler(samplers.RandomSampler())
    for _ in range(2):
        sweep.end(sweep.start(), [math.nan], "diverged")
    assert known(sweep) == [("RUNNING", None)] * 2
    sweep.with_sampler(samplers.RandomSampler())
    sweep.end(sweep.start(), [3.0])
    sweep.end(sweep.start(), [5.0])
    sweep.end(sweep.start(), [math.nan], "diverged")
    assert known(sweep) == [("COMPLETE", score) for score in (3.0, 3.0, 3.0, 5.0, 5.0)]
    assert known(sweep.again()) == known(sweep)


def test_settings_from_a_person_replace_what_was_drawn() -> None:
    sweep = Sweep()
    watch = Watch()
    sweep.with_sampler(watch)
    proposal = sweep.propose()
    assert proposal is not None
    sweep.create({"learning_rate": 0.01, "beta": 0.99, "units": 8, "batch": 64}, proposal.memo)
    sweep.propose()
    assert watch.shown[0].params == pytest.approx(
        {"learning_rate": 0.5, "beta": 0.5, "units": PLAIN["units"].to_unit(8), "batch": 64}
    )


def test_trials_that_nobody_proposed_have_a_number_and_teach_nothing() -> None:
    sweep = Sweep().with_sampler(samplers.RandomSampler())
    sweep.end(sweep.start(), [1.0])
    sweep.end(sweep.create({"learning_rate": 99.0}, purpose="fork"), [2.0])
    sweep.end(sweep.create({"learning_rate": 99.0}), [2.0], "failed")
    assert known(sweep) == [("COMPLETE", 1.0), ("FAIL", None), ("FAIL", None)]


def test_a_trial_taken_up_again_runs_again() -> None:
    sweep = Sweep()
    watch = Watch()
    sweep.with_sampler(watch)
    number = sweep.start()
    sweep.end(number, [1.0, 2.0])
    sweep.start()
    assert watch.seen[number] == (OptunaState.COMPLETE, 2.0)
    sweep.open_segment(number, from_step=1)
    sweep.start()
    assert watch.seen[number] == (OptunaState.RUNNING, None)
    sweep.report(number, [3.0], first=2)
    sweep.end(number)
    sweep.start()
    assert watch.seen[number] == (OptunaState.COMPLETE, 3.0)


def test_parameters_that_do_not_exist_are_absent() -> None:
    watch = Watch()
    sweep = Sweep(CONDITIONAL).with_sampler(watch)
    for _ in range(8):
        sweep.start()
    sweep.propose()
    kinds = {each.params["optimizer"]: set(each.params) for each in watch.shown}
    assert kinds == {
        "sgd": {"optimizer", "learning_rate", "momentum"},
        "adam": {"optimizer", "learning_rate", "second_beta"},
    }


def test_a_parameter_is_drawn_after_the_one_it_depends_on() -> None:
    watch = Watch()
    space = Space(rate=linear(0.1, 0.9, when={"decay": None}), decay=choice(None, "staircase"))
    sweep = Sweep(space).with_sampler(watch)
    for _ in range(8):
        sweep.start()
    sweep.propose()
    assert {each.params["decay"]: len(each.params) for each in watch.shown} == {None: 2, "staircase": 1}


# ── edges ───────────────────────────────────────────────────────────────────────────────────────


def test_a_sampler_without_its_study_says_so() -> None:
    with pytest.raises(StudyError, match="attach"):
        OptunaProposer(samplers.RandomSampler()).propose(PLAIN, 0, 0, [], [])


def test_a_sampler_that_cannot_draw_from_the_space_says_so() -> None:
    sweep = Sweep().with_sampler(samplers.BruteForceSampler())
    with pytest.raises(SettingsError, match=r"BruteForceSampler.*cannot draw from this space"):
        sweep.propose()


def test_a_grid_that_is_done_ends_the_search() -> None:
    space = Space(batch=choice(32, 64), optimizer=choice("sgd", "adam"))
    sweep = Sweep(space).with_sampler(samplers.BruteForceSampler())
    while sweep.propose() is not None:
        sweep.end(sweep.start(), [1.0])
    assert {tuple(trial.params.values()) for trial in sweep.study.trials} == {
        (batch, optimizer) for batch in (32, 64) for optimizer in ("sgd", "adam")
    }
    assert len(sweep.study.trials) == 4


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is here")
def test_a_sampler_that_lacks_its_package_is_refused_at_once() -> None:
    sampler = samplers.GPSampler()
    with pytest.raises(MissingExtra, match="pip install torch"):
        OptunaProposer(sampler)


def test_a_sampler_is_described_by_what_is_not_a_default() -> None:
    assert describe(samplers.TPESampler(seed=3)) == "TPESampler()"
    assert describe(samplers.TPESampler(n_startup_trials=5)) == "TPESampler(n_startup_trials=5)"
    assert describe(optuna.pruners.MedianPruner(n_warmup_steps=2)) == "MedianPruner(n_warmup_steps=2)"


def test_optuna_keeps_quiet_and_its_level_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    try:
        level = optuna.logging.get_verbosity()
        run(Sweep().with_sampler(samplers.TPESampler(n_startup_trials=2)), 5)
        assert optuna.logging.get_verbosity() == level
        assert not [record for record in caplog.records if record.levelno < logging.WARNING]
    finally:
        optuna.logging.disable_propagation()


def test_a_warning_that_comes_with_every_draw_is_said_once() -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Lines()
    logging.getLogger("optuna").addHandler(handler)
    try:
        sweep = Sweep(CONDITIONAL).with_sampler(samplers.QMCSampler())
        run(sweep, 12)
    finally:
        logging.getLogger("optuna").removeHandler(handler)
    assert len(lines) == len({line.split()[2] for line in lines}) > 0


def test_a_draw_tells_optuna_what_is_new_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    make = optuna.trial.FrozenTrial.__init__

    def counting(*args: Any, **kwargs: Any) -> None:
        nonlocal made
        made += 1
        make(*args, **kwargs)

    monkeypatch.setattr(optuna.trial.FrozenTrial, "__init__", counting)
    sweep = Sweep().with_sampler(samplers.RandomSampler())
    counts = []
    for _ in range(10):
        before = made
        for _ in range(20):
            sweep.end(sweep.start(), [0.5])
        counts.append(made - before)
    assert counts[-1] == counts[1] > 0


# ── pruners ─────────────────────────────────────────────────────────────────────────────────────


def halving() -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)


PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=3),
    "halving": halving,
    "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
    "patient": lambda: optuna.pruners.PatientPruner(halving(), patience=1),
    "threshold": lambda: optuna.pruners.ThresholdPruner(lower=0.1),
    "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.2),
}


def curve(quality: float) -> list[float]:
    """Good ones rise, bad ones fall."""
    return [quality * (1 - 0.5**step if quality > 0.5 else 0.9**step) for step in range(1, 10)]


QUALITIES = [0.9, 0.8, 0.7, 0.95, 0.05, 0.6, 0.99, 0.08, 0.3, 0.85, 0.04, 0.5]


@pytest.mark.parametrize("make", PRUNERS.values(), ids=PRUNERS.keys())
def test_a_pruner_stops_the_hopeless_and_spares_the_best(make: Callable[[], optuna.pruners.BasePruner]) -> None:
    sweep, pruning = Sweep(), OptunaPruning(make())
    last: dict[float, int] = {}
    for quality in QUALITIES:
        number = sweep.create({})
        state: TrialState = "completed"
        for step, score in enumerate(curve(quality), start=1):
            sweep.report(number, [score], first=step)
            verdict = pruning.judge(sweep.study, sweep.study.trials[number], step)
            fresh = OptunaPruning(make())
            again = sweep.again().study
            assert fresh.judge(again, again.trials[number], step) == verdict
            assert verdict.ask_at == step + 1
            last[quality] = step
            if verdict.action == "prune":
                assert verdict.why == f"{pruning.name} stopped it at step {step}"
                state = "pruned"
                break
        sweep.end(number, state=state)
    assert last[0.99] == 9
    assert min(last[0.05], last[0.08], last[0.04]) < 9


def test_a_pruner_asks_at_every_step_and_waits_for_a_report() -> None:
    sweep, pruning = Sweep(), OptunaPruning(optuna.pruners.ThresholdPruner(lower=0.5))
    assert [pruning.first_ask(), pruning.first_ask(4)] == [1, 5]
    number = sweep.create({})
    assert pruning.judge(sweep.study, sweep.study.trials[number], 1).action == "continue"


def test_a_pruner_sees_head_reports_only() -> None:
    sweep, pruning = Sweep(), OptunaPruning(optuna.pruners.ThresholdPruner(lower=0.5))
    number = sweep.create({})
    sweep.report(number, [0.9, 0.1])
    assert pruning.judge(sweep.study, sweep.study.trials[number], 2).action == "prune"
    sweep.open_segment(number, from_step=1)
    assert pruning.judge(sweep.study, sweep.study.trials[number], 1).action == "continue"


def test_a_pruner_forgets_the_rungs_of_an_abandoned_tail() -> None:
    sweep, pruning = Sweep(), OptunaPruning(halving())
    for scores in ([0.5, 0.5], [0.6, 0.6]):
        sweep.report(sweep.create({}), scores)
    number = sweep.create({})
    trial = sweep.study.trials[number]
    sweep.report(number, [0.7, 0.7])
    assert pruning.judge(sweep.study, trial, 2).action == "continue"
    sweep.open_segment(number, from_step=0)
    sweep.report(number, [0.1])
    assert pruning.judge(sweep.study, trial, 1).action == "prune"


# ── what is not Optuna's public interface ───────────────────────────────────────────────────────


PACKAGE = Path(tuner.__file__).parent
REACHING = sorted(
    path for path in PACKAGE.rglob("*.py") if re.search(r"^\s*(import|from) optuna\b", path.read_text(), re.MULTILINE)
)


def reached_inside(path: Path) -> list[str]:
    """Names that begin with an underscore, of objects other than its own classes', and of Optuna's modules."""
    tree = syntax_of(path.read_text())
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_own(node.value)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr not in own:
            found.append(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "vars"):
            found += [node.func.id] if node.func.id == "vars" else names_asked(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names]
            found += [name for name in names if "optuna" in ast.unparse(node) and re.search(r"(^|\.)_", name)]
    return [name for name in found if not re.fullmatch(r"__\w+__", name)]


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def names_asked(call: ast.Call) -> list[str]:
    return [name for each in call.args if isinstance(each, ast.Constant) and (name := str(each.value)).startswith("_")]


def test_optunas_private_parts_are_reached_in_one_file() -> None:
    by_file = {str(path.relative_to(PACKAGE)): found for path in REACHING if (found := reached_inside(path))}
    assert list(by_file) == ["samplers/internals.py"], by_file
    assert {"_storage", "_study_id", "_trial_id", "_seed", "_wrapped_pruner"} <= set(by_file["samplers/internals.py"])


def test_every_private_part_of_optuna_is_there_in_the_release_installed() -> None:
    study = optuna.create_study(sampler=samplers.QMCSampler(seed=3))
    trial = study.ask()
    internals.note_on_study(study, "key", 1)
    assert internals.notes_of(study) == {"key": 1}
    internals.note_on_trial(study, study.trials[trial.number], "key", 2)
    assert study.trials[trial.number].system_attrs["key"] == 2
    assert isinstance(study.sampler, samplers.QMCSampler)
    internals.seed_sequence(study.sampler, 7)
    assert internals.arguments_of(study.sampler)["seed"] == (7, None)
    partly = samplers.PartialFixedSampler({"x": 0.5}, samplers.TPESampler(seed=1))
    assert [type(each).__name__ for each in internals.samplers_in(partly)][:2] == ["PartialFixedSampler", "TPESampler"]
    assert len(list(internals.generators_in(partly))) >= 1
    median = optuna.pruners.MedianPruner()
    assert internals.wrapped_in(optuna.pruners.PatientPruner(median, patience=1)) is median
    assert internals.wrapped_in(median) is None


def test_optuna_is_bound_to_the_majors_that_were_tried() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    bound = next(each for each in tomllib.loads(text)["project"]["dependencies"] if each.startswith("optuna"))
    low, high = re.fullmatch(r"optuna>=(\d+)\.\d+,<(\d+)", bound).groups()  # type: ignore[union-attr]
    major = int(optuna.__version__.partition(".")[0])
    assert int(low) <= major < int(high), f"{bound}, and {optuna.__version__} is installed"
    assert int(high) == int(low) + 1, "a new major is tried before it is admitted"
    # ... and `make bounds` tries both ends with this file.
    assert " optuna " in (PACKAGE.parent / "Makefile").read_text().split("BOUND_TESTS :=")[1].split("bound-%")[0]
