"""The learning rate among the figures of a run."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class LearningRateRecord(Callback):
    """Logs the learning rate as `lr` for the steps whose losses are logged."""

    def __init__(self, *, log_every_n_steps: int) -> None:
        self._period = log_every_n_steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Logs the rate that this step is going to use; the host knows it, so no device is asked."""
        del pl_module, batch
        step = trainer.global_step
        if (step + 1) % self._period == 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            rate = float(trainer.optimizers[0].param_groups[0]["lr"])
            for logger in trainer.loggers:
                logger.log_metrics({"lr": rate, "epoch": trainer.current_epoch}, step=step)
