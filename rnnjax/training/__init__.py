"""Training: one step, the loop around it, checkpoints, and many devices."""

from rnnjax.training._checkpoints import Checkpoints, make_folder
from rnnjax.training._devices import gather, shard, split_units, unit_specs
from rnnjax.training._fit import FitResult, fit
from rnnjax.training._metrics import MetricsLog
from rnnjax.training._optimizers import adagrad_min_char_rnn, get_optimizer, get_schedule
from rnnjax.training._reading import Restored
from rnnjax.training._resuming import Progress, restore_params, restore_progress
from rnnjax.training._run import Snapshot
from rnnjax.training._state import TrainState, init_state
from rnnjax.training._step import Metrics, make_train_step
from rnnjax.training._stopping import EarlyStop

__all__ = [
    "Checkpoints",
    "EarlyStop",
    "FitResult",
    "Metrics",
    "MetricsLog",
    "Progress",
    "Restored",
    "Snapshot",
    "TrainState",
    "adagrad_min_char_rnn",
    "fit",
    "gather",
    "get_optimizer",
    "get_schedule",
    "init_state",
    "make_folder",
    "make_train_step",
    "restore_params",
    "restore_progress",
    "shard",
    "split_units",
    "unit_specs",
]
