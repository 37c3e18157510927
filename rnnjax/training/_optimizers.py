"""Optimizers and learning-rate schedules by name, all of them optax's, with clipping in front."""

from collections.abc import Callable

import optax

from rnnjax._types import Array

ScalarOrSchedule = float | Callable[[Array], Array]


def adagrad_min_char_rnn(
    learning_rate: ScalarOrSchedule = 0.1, *, clip: float = 5.0, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Makes the Adagrad of min-char-rnn, with its clipping:

        g = clip(g, -5, 5)
        m = m + g * g                    from m = 0
        p = p - lr * g / sqrt(m + 1e-8)  epsilon inside the root

    Reference: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods"; min-char-rnn is Karpathy's program of
    2015.

    Args:
      learning_rate: lr, `[]` or a schedule of the step.
      clip: the bound of each element of g.
      epsilon: the number inside the root.

    Returns:
      An `optax.GradientTransformation` over parameters of any shapes `[...]`.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> opt = adagrad_min_char_rnn(0.1)
      >>> updates, _ = opt.update(jnp.array([9.0, -3.0]), opt.init(jnp.zeros(2)))
      >>> [round(u, 4) for u in updates.tolist()]  # the first step is lr times the sign
      [-0.1, 0.1]
    """
    return optax.chain(
        optax.clip(clip),
        optax.scale_by_rss(initial_accumulator_value=0.0, eps=epsilon),
        optax.scale_by_learning_rate(learning_rate),
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "adam": optax.adam,
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "adadelta": optax.adadelta,
    "nadam": optax.nadam,
    "adamw": optax.adamw,
    "adagrad_min_char_rnn": adagrad_min_char_rnn,
}


def get_optimizer(
    name: str,
    learning_rate: ScalarOrSchedule,
    *,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    **options,
) -> optax.GradientTransformation:
    """Makes the optimizer of this name, with the gradient clipped before it.

        g_j = clip(g_j, -clip_value, clip_value)          first, by value
        g = g * min(1, clip_norm / |g|)                   then, by the global norm (Pascanu et al. 2013)

    Args:
      name: "sgd", "adam", "rmsprop", "adagrad", "adadelta", "nadam", "adamw" or "adagrad_min_char_rnn".
      learning_rate: `[]`, or a schedule of the step.
      clip_value: bound of each element of the gradient, or None.
      clip_norm: bound of the norm of the whole gradient, or None.
      **options: of the optimizer, as optax names them, such as `momentum` or `weight_decay`.

    Returns:
      An `optax.GradientTransformation` over parameters of any shapes `[...]`.

    Raises:
      ValueError: an unknown name, or a bound that is not positive.

    Examples:
      >>> import jax.numpy as jnp
      >>> opt = get_optimizer("sgd", 1.0, clip_norm=5.0)
      >>> updates, _ = opt.update(jnp.array([30.0, 40.0]), opt.init(jnp.zeros(2)))
      >>> [round(u, 4) for u in updates.tolist()]
      [-3.0, -4.0]
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"get_optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}.")
    clips = []
    for argument, bound, clip in (
        ("clip_value", clip_value, optax.clip),
        ("clip_norm", clip_norm, optax.clip_by_global_norm),
    ):
        if bound is not None:
            if not bound > 0:
                raise ValueError(f"get_optimizer: expected {argument} > 0 or None for no clipping, got {bound}.")
            clips.append(clip(bound))
    return optax.chain(*clips, OPTIMIZERS[name](learning_rate, **options))


def get_schedule(name: str, learning_rate: float, *, steps: int, warmup: int = 0, final: float = 0.0) -> optax.Schedule:
    """Makes a schedule of the learning rate: a linear warm-up from 0 to its peak, then a decay over the other steps.

    Args:
      name: "constant", "linear", "cosine" or "exponential": the form of the decay.
      learning_rate: the peak, `[]`.
      steps: number of updates in all.
      warmup: number of updates of the warm-up.
      final: the learning rate after the last update, as a fraction of the peak; above 0 for "exponential".

    Returns:
      An `optax.Schedule`, a function of the step `[]`.

    Raises:
      ValueError: an unknown name, or a warm-up that does not fit.

    Examples:
      >>> schedule = get_schedule("cosine", 0.5, steps=100, warmup=10)
      >>> [round(float(schedule(step)), 3) for step in (0, 10, 55, 100)]
      [0.0, 0.5, 0.25, 0.0]
    """
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"get_schedule: expected warmup in [0, steps = {steps}), got {warmup}.")
    left = max(steps - warmup, 1)
    if name == "exponential" and not final > 0:
        raise ValueError(f"get_schedule: expected final > 0 for an exponential decay, got {final}.")
    decays: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(learning_rate),
        "linear": lambda: optax.linear_schedule(learning_rate, final * learning_rate, left),
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, left, alpha=final),
        "exponential": lambda: optax.exponential_decay(learning_rate, left, final),
    }
    if name not in decays:
        raise ValueError(f"get_schedule: expected one of {', '.join(decays)}, got {name!r}.")
    if not warmup:
        return decays[name]()
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), decays[name]()], [warmup])
