"""What `--preset` changes, by name. `min-char-rnn` is the 112-line program of the course notes."""

PRESETS = {
    "shakespeare-cpu": {
        "preset": "shakespeare-cpu",
        "data": "shakespeare",
        "cell": "gru",
        "steps": 2000,
        "sample_every": 400,
        "evaluate_every": 1000,
    },
    "min-char-rnn": {
        "preset": "min-char-rnn",
        "cell": "rnn",
        "hidden": 100,
        "init": "normal",
        "batch": 1,
        "window": 25,
        "restart_every": 0,
        "steps": 20_000,
        "optimizer": "adagrad_min_char_rnn",
        "learning_rate": 0.1,
        "schedule": "constant",
        "warmup": 0,
        "clip_norm": 0.0,
        "objective": "sum",
        "steps_per_call": 100,
        "sample_every": 100,
        "temperature": 1.0,
        "evaluate_every": 10_000,
        "checkpoint_every": 10_000,
    },
}
