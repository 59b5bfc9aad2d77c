"""A classifier in plain numpy: a fully connected network, how it trains, and how its gradient is checked.

Examples are rows. All parameters live in one flat vector, and a layer is a view of it: an optimizer steps once, the
gradient check walks one axis, and a checkpoint is a handful of arrays.

    θ = [ W1 … WL | shift1 … shiftL | γ1 … γ(L-1) ]        a shift is the bias, or batch norm's β, which replaces it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import inf, nan, sqrt
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tuner.errors import SettingsError, did_you_mean
from tuner.workloads.optimizers import OPTIMIZERS, Array, Moments

Labels = npt.NDArray[np.int64]
Value = TypeVar("Value")

RUNNING_BETA = 0.9  # batch norm's μ and σ² at test time average about ten mini-batches
NORM_EPSILON = 1e-5


def normalised(train: Array, *others: Array, epsilon: float = 1e-8) -> list[Array]:
    """(x-μ)/(σ+ε) of every array, column by column, with μ and σ of the training set alone.

    A column that is constant in training is only centred: over ε alone, one odd pixel of the dev set would become 1e8.

    Args:
        train: (m, n): what μ and σ are taken of.
        *others: (any, n): what is normalised with them too.
        epsilon: ε, above 0; by default 1e-08.

    Returns:
        The arrays, the training set first.

    Example:
        >>> [array.tolist() for array in normalised(np.array([[1.0], [3.0]]), np.array([[2.0]]), epsilon=0.0)]
        [[[-1.0], [1.0]], [[0.0]]]
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation + epsilon, 1.0)
    return [(x - mean) / scale for x in (train, *others)]


class Activation(NamedTuple):
    """A non-linearity.

    Attributes:
        value: g(z).
        slope: dg/dz, written in terms of a = g(z).
        init: The initialisation that suits it.

    Example:
        >>> ACTIVATIONS["relu"].value(np.array([-1.0, 2.0])).tolist(), ACTIVATIONS["relu"].init
        ([0.0, 2.0], 'he')
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    init: str


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(lambda z: np.maximum(z, 0.0), lambda a: (a > 0).astype(np.float64), "he"),
    "tanh": Activation(np.tanh, lambda a: 1 - a**2, "xavier"),
}

INITS: Mapping[str, Callable[[int, int], float]] = {  # Var W, of the units before and after
    "he": lambda before, _after: 2 / before,
    "lecun": lambda before, _after: 1 / before,
    "xavier": lambda before, after: 2 / (before + after),
}


def inverted_dropout(rng: np.random.Generator, shape: tuple[int, ...], dropout: float) -> Array:
    """0 for the share of units dropped, 1/(1-dropout) for those kept: the mean stays, so test time needs no scaling.

    Args:
        rng: Where the draws come from.
        shape: Of the activations.
        dropout: The share, from 0 to below 1.

    Returns:
        What the activations are multiplied by.

    Example:
        >>> sorted(set(inverted_dropout(np.random.default_rng(0), (100,), 0.5).tolist()))
        [0.0, 2.0]
    """
    kept: Array = (rng.random(shape) >= dropout) / (1 - dropout)
    return kept


class Layer(NamedTuple):
    """One layer's part of a flat vector.

    Attributes:
        weight: (before, after).
        shift: (after,): the bias, or batch norm's β.
        gamma: (after,): batch norm's γ, or None.

    Example:
        >>> Layer(np.zeros((2, 3)), np.zeros(3), None).weight.shape
        (2, 3)
    """

    weight: Array
    shift: Array
    gamma: Array | None


class Normalisation(NamedTuple):
    """What batch norm did to one mini-batch of m examples in n units (Ioffe & Szegedy 2015).

    Attributes:
        values: (m, n): z-hat.
        mean: (n,): μ.
        variance: (n,): σ².
        inverse_deviation: (n,): 1/√(σ²+ε).

    Example:
        >>> Normalisation(np.zeros((4, 2)), np.zeros(2), np.ones(2), np.ones(2)).values.shape
        (4, 2)
    """

    values: Array
    mean: Array
    variance: Array
    inverse_deviation: Array


class Trace(NamedTuple):
    """What the way back needs of a layer's way forward.

    Attributes:
        inputs: (m, before): what came in.
        normalisation: What batch norm did, or None.
        slope: (m, after): da/dz, dropout included; None at the output.

    Example:
        >>> Trace(np.zeros((4, 2)), None, None).slope is None
        True
    """

    inputs: Array
    normalisation: Normalisation | None
    slope: Array | None


class Network:
    """Layers of units, softmax on top; what may change while it trains is passed with each epoch.

    The structure is fixed, and so is the generator of weights, shuffles and dropout. θ = [W1 … WL | shift1 … shiftL |
    γ1 … γ(L-1)] is one vector, `parameters`.

    Args:
        sizes: Units from the inputs to the classes, two layers at least.
        activation: "relu" or "tanh"; by default relu.
        init: "he" (He et al. 2015), "xavier" (Glorot & Bengio 2010), "lecun" (LeCun et al. 1998), or "auto" for He with
            ReLU and Xavier with tanh; by default auto.
        batch_norm: Normalises every hidden layer over the mini-batch (Ioffe & Szegedy 2015); by default False.
        optimizer: "plain", "momentum", "rmsprop" or "adam"; by default momentum.
        seed: Of everything drawn, at least 0; by default 0.

    Raises:
        SettingsError: No such activation, initialisation or optimizer.

    Example:
        >>> network = Network([64, 100, 10], seed=1)
        >>> x, y = np.eye(64), np.arange(64) % 10
        >>> network.train_epoch(x, y, learning_rate=0.1) < 3
        True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        init: str = "auto",
        batch_norm: bool = False,
        optimizer: str = "momentum",
        seed: int = 0,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        self.batch_norm = bool(batch_norm)
        self._activation = _named("activation", activation, ACTIVATIONS)
        self._direction = _named("optimizer", optimizer, OPTIMIZERS)
        variance = _named("init", self._activation.init if init == "auto" else init, INITS)
        self._rng = np.random.default_rng(seed)

        self._weights = sum(before * after for before, after in pairwise(self.sizes))
        hidden = sum(self.sizes[1:-1])
        count = self._weights + sum(self.sizes[1:]) + (hidden if self.batch_norm else 0)
        self.parameters, self._gradient, self._update = np.zeros(count), np.zeros(count), np.zeros(count)
        self._layers, self._gradients = self._views(self.parameters), self._views(self._gradient)
        self._moments = Moments(velocity=np.zeros(count), square=np.zeros(count))
        self._running = np.vstack([np.zeros(hidden), np.ones(hidden)])  # batch norm's μ and σ² at test time
        self.loss, self.update_cos = nan, nan

        for layer in self._layers:
            before, after = layer.weight.shape
            layer.weight[:] = self._rng.normal(0, sqrt(variance(before, after)), (before, after))
            if layer.gamma is not None:
                layer.gamma[:] = 1

    def train_epoch(
        self,
        x: Array,
        y: Labels,
        *,
        learning_rate: float,
        beta: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        batch_size: int = 64,
        l2: float = 0.0,
        dropout: float = 0.0,
    ) -> float:
        """Trains one epoch of shuffled mini-batches; a run that diverges returns inf or nan and raises nothing.

        `update_cos` is then the mean cosine between successive updates: with momentum above β while steps agree, as
        they do when the learning rate is far too small, below it when they undo one another; nan without a pair.

        Args:
            x: (m, inputs).
            y: (m,) classes, from 0.
            learning_rate: α, above 0.
            beta: β of momentum, β1 of Adam, from 0 to below 1; by default 0.9.
            beta2: β2 of RMSprop and Adam, from 0 to below 1; by default 0.999.
            epsilon: ε of RMSprop and Adam, above 0; by default 1e-08.
            batch_size: Examples in a mini-batch at most, from 1 up; by default 64. All are of nearly equal size: a last
                sliver would give batch norm no variance.
            l2: λ of the penalty λ/2m Σ‖W‖², at least 0; by default 0.0.
            dropout: The share of hidden units dropped, from 0 to below 1; by default 0.0.

        Returns:
            The mean cost of the mini-batches, L2 included, also kept as `loss`.

        Example:
            >>> network = Network([2, 4, 2])
            >>> x, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
            >>> first = network.train_epoch(x, y, learning_rate=0.1)
            >>> network.loss == first
            True
        """
        order = self._rng.permutation(len(x))
        costs, cosines = [], []
        with np.errstate(all="ignore"):
            for batch in np.array_split(order, -(-len(order) // int(batch_size))):
                costs.append(self._descend(x[batch], y[batch], l2, dropout))
                direction = self._direction(self._gradient, self._moments, beta, beta2, epsilon)
                self.parameters -= learning_rate * direction
                cosines.append(_cosine(direction, self._update))
                self._update[:] = direction
            pairs = [cosine for cosine in cosines if cosine is not None]
            self.update_cos = float(np.mean(pairs)) if pairs else nan
            self.loss = float(np.mean(costs))
        return self.loss

    def evaluate(self, x: Array, y: Labels) -> tuple[float, float]:
        """The loss and the accuracy at test time: running means of batch norm, no dropout.

        Args:
            x: (m, inputs).
            y: (m,) classes, from 0.

        Returns:
            Mean cross-entropy, without L2, and the share of right answers; of a diverged network the loss is not
            finite.

        Example:
            >>> loss, accuracy = Network([2, 4, 2]).evaluate(np.eye(2), np.array([0, 1]))
            >>> loss > 0, accuracy in (0.0, 0.5, 1.0)
            (True, True)
        """
        with np.errstate(all="ignore"):
            logits = self._test_logits(x)
            return _cross_entropy(logits, y)[0], float(np.mean(logits.argmax(axis=1) == y))

    def accuracy(self, x: Array, y: Labels) -> float:
        """The share of examples whose likeliest class is the right one.

        Args:
            x: (m, inputs).
            y: (m,) classes, from 0.

        Returns:
            From 0 to 1.

        Example:
            >>> Network([2, 4, 2]).accuracy(np.eye(2), np.array([0, 1])) in (0.0, 0.5, 1.0)
            True
        """
        return self.evaluate(x, y)[1]

    def cost(self, x: Array, y: Labels, *, l2: float = 0.0) -> float:
        """The cost J that training minimises on one batch: mean cross-entropy + λ/2m Σ‖W‖², dropout off.

        Args:
            x: (m, inputs).
            y: (m,) classes, from 0.
            l2: λ, at least 0; by default 0.0.

        Returns:
            J.

        Example:
            >>> network, x, y = Network([2, 4, 2]), np.eye(2), np.array([0, 1])
            >>> network.cost(x, y) < network.cost(x, y, l2=0.1)
            True
        """
        return self._penalty(len(x), l2) + _cross_entropy(self._forward(x, 0.0)[0], y)[0]

    def gradient(self, x: Array, y: Labels, *, l2: float = 0.0) -> Array:
        """dJ/dθ of `cost` by back-propagation.

        Args:
            x: (m, inputs).
            y: (m,) classes, from 0.
            l2: λ, at least 0; by default 0.0.

        Returns:
            One flat vector in the order of `parameters`.

        Example:
            >>> network = Network([2, 4, 2])
            >>> network.gradient(np.eye(2), np.array([0, 1])).shape == network.parameters.shape
            True
        """
        logits, traces = self._forward(x, 0.0)
        self._backward(_cross_entropy(logits, y)[1], traces, y, l2)
        return self._gradient.copy()

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-identical continuation needs.

        Returns:
            Parameters, moments, running statistics and the generator's state, by name.

        Example:
            >>> sorted(Network([2, 4, 2]).state_dict())[:2]
            ['beta2_power', 'beta_power']
        """
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        powers = {"beta_power": self._moments.beta_power, "beta2_power": self._moments.beta2_power}
        return {**arrays, **powers, "generator": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state_dict`.

        Args:
            state: That of a network of the same structure.

        Raises:
            SettingsError: Another structure.

        Example:
            >>> one, other = Network([2, 4, 2], seed=1), Network([2, 4, 2], seed=2)
            >>> other.load_state_dict(one.state_dict())
            >>> bool((one.parameters == other.parameters).all())
            True
        """
        for name, array in self._arrays().items():
            if state[name].shape != array.shape:
                raise SettingsError(
                    f"network: the saved {name} have shape {state[name].shape}, this network's have {array.shape}. "
                    "A checkpoint fits one structure: build the network with the sizes and batch_norm of the saved one."
                )
            array[:] = state[name]
        self._moments.beta_power, self._moments.beta2_power = state["beta_power"], state["beta2_power"]
        self._rng.bit_generator.state = state["generator"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # of a copy, whose layers must be views of its own parameters
        self._layers, self._gradients = self._views(self.parameters), self._views(self._gradient)

    def _arrays(self) -> dict[str, Array]:
        return {
            "parameters": self.parameters,
            "velocity": self._moments.velocity,
            "square": self._moments.square,
            "update": self._update,
            "running": self._running,
        }

    def _views(self, vector: Array) -> list[Layer]:
        after = self.sizes[1:]
        weights = np.split(vector[: self._weights], np.cumsum([n * m for n, m in pairwise(self.sizes)])[:-1])
        shifts = np.split(vector[self._weights : self._weights + sum(after)], np.cumsum(after)[:-1])
        gammas = self._per_hidden_layer(vector[self._weights + sum(after) :]) if self.batch_norm else []
        return [
            Layer(weight.reshape(shape), shift, gammas[layer] if layer < len(gammas) else None)
            for layer, (weight, shift, shape) in enumerate(zip(weights, shifts, pairwise(self.sizes), strict=True))
        ]

    def _per_hidden_layer(self, units: Array) -> list[Array]:
        return np.split(units, np.cumsum(self.sizes[1:-1]), axis=-1)[:-1]

    def _descend(self, x: Array, y: Labels, l2: float, dropout: float) -> float:
        logits, traces = self._forward(x, dropout)
        loss, probabilities = _cross_entropy(logits, y)
        cost = loss + self._penalty(len(x), l2)
        self._backward(probabilities, traces, y, l2)
        for running, trace in zip(self._per_hidden_layer(self._running), traces, strict=False):
            if trace.normalisation is not None:
                running *= RUNNING_BETA
                running += (1 - RUNNING_BETA) * np.stack([trace.normalisation.mean, trace.normalisation.variance])
        return cost

    def _penalty(self, examples: int, l2: float) -> float:
        weights = self.parameters[: self._weights]
        return float(l2 / (2 * examples) * (weights @ weights)) if l2 else 0.0

    def _forward(self, x: Array, dropout: float) -> tuple[Array, list[Trace]]:
        a, traces = x, []
        for weight, shift, gamma in self._layers[:-1]:
            inputs, z, normalisation = a, a @ weight, None
            if gamma is not None:
                normalisation = _batch_normalised(z)
                z = gamma * normalisation.values
            z += shift
            a = self._activation.value(z)
            slope = self._activation.slope(a)
            if dropout:
                kept = inverted_dropout(self._rng, a.shape, dropout)
                a, slope = a * kept, slope * kept
            traces.append(Trace(inputs, normalisation, slope))
        weight, shift, _ = self._layers[-1]
        return a @ weight + shift, [*traces, Trace(a, None, None)]

    def _test_logits(self, x: Array) -> Array:
        a, running = x, self._per_hidden_layer(self._running)
        for layer, (weight, shift, gamma) in enumerate(self._layers[:-1]):
            z = a @ weight
            if gamma is not None:
                mean, variance = running[layer]
                z = gamma * (z - mean) / np.sqrt(variance + NORM_EPSILON)
            a = self._activation.value(z + shift)
        weight, shift, _ = self._layers[-1]
        return a @ weight + shift

    def _backward(self, probabilities: Array, traces: Sequence[Trace], y: Labels, l2: float) -> None:
        examples = len(y)
        dz = probabilities.copy()
        dz[np.arange(examples), y] -= 1  # dz = a - y, of the mean over the batch
        dz /= examples
        for layer, gradient, trace in zip(
            reversed(self._layers), reversed(self._gradients), reversed(traces), strict=True
        ):
            if trace.slope is not None:
                dz *= trace.slope
            dz.sum(axis=0, out=gradient.shift)
            if layer.gamma is not None and gradient.gamma is not None and trace.normalisation is not None:
                values, _, _, inverse_deviation = trace.normalisation
                (dz * values).sum(axis=0, out=gradient.gamma)
                centred = dz - gradient.shift / examples - values * (gradient.gamma / examples)
                dz = layer.gamma * inverse_deviation * centred  # (Ioffe & Szegedy 2015, sec. 3)
            np.matmul(trace.inputs.T, dz, out=gradient.weight)
            dz = dz @ layer.weight.T
        if l2:
            self._gradient[: self._weights] += l2 / examples * self.parameters[: self._weights]


def _named(kind: str, name: str, table: Mapping[str, Value]) -> Value:
    if name not in table:
        raise SettingsError(f"{kind}: {name!r} is not one this network knows. {did_you_mean(str(name), table)}")
    return table[name]


def gradient_check(network: Network, x: Array, y: Labels, *, l2: float = 0.0, epsilon: float = 1e-5) -> float:
    """‖approx - exact‖ / (‖approx‖ + ‖exact‖) over all parameters; back-propagation is right when it is ≤ 1e-7.

    approx is two-sided, (J(θ+ε) - J(θ-ε)) / 2ε, with L2 in J and dropout off. Two forward passes a parameter: use a
    small network, at the start and again after some training.

    Args:
        network: Whose gradient is checked; its parameters are as before afterwards.
        x: (m, inputs).
        y: (m,) classes, from 0.
        l2: λ, at least 0; by default 0.0.
        epsilon: ε, above 0; by default 1e-05.

    Returns:
        The relative difference, from 0 to 1.

    Example:
        >>> network = Network([2, 4, 2], activation="tanh", seed=1)
        >>> gradient_check(network, np.eye(2), np.array([0, 1])) < 1e-7
        True
    """
    exact, approx, theta = network.gradient(x, y, l2=l2), np.empty_like(network.parameters), network.parameters
    for index, value in enumerate(theta.copy()):
        theta[index] = value + epsilon
        above = network.cost(x, y, l2=l2)
        theta[index] = value - epsilon
        approx[index] = (above - network.cost(x, y, l2=l2)) / (2 * epsilon)
        theta[index] = value
    return float(np.linalg.norm(approx - exact) / (np.linalg.norm(approx) + np.linalg.norm(exact)))


class EarlyStopping:
    """Says when a dev score, higher is better, has not improved for a while; nan never improves (Prechelt 1998).

    Args:
        patience: Epochs without a better score, from 1 up; infinite: never.

    Example:
        >>> stopping = EarlyStopping(2)
        >>> [stopping.stops(score) for score in (0.5, 0.6, 0.6, 0.5)]
        [False, False, False, True]
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.best, self.epochs_since_best = -inf, 0

    def stops(self, score: float) -> bool:
        """Takes the score of one more epoch.

        Args:
            score: Higher is better.

        Returns:
            Whether to stop.

        Example:
            >>> EarlyStopping(1).stops(0.5)
            False
        """
        self.epochs_since_best = 0 if score > self.best else self.epochs_since_best + 1
        self.best = max(self.best, score)
        return self.epochs_since_best >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps.

        Returns:
            The best score and the epochs since, by name.

        Example:
            >>> EarlyStopping(2).state_dict()
            {'best': -inf, 'epochs_since_best': 0}
        """
        return {"best": self.best, "epochs_since_best": self.epochs_since_best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continues from a `state_dict`.

        Args:
            state: The best score and the epochs since, by name.

        Example:
            >>> stopping = EarlyStopping(2)
            >>> stopping.load_state_dict({"best": 0.6, "epochs_since_best": 1})
            >>> stopping.stops(0.5)
            True
        """
        self.best, self.epochs_since_best = state["best"], int(state["epochs_since_best"])


def _cross_entropy(logits: Array, y: Labels) -> tuple[float, Array]:
    """Mean softmax cross-entropy, and the probabilities; the largest logit is taken off so that exp never overflows."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    return float((np.log(total[:, 0]) - shifted[np.arange(len(y)), y]).mean()), exponentials / total


def _batch_normalised(z: Array) -> Normalisation:
    mean = z.mean(axis=0)
    centred = z - mean
    variance = (centred**2).mean(axis=0)
    inverse_deviation = 1 / np.sqrt(variance + NORM_EPSILON)
    return Normalisation(centred * inverse_deviation, mean, variance, inverse_deviation)


def _cosine(one: Array, other: Array) -> float | None:
    """The cosine of the angle between two vectors; None when one of them is zero."""
    lengths = sqrt(one @ one) * sqrt(other @ other)
    return None if lengths == 0 else float(one @ other) / lengths
