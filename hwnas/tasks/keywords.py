"""The user's own spoken words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.core.task import Split, Task, suits
from hwnas.core.waveform import WaveformPreprocessing
from hwnas.errors import ConfigError, DataError
from hwnas.tasks.build import MAX_DATA_BYTES, fingerprint_of
from hwnas.tasks.divide import class_names, divide
from hwnas.tasks.recordings import LAYOUTS, find_clips
from hwnas.tasks.waves import Clip, fit_clip

__all__ = ["load"]

HIGHEST_HZ = 16_000  # of speech, nothing that tells words apart is lost
LONGEST_S, SHORTEST_S = 1.0, 0.1
PERCENTILE = 95  # of the lengths, that become the network's


@suits("ds-cnn")
def load(data: Path | None = None, *, input_shape: tuple[int, ...] | None = None, seed: int = 0) -> Task:
    """Spoken words: a folder of WAV files a word, or parquet files with PCM; the network computes the spectrum.

    WAV files may have 8, 16, 24 or 32 bits and any rate; several channels are averaged. All become clips of one rate
    (the commonest, at most 16 kHz) and one length (that of the 95th percentile, at most 1 s): longer ones lose as much
    at both ends, shorter ones get zeros there. No speaker is in two splits, where the data say who speaks (a parquet
    column `speaker`, or file names as in Speech Commands); else the data's own splits are used, and missing ones are
    15 % of each class.

    Args:
        data: a folder or a parquet file.
        input_shape: (1, samples); None: as above.
        seed: not used: the split is the same for all seeds, so that searches can be compared.
    Raises:
        DataError: the data is missing, empty, arranged in no known way, or a recording or label is broken.
        ConfigError: `input_shape` is not one of a waveform.
    """
    if data is None:
        raise DataError(f"task 'keywords' needs --data PATH; {LAYOUTS}")
    clips = find_clips(data)
    rate, n_samples = _common(clips)
    if input_shape is not None:
        if len(input_shape) != 2 or input_shape[0] != 1 or input_shape[1] < 1:
            raise ConfigError(f"input_shape of task 'keywords' must be (1, samples), got {input_shape}")
        n_samples = input_shape[1]
    if 2 * n_samples * len(clips) > MAX_DATA_BYTES:
        raise DataError(f"{data}: {len(clips)} clips of {n_samples} samples are more than 8 GiB; use fewer")
    labels = [clip.label for clip in clips]
    places, how = divide(data, labels, [clip.split for clip in clips], [clip.speaker for clip in clips])
    names = class_names(labels)
    number = {name: index for index, name in enumerate(names)}
    values = np.stack([fit_clip(clip, rate, n_samples) for clip in clips])[:, None]
    targets = np.array([number[label] for label in labels], dtype=np.int64)
    splits = {split: Split(values[chosen], targets[chosen]) for split, chosen in places.items()}
    preprocessing = WaveformPreprocessing(rate, n_samples)
    return Task(
        name="keywords",
        input_shape=(1, n_samples),
        n_outputs=len(names),
        class_names=tuple(str(name) for name in names),
        preprocessing=preprocessing,
        augmentation="waveform",
        source=f"recordings in {data.name}; {how}",
        fingerprint=fingerprint_of(splits, [*map(str, names), repr(preprocessing)]),
        **splits,
    )


def _common(clips: Sequence[Clip]) -> tuple[int, int]:
    """Rate in Hz and length in samples that suit most clips."""
    counts = Counter(clip.sample_rate for clip in clips)
    rate = min(HIGHEST_HZ, max(counts, key=lambda hertz: (counts[hertz], hertz)))
    usual_s = np.percentile([len(clip.samples) / clip.sample_rate for clip in clips], PERCENTILE)
    step = rate // 100  # whole hundredths of a second
    return rate, int(np.ceil(np.clip(usual_s, SHORTEST_S, LONGEST_S) * rate / step)) * step
