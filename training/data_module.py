"""Feed the trainer: the splits on its device, and the batch to resume an epoch from."""

import lightning
import torch

from data.augmentation import Augmentation
from data.batches import EVALUATION_BATCH, EvaluationBatches, Preprocess, TrainingBatches
from data.splits import Splits


class DeviceDataModule(lightning.LightningDataModule):
    def __init__(
        self, splits: Splits, preprocess: Preprocess, augment: Augmentation | None, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.splits, self.preprocess, self.augment = splits, preprocess, augment
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> TrainingBatches:
        images = self.splits.train.to(self._device)
        position, ranks = self._position, self._rank_and_world
        return TrainingBatches(images, self.batch_size, self.preprocess, self.seed, position, self.augment, *ranks)

    def val_dataloader(self) -> EvaluationBatches | list:
        if self.splits.val is None:
            return []
        images = self.splits.val.to(self._device)
        return EvaluationBatches(images, EVALUATION_BATCH, self.preprocess, *self._rank_and_world)

    @property
    def _device(self) -> torch.device:
        assert self.trainer is not None
        return self.trainer.strategy.root_device

    @property
    def _rank_and_world(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size

    def _position(self) -> tuple[int, int]:
        """Return the epoch and its first batch still to be trained on, derived from the loop's own counters: a stored
        position would skip an epoch when the checkpoint was saved at the last batch.
        """
        assert self.trainer is not None
        fit_loop = self.trainer.fit_loop
        if fit_loop.restarting or fit_loop.epoch_loop.restarting:
            done = fit_loop.epoch_loop.batch_idx + 1
            if done < self.trainer.num_training_batches:
                return self.trainer.current_epoch, done
        return self.trainer.current_epoch, 0
