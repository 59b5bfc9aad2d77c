from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import SettingsError
from tuner.workloads.network import EarlyStopping, Labels, Network, gradient_check, inverted_dropout, normalised
from tuner.workloads.optimizers import Array

OPTIMIZERS = ("plain", "momentum", "rmsprop", "adam")


def blobs(examples: int = 60, inputs: int = 6, classes: int = 3, seed: int = 0) -> tuple[Array, Labels]:
    """Overlapping clouds, one a class."""
    rng = np.random.default_rng(seed)
    y = np.arange(examples) % classes
    return rng.normal(size=(examples, inputs)) + rng.normal(size=(classes, inputs))[y], y


def weights(network: Network) -> Array:
    count = sum(a * b for a, b in zip(network.sizes, network.sizes[1:], strict=False))
    return network.parameters[:count]


# ── gradient ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("init", ["auto", "he", "xavier", "lecun"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_back_propagation_agrees_with_finite_differences_at_the_start_and_after_training(
    activation: str, init: str, batch_norm: bool, l2: float
) -> None:
    x, y = blobs(examples=12)
    network = Network([6, 5, 4, 3], activation=activation, init=init, batch_norm=batch_norm, seed=1)
    assert gradient_check(network, x, y, l2=l2) <= 1e-7
    for _ in range(5):
        network.train_epoch(x, y, learning_rate=0.1, batch_size=4, l2=l2, dropout=0.2)
    assert gradient_check(network, x, y, l2=l2) <= 1e-7


def test_the_gradient_check_sees_a_gradient_that_leaves_out_the_regularisation() -> None:
    class Forgetful(Network):
        def gradient(self, x: Array, y: Labels, *, l2: float = 0.0) -> Array:
            return super().gradient(x, y, l2=0 * l2)

    x, y = blobs(examples=12)
    assert gradient_check(Forgetful([6, 5, 3], seed=1), x, y, l2=0.1) > 1e-3


def test_the_gradient_check_leaves_the_network_as_it_was() -> None:
    x, y = blobs(examples=12)
    network = Network([6, 5, 3], batch_norm=True)
    before = pickle.dumps(network.state_dict())
    gradient_check(network, x, y)
    assert pickle.dumps(network.state_dict()) == before


# ── inputs and initialisation ───────────────────────────────────────────────────────────────────────────────────────


def test_inputs_are_normalised_by_the_training_set_alone() -> None:
    train, dev = normalised(np.array([[1.0], [3.0]]), np.array([[5.0]]))
    assert train.ravel() == pytest.approx([-1, 1])
    assert dev.ravel() == pytest.approx([3])  # (5-2)/1


def test_a_column_constant_in_training_is_only_centred() -> None:
    _, dev = normalised(np.full((4, 1), 2.0), np.array([[3.0]]))
    assert dev.ravel() == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("activation", "init", "variance"),
    [
        ("relu", "auto", 2 / 300),
        ("tanh", "auto", 2 / 500),
        ("tanh", "lecun", 1 / 300),
        ("tanh", "xavier", 2 / 500),
        ("tanh", "he", 2 / 300),
    ],
)
def test_weights_start_with_the_variance_their_activation_asks_for(activation: str, init: str, variance: float) -> None:
    first_layer = Network([300, 200, 10], activation=activation, init=init).parameters[: 300 * 200]
    assert first_layer.var() == pytest.approx(variance, rel=0.03)


def test_batch_norm_drops_the_biases_for_its_own_shift_and_scale() -> None:
    assert Network([6, 5, 4, 3], batch_norm=True).parameters.size - Network([6, 5, 4, 3]).parameters.size == 5 + 4


@pytest.mark.parametrize("mistake", [{"activation": "rleu"}, {"init": "hee"}, {"optimizer": "adm"}])
def test_an_unknown_word_is_refused_with_the_nearest_one(mistake: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="Did you mean"):
        Network([2, 2], **mistake)  # type: ignore[arg-type]


# ── cost and regularisation ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_network_that_knows_nothing_costs_the_logarithm_of_the_classes() -> None:
    x, y = blobs()
    network = Network([6, 3])
    network.parameters[:] = 0
    assert network.cost(x, y) == pytest.approx(math.log(3))


def test_softmax_survives_logits_that_would_overflow() -> None:
    x, y = blobs()
    assert math.isfinite(Network([6, 5, 3]).evaluate(x * 1e6, y)[0])


@given(l2=st.floats(0, 10), examples=st.integers(1, 20))
def test_l2_adds_half_lambda_over_m_times_the_squared_weights_to_the_cost(l2: float, examples: int) -> None:
    x, y = blobs(examples=examples)
    network = Network([6, 5, 3])
    network.parameters[len(weights(network)) :] = 7.0  # shifts are not penalised
    penalty = l2 / (2 * examples) * float(np.sum(weights(network) ** 2))
    assert network.cost(x, y, l2=l2) - network.cost(x, y) == pytest.approx(penalty, abs=1e-9)


def test_l2_shrinks_the_weights() -> None:
    x, y = blobs()
    free, penalised = Network([6, 20, 3]), Network([6, 20, 3])
    for _ in range(30):
        free.train_epoch(x, y, learning_rate=0.1)
        penalised.train_epoch(x, y, learning_rate=0.1, l2=10.0)
    assert np.linalg.norm(weights(penalised)) < 0.8 * np.linalg.norm(weights(free))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.8])
def test_inverted_dropout_keeps_the_expectation(dropout: float) -> None:
    kept = inverted_dropout(np.random.default_rng(0), (400, 500), dropout)
    assert set(np.unique(kept)) == {0.0, 1 / (1 - dropout)}
    assert (kept == 0).mean() == pytest.approx(dropout, abs=0.005)
    assert kept.mean() == pytest.approx(1, abs=0.02)


def test_dropout_acts_in_training_only() -> None:
    x, y = blobs()
    with_dropout, without = Network([6, 20, 3]), Network([6, 20, 3])
    assert with_dropout.train_epoch(x, y, learning_rate=0.0, dropout=0.5) != without.train_epoch(
        x, y, learning_rate=0.0
    )
    assert with_dropout.evaluate(x, y) == without.evaluate(x, y)


def test_batch_norm_at_test_time_uses_the_running_statistics() -> None:
    x, y = blobs()
    network = Network([6, 5, 3], batch_norm=True)
    z = x @ network.parameters[:30].reshape(6, 5)
    network.train_epoch(x, y, learning_rate=0.0, batch_size=60)
    mean, variance = network.state_dict()["running"]
    assert mean == pytest.approx(0.1 * z.mean(axis=0))
    assert variance == pytest.approx(0.9 + 0.1 * z.var(axis=0))

    alone = [network.evaluate(x[[i]], y[[i]])[0] for i in range(len(x))]
    assert np.mean(alone) == pytest.approx(network.evaluate(x, y)[0])  # no example depends on its batch


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, activation: str, batch_norm: bool) -> None:
    x, y = blobs()
    network = Network([6, 20, 3], optimizer=optimizer, activation=activation, batch_norm=batch_norm)
    rate = 0.01 if optimizer in ("rmsprop", "adam") else 0.3
    losses = [network.train_epoch(x, y, learning_rate=rate, batch_size=16) for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]
    assert network.loss == losses[-1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_network_is_bit_identical_to_one_that_was_not_interrupted(optimizer: str) -> None:
    x, y = blobs()

    def epochs(network: Network, count: int) -> list[tuple[float, ...]]:
        return [
            (
                network.train_epoch(x, y, learning_rate=0.01, beta=0.8, batch_size=16, l2=0.1, dropout=0.3),
                network.update_cos,
                *network.evaluate(x, y),
            )
            for _ in range(count)
        ]

    network = Network([6, 20, 10, 3], optimizer=optimizer, batch_norm=True, seed=1)
    epochs(network, 3)
    saved = pickle.dumps(network.state_dict())
    uninterrupted = epochs(network, 4)

    resumed = Network([6, 20, 10, 3], optimizer=optimizer, batch_norm=True, seed=2)
    resumed.load_state_dict(pickle.loads(saved))
    assert epochs(resumed, 4) == uninterrupted
    assert np.array_equal(resumed.parameters, network.parameters)


def test_a_saved_state_does_not_change_as_training_goes_on() -> None:
    x, y = blobs()
    network = Network([6, 5, 3], batch_norm=True)
    state = network.state_dict()
    before = pickle.dumps(state)
    network.train_epoch(x, y, learning_rate=0.1)
    assert pickle.dumps(state) == before


def test_a_state_of_another_structure_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"saved parameters have shape \(53,\)"):
        Network([6, 6, 3]).load_state_dict(Network([6, 5, 3]).state_dict())


def test_a_copied_network_trains_like_the_original() -> None:
    x, y = blobs()
    network = Network([6, 5, 3], batch_norm=True)
    twin = copy.deepcopy(network)
    losses = [[one.train_epoch(x, y, learning_rate=0.1) for _ in range(3)] for one in (network, twin)]
    assert losses[0] == losses[1]
    assert losses[0][2] < losses[0][0]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_divergence_is_a_loss_that_is_not_finite_and_neither_error_nor_warning(
    optimizer: str, batch_norm: bool
) -> None:
    x, y = blobs()
    network = Network([6, 5, 5, 3], optimizer=optimizer, batch_norm=batch_norm)
    losses = [network.train_epoch(x, y, learning_rate=1e200, batch_size=16) for _ in range(5)]
    assert not math.isfinite(losses[-1])
    assert not math.isfinite(network.evaluate(x, y)[0])


def test_mini_batches_are_of_nearly_equal_size() -> None:
    x, y = blobs(examples=33)
    network = Network([6, 5, 3], batch_norm=True, optimizer="plain")
    network.train_epoch(x, y, learning_rate=0.1, batch_size=32)  # 17 + 16; a batch of 1 would have no variance
    assert network.state_dict()["running"][1].min() > 0.9**2


def test_updates_that_agree_have_a_cosine_near_one() -> None:
    x, y = blobs()
    network = Network([6, 5, 3])
    for _ in range(5):
        network.train_epoch(x, y, learning_rate=1e-6, batch_size=60)
    assert network.update_cos == pytest.approx(1, abs=1e-3)


def test_updates_that_undo_one_another_have_a_cosine_of_minus_one() -> None:
    x, y = np.zeros((10, 6)), np.zeros(10, dtype=np.int64)
    network = Network([6, 3], optimizer="plain")
    network.parameters[18:] = [50, 0, 0]  # sure of the class, so that only λ/m·W is left: W ← (1 - 1.5)·W
    for _ in range(3):
        network.train_epoch(x, y, learning_rate=1.5, batch_size=10, l2=10.0)
    assert network.update_cos == pytest.approx(-1)


# ── early stopping ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_early_stopping_waits_for_its_patience_after_the_best_score() -> None:
    stopping = EarlyStopping(patience=3)
    assert [stopping.stops(score) for score in (0.5, 0.4, 0.6, 0.6, 0.5, 0.55)] == [False] * 5 + [True]
    assert stopping.best == 0.6


def test_early_stopping_does_not_take_nan_for_an_improvement() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.stops(score) for score in (0.5, math.nan, math.nan)] == [False, False, True]


def test_early_stopping_resumes_where_it_was() -> None:
    stopping, resumed = EarlyStopping(patience=2), EarlyStopping(patience=2)
    stopping.stops(0.5)
    stopping.stops(0.4)
    resumed.load_state_dict(stopping.state_dict())
    assert resumed.stops(0.4)
