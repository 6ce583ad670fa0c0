"""Open the data set of a study once, where its rows read the same clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.training.inputs.training_set import TrainingSet, open_training_set

__all__ = ["SharedClips"]


class SharedClips:
    """Data set of a study; clips that would be decoded or encoded alike are shared by its runs.

    Args:
        source: base configuration of the study.
        data: folder of the data set.
        out: folder of the study; features are encoded into its `features` folder.
    """

    def __init__(self, source: str, data: Path, out: Path) -> None:
        self._source, self._data, self._out = source, data, out
        self._decoded: dict[str, TrainingSet] = {}

    def open(self, settings: dict[str, Any]) -> TrainingSet:
        """Return the training set of a run with these dotted settings.

        Raises:
            UsageError: as `open_training_set`.
            MachineError: as `open_training_set`.
        """
        opened = open_training_set(
            self._source, self._data, settings, run_folder=self._out, preload=False
        )
        if isinstance(opened.clips, FeatureDataset):
            return opened

        # Decoded clips depend on the clip spec and the augmentation; the seed is drawn later.
        config = opened.config
        key = config.spec.model_dump_json() + config.augment.model_dump_json()
        if key not in self._decoded:
            opened.preload()
            self._decoded[key] = opened

        # Use this run's settings with the clips decoded by the first run that has the same key. The
        # clips are one object for all of these runs, so it takes the seed of the run that opens it.
        shared = self._decoded[key]
        shared.clips.seed = config.train.seed
        return replace(opened, clips=shared.clips, validation=shared.validation)
