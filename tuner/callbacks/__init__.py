"""Ready-made callbacks for loops that a framework owns: Lightning, Transformers, Keras; none is imported until used.

A callback takes the run's steps between two steps of the framework, reports its metrics, saves and loads what it
trains, and keeps the optimizer's effective learning rate at what `run.params["learning_rate"]` says. Other settings are
the training function's to read.
"""

from __future__ import annotations

from tuner.callbacks.keras import keras_callback
from tuner.callbacks.lightning import lightning_callback
from tuner.callbacks.transformers import transformers_callback

__all__ = ["keras_callback", "lightning_callback", "transformers_callback"]
