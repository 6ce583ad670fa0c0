"""The feature cache: same logits, resumed, verified, never used for another model or set."""

from __future__ import annotations

import os
import signal
from copy import deepcopy
from math import isqrt, prod
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gasmcast.config import Config, load_config
from gasmcast.data.annotations import Sample
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import MachineError, UsageError
from gasmcast.features import cache_plan as cacheplan
from gasmcast.features import encode as encoding
from gasmcast.features import feature_dataset as features
from gasmcast.features.cache_plan import plan_cache
from gasmcast.features.encode import fill_cache, missing_shards
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.model import GasmCast, build_model
from gasmcast.tensorfile import read_tensors

COUNT = 5


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("demo", {"model.freeze": True, "model.classes": 2})


@pytest.fixture(scope="module")
def model(config: Config) -> GasmCast:
    torch.manual_seed(0)
    return build_model(config).eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        writer = cv2.VideoWriter(
            str(folder / f"{i}.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (80, 64)
        )
        for _ in range(8):
            writer.write(
                np.kron(rng.integers(0, 256, (8, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            )
        writer.release()
    return [Sample(str(i), i % 2, str(folder / f"{i}.mp4")) for i in range(COUNT)]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cacheplan, "SHARD_ROWS", 2)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_give_the_logits_of_clips(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample], dtype: str
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "validation", dtype=dtype)
    assert len(plan.shards) > 1
    assert fill_cache(plan, model, config, samples, {}) == []
    assert sum(path.stat().st_size for path in plan.shards) == pytest.approx(plan.bytes, rel=0.01)
    cache, clips = FeatureDataset(plan, samples), ClipDataset(samples, config.spec)
    assert (len(cache), cache.labels, cache.ids) == (COUNT, clips.labels, clips.ids)
    for rows, labels, indices in DataLoader(cache, batch_size=3, num_workers=1):
        with torch.no_grad():
            expected = model(torch.stack([clips[int(i)][0] for i in indices]))
            given = model.classify(model.encode(rows))
        assert (given - expected).abs().max() < (1e-5 if dtype == "float32" else 5e-2)
        assert labels.tolist() == [clips.labels[i] for i in indices]


def test_views_are_what_training_draws(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample]
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train", views=3, dtype="float32")
    fill_cache(plan, model, config, samples, {})
    cache = FeatureDataset(plan, samples, seed=1, draw=True)
    drawn = ClipDataset(samples, config.spec, config.augment)
    with torch.no_grad():
        views = [
            model.backbone_taps(
                (drawn.draw(2, v) if v else ClipDataset(samples, config.spec)[2])[0][None]
            )[0]
            for v in range(3)
        ]
    seen = set()
    for epoch in range(12):
        cache.set_epoch(epoch)
        row = cache[2][0]
        assert torch.equal(row, cache[2][0])
        seen.add(next(v for v in range(3) if torch.allclose(row, views[v], atol=1e-4)))
    assert seen == {0, 1, 2}
    assert torch.allclose(cache.plain()[2][0], views[0], atol=1e-4)


@pytest.mark.usefixtures("small_shards")
def test_goes_on_after_a_stop_and_mends_what_is_torn(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample]
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train", dtype="float32")

    def stop(stage: str, done: int = 0, total: int = 0) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_cache(plan, model, config, samples, {}, batch_size=1, progress=stop)
    with pytest.raises(UsageError, match="unfinished"):
        FeatureDataset(plan, samples)
    left = missing_shards(plan)
    assert 0 < len(left) < len(plan.shards)
    kept = plan.shards[0].stat().st_mtime_ns
    fill_cache(plan, model, config, samples, {}, batch_size=3, workers=1)
    assert plan.shards[0].stat().st_mtime_ns == kept
    content = bytearray(plan.shards[1].read_bytes())
    content[-5] ^= 1
    plan.shards[1].write_bytes(content)
    with pytest.raises(UsageError, match=r"digest\)\. Run `gasmcast cache` again"):
        FeatureDataset(plan, samples)
    assert missing_shards(plan) == [1]
    fill_cache(plan, model, config, samples, {})
    assert len(FeatureDataset(plan, samples)) == COUNT
    plan.shards[1].unlink()
    with pytest.raises(UsageError, match="lacks shard-00001"):
        FeatureDataset(plan, samples)


@pytest.mark.usefixtures("small_shards")
def test_shards_are_read_whole_once(
    tmp_path: Path,
    config: Config,
    model: GasmCast,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train")
    read: list[Path] = []
    rows: list[tuple[int, int]] = []
    for module in (encoding, features):
        monkeypatch.setattr(
            module, "read_tensors", lambda path: read.append(path) or read_tensors(path)
        )
    fill_cache(plan, model, config, samples, {}, progress=lambda stage, *done: rows.append(done))
    assert read == []
    assert (rows[0], rows[-1]) == ((0, COUNT), (COUNT, COUNT))
    rows.clear()
    fill_cache(plan, model, config, samples, {}, progress=lambda stage, *done: rows.append(done))
    kept = FeatureDataset(plan, samples, verify=False)
    assert read == plan.shards
    assert rows == [(COUNT, COUNT)]
    assert (
        kept.labels == FeatureDataset(plan, samples).labels == [sample.label for sample in samples]
    )
    assert len(read) == 2 * len(plan.shards)


@pytest.mark.parametrize(
    ("given", "made"),  # (clips, views), (rows per shard, shards)
    [((5, 1), (5, 1)), ((111, 1), (16, 7)), ((111, 3), (16, 21)), ((70_000, 1), (18, 3889))],
)
def test_shards_are_short_and_not_too_many(
    tmp_path: Path, config: Config, model: GasmCast, given: tuple[int, int], made: tuple[int, int]
) -> None:
    plan = plan_cache(
        model,
        config,
        [Sample(str(i), 0, None) for i in range(given[0])],
        tmp_path,
        "train",
        views=given[1],
    )
    assert (plan.shard_rows, len(plan.shards)) == made


def test_a_replaced_video_is_another_set_and_a_copied_one_the_same(
    tmp_path: Path, config: Config, model: GasmCast
) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(bytes(20_000))
    plan = plan_cache(model, config, [Sample("a", 0, str(video))], tmp_path, "train")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(bytes(20_000))
    os.utime(copy, (0, 0))
    assert plan_cache(model, config, [Sample("a", 0, str(copy))], tmp_path, "train").key == plan.key
    for place in (0, 19_999):
        content = bytearray(20_000)
        content[place] = 1
        video.write_bytes(content)
        assert (
            plan_cache(model, config, [Sample("a", 0, str(video))], tmp_path, "train").key
            != plan.key
        )


def test_another_model_or_set_is_another_cache(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample]
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train")
    fill_cache(plan, model, config, samples, {})
    torch.manual_seed(1)
    other = build_model(config)
    changed = [*samples[:-1], Sample("9", 1, samples[-1].video)]
    darker, steeper = deepcopy(model), deepcopy(model)
    darker.encoder.semantic.normalize.shift -= 0.1
    steeper.encoder.motion.normalize.scale *= 2
    for differing, what in (
        (plan_cache(other, config, samples, tmp_path, "train"), "semantic weights, motion weights"),
        (plan_cache(darker, config, samples, tmp_path, "train"), "semantic pixels"),
        (plan_cache(steeper, config, samples, tmp_path, "train"), "motion pixels"),
        (plan_cache(model, config, changed, tmp_path, "train"), "set"),
        (plan_cache(model, config, samples, tmp_path, "train", views=2), "views"),
        (plan_cache(model, config, samples, tmp_path, "train", dtype="float32"), "dtype"),
    ):
        assert differing.key != plan.key
        with pytest.raises(UsageError, match=f"differs in {what}") as caught:
            FeatureDataset(differing, samples)
        assert "\n" not in str(caught.value)
    cache = FeatureDataset(plan, samples)
    cache.check(model)
    with pytest.raises(UsageError, match="other backbone weights"):
        cache.check(other)


def test_seeds_share_views_and_one_stream_reads_the_cache_of_both(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample]
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train", views=2, dtype="float32")
    other_seed = config.model_copy(update={"train": config.train.model_copy(update={"seed": 7})})
    assert (
        plan_cache(model, other_seed, samples, tmp_path, "train", views=2, dtype="float32").key
        == plan.key
    )
    fill_cache(plan, model, config, samples, {})
    whole = FeatureDataset(plan, samples)[1][0]
    parts = []
    for stream in ("semantic", "motion"):
        one = config.model_copy(
            update={"model": config.model.model_copy(update={"streams": stream})}
        )
        alone = GasmCast(one.model, one.spec).eval()
        getattr(alone.encoder, stream).load_state_dict(getattr(model.encoder, stream).state_dict())
        assert not plan_cache(
            alone, one, samples, tmp_path / "elsewhere", "train", views=2, dtype="float32"
        ).shared
        theirs = plan_cache(alone, one, samples, tmp_path, "train", views=2, dtype="float32")
        assert (theirs.folder, theirs.shared) == (plan.folder, True)
        assert not missing_shards(theirs)
        cache = FeatureDataset(theirs, samples)
        cache.check(alone)
        parts.append(cache[1][0])
        with torch.no_grad():
            assert torch.allclose(
                parts[-1],
                alone.backbone_taps(ClipDataset(samples, one.spec)[1][0][None])[0],
                atol=1e-4,
            )
        brighter = deepcopy(alone)
        getattr(brighter.encoder, stream).normalize.shift += 0.1
        assert not plan_cache(
            brighter, one, samples, tmp_path, "train", views=2, dtype="float32"
        ).shared
    assert torch.equal(torch.cat(parts), whole)
    plan.shards[0].write_bytes(b"torn")
    with pytest.raises(
        UsageError, match=r"holds both streams, and shard-00000\.safetensors is damaged"
    ):
        fill_cache(theirs, alone, one, samples, {})


def test_tokens_of_cells_are_a_quarter_and_the_same_means(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample]
) -> None:
    cells = config.model_copy(
        update={"model": config.model.model_copy(update={"semantic_tokens": "cell"})}
    )
    small = GasmCast(cells.model, cells.spec).eval()
    small.encoder.semantic.load_state_dict(model.encoder.semantic.state_dict())
    small.encoder.motion.load_state_dict(model.encoder.motion.state_dict())
    full, plan = (
        plan_cache(m, c, samples, tmp_path, "train", dtype="float32")
        for m, c in ((model, config), (small, cells))
    )
    semantic, cell_shapes = model.encoder.tap_shapes()[0], small.encoder.tap_shapes()[0]
    assert full.width - plan.width == 3 * sum(prod(shape) for shape in cell_shapes)
    fill_cache(plan, small, cells, samples, {})
    with torch.no_grad():
        row = model.backbone_taps(ClipDataset(samples, config.spec)[0][0][None])[0]
    n, f, patches, channels = semantic[0]
    side = isqrt(patches)
    means = (
        row[: prod(semantic[0])].reshape(n, f, side // 2, 2, side // 2, 2, channels).mean((3, 5))
    )
    stored = FeatureDataset(plan, samples)[0][0]
    assert torch.allclose(stored[: means.numel()], means.flatten(), atol=1e-5)


def test_bad_clips_are_left_out(
    tmp_path: Path,
    config: Config,
    model: GasmCast,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gasmcast.data.failures.BAD_SHARE", 0.5)
    some = [*samples[:2], Sample("bad", 1, str(tmp_path / "none.mp4")), *samples[2:]]
    plan = plan_cache(model, config, some, tmp_path / "caches", "train", views=2)
    assert fill_cache(plan, model, config, some, {}) == ["bad"]
    cache = FeatureDataset(plan, some)
    assert cache.ids == [sample.id for sample in samples]
    assert cache[2][1:] == (0, 2)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.usefixtures("dead_workers")
def test_a_worker_that_dies_is_one_sentence_and_what_is_encoded_is_kept(
    tmp_path: Path,
    config: Config,
    model: GasmCast,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = ClipDataset.draw
    plan = plan_cache(model, config, samples, tmp_path, "train")

    def dying(self: ClipDataset, index: int, epoch: int) -> tuple[torch.Tensor, int, int]:
        if index == COUNT - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, index, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "draw", dying)
        with pytest.raises(
            MachineError, match=r"data worker died.*the same command goes on"
        ) as caught:
            fill_cache(plan, model, config, samples, {}, batch_size=1, workers=1)
        assert "--resume" not in str(caught.value)
        assert "\n" not in str(caught.value)
    fill_cache(plan, model, config, samples, {})
    assert len(FeatureDataset(plan, samples)) == COUNT

    def elsewhere(
        stage: str, done: int = 0, total: int = 0
    ) -> None:  # the signal may arrive anywhere in the main process
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    with pytest.raises(MachineError, match="data worker died"):
        fill_cache(plan, model, config, samples, {}, progress=elsewhere)


@pytest.mark.parametrize("content", ['{"key": "', "[]", ""])
def test_a_damaged_index_is_one_sentence(
    tmp_path: Path, config: Config, model: GasmCast, samples: list[Sample], content: str
) -> None:
    plan = plan_cache(model, config, samples, tmp_path, "train")
    fill_cache(plan, model, config, samples, {})
    (plan.folder / "index.json").write_text(content)
    other = plan_cache(model, config, samples, tmp_path, "train", views=2)
    for wanted in (plan, other):  # its own, and one that explains why there is none
        with pytest.raises(UsageError, match=r"index\.json is damaged .*Remove it"):
            FeatureDataset(wanted, samples)
    (plan.folder / "index.json").unlink()
    fill_cache(plan, model, config, samples, {})
    assert len(FeatureDataset(plan, samples)) == COUNT


def test_refusals(
    tmp_path: Path,
    config: Config,
    model: GasmCast,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = config.model_copy(update={"model": config.model.model_copy(update={"freeze": False})})
    with pytest.raises(UsageError, match="backbones of this model train"):
        plan_cache(model, live, samples, tmp_path, "train")
    with pytest.raises(UsageError, match="is empty"):
        plan_cache(model, config, [], tmp_path, "train")
    plan = plan_cache(model, config, samples, tmp_path, "train")
    with pytest.raises(UsageError, match="no cache of the train split"):
        FeatureDataset(plan, samples)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(MachineError, match="The cache needs"):
        fill_cache(plan, model, config, samples, {})
