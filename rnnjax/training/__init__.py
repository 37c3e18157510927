"""Training: state, steps, the loop around them, checkpoints, and a batch split over devices."""

from rnnjax.training._checkpoints import Checkpoints, Restored, make_folder
from rnnjax.training._optimizers import adagrad_min_char_rnn, get_optimizer, get_schedule
from rnnjax.training._parallel import split_batch
from rnnjax.training._reporting import MetricsLog
from rnnjax.training._training import (
    EarlyStop,
    FitResult,
    Metrics,
    Progress,
    Snapshot,
    TrainState,
    fit,
    init_state,
    make_tbptt_step,
    make_train_step,
    restore_progress,
)

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
    "get_optimizer",
    "get_schedule",
    "init_state",
    "make_folder",
    "make_tbptt_step",
    "make_train_step",
    "restore_progress",
    "split_batch",
]
