"""What `--preset` changes, by name. `min-char-rnn` is the 112-line program of the course notes."""

MODEL = {"preset": "min-char-rnn", "cell": "rnn", "hidden": 100, "init": "normal", "batch": 1, "window": 25}
MODEL |= {"restart_every": 0, "objective": "sum", "temperature": 1.0}
STEPS = {"steps": 20_000, "optimizer": "adagrad_min_char_rnn", "learning_rate": 0.1, "schedule": "constant"}
STEPS |= {"warmup": 0, "clip_norm": 0.0, "steps_per_call": 100}
STEPS |= {"sample_every": 100, "evaluate_every": 10_000, "checkpoint_every": 10_000}
SHAKESPEARE = {"preset": "shakespeare-cpu", "data": "shakespeare", "cell": "gru", "steps": 2000}
SHAKESPEARE |= {"sample_every": 400, "evaluate_every": 1000}
PRESETS = {"shakespeare-cpu": SHAKESPEARE, "min-char-rnn": MODEL | STEPS}
