"""What feeds the trainer: the splits, moved to its device once, and the place in the epoch to go on from."""

import lightning

from data.batches import EVALUATION_BATCH, EvaluationBatches, Preprocess, TrainingBatches
from data.splits import Splits


class DeviceDataModule(lightning.LightningDataModule):
    def __init__(self, splits: Splits, preprocess: Preprocess, batch_size: int, seed: int) -> None:
        super().__init__()
        self.splits, self.preprocess, self.batch_size, self.seed = splits, preprocess, batch_size, seed

    def train_dataloader(self) -> TrainingBatches:
        images = self.splits.train.to(self._device)
        return TrainingBatches(
            images,
            self.batch_size,
            self.preprocess,
            self.seed,
            self._position,
            self.splits.augment,
            *self._rank_and_world,
        )

    def val_dataloader(self) -> EvaluationBatches | list:
        if self.splits.val is None:
            return []
        return EvaluationBatches(
            self.splits.val.to(self._device), EVALUATION_BATCH, self.preprocess, *self._rank_and_world
        )

    @property
    def _device(self):
        assert self.trainer is not None
        return self.trainer.strategy.root_device

    @property
    def _rank_and_world(self) -> tuple[int, int]:
        """Which of how many processes this is."""
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size

    def _position(self) -> tuple[int, int]:
        """The epoch and its first batch still to be trained on, from the loop's own counters: a stored position would
        skip an epoch when a checkpoint falls on the last batch.
        """
        assert self.trainer is not None
        fit_loop = self.trainer.fit_loop
        if fit_loop.restarting or fit_loop.epoch_loop.restarting:
            done = fit_loop.epoch_loop.batch_idx + 1
            if done < self.trainer.num_training_batches:
                return self.trainer.current_epoch, done
        return self.trainer.current_epoch, 0
