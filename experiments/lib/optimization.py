"""Optimizers from the options of a config."""

from typing import Any

import optax

import rnnjax


def make_optimizer(config: Any) -> optax.GradientTransformation:
    """Makes the optimizer that the options of `training.Options` describe."""
    warmup = min(config.warmup, config.steps - 1)
    schedule = rnnjax.training.get_schedule(config.schedule, config.learning_rate, steps=config.steps, warmup=warmup)
    options = {"b2": config.b2} if config.optimizer in ("adam", "nadam", "adamw") else {}
    options |= {"weight_decay": config.weight_decay} if config.optimizer == "adamw" else {}
    options |= {"clip_norm": config.clip_norm or None, "clip_value": config.clip_value or None}
    return rnnjax.training.get_optimizer(config.optimizer, schedule, **options)
