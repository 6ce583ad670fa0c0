"""Background that is taught as none of the classes: from videos, and from unlabeled time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gasmcast.data.synthetic.clips import make_set
from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import read_out_of_fold
from gasmcast.evaluation.predict import predict
from gasmcast.evaluation.teacher_opinion import POOLED
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.inputs.background_clips import add_background, find_background_clips
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.training.stacking import folds
from gasmcast.training.stacking.cross_validation import cross_validate
from tests.conftest import write_video
from tests.gasmcast.training.inputs.tiny_training import TINY, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("background") / "data"
    make_set(folder, clips=75)
    # Two clips of each class, and none to choose an epoch by.
    file = folder / "labels" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:30]))
    (folder / "labels" / "validation.json").unlink()
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("room") / "room.mp4", 60, fps=10, size=(64, 48))


def test_targets_of_background_are_even_beside_those_of_a_teacher() -> None:
    taught = ClipTargets(
        rows={"a": 0},
        probabilities={POOLED: torch.tensor([[0.9, 0.1]]), "motion": torch.tensor([[0.3, 0.7]])},
        no_class=frozenset({"a"}),
        share=0.5,
    )
    windows = [type("Window", (), {"id": f"background/{k}"})() for k in range(2)]
    both = add_background(taught, windows, 2)
    assert both.no_class == {"a", "background/0", "background/1"}

    given = torch.tensor([[1.0, 0.0]] * 3)
    ids = ["a", "background/1", "another"]
    torch.testing.assert_close(
        both.blend(given, ids, ("motion", "fused")),
        torch.tensor([[[0.3, 0.7], [0.9, 0.1]], [[0.5, 0.5]] * 2, [[1.0, 0.0]] * 2]),
    )
    alone = add_background(None, windows, 2)
    torch.testing.assert_close(
        alone.blend(given, ids, ()), torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    )


def test_background_joins_the_clips_and_no_fold(data: Path, room: Path, tmp_path: Path) -> None:
    opened = open_training_set("demo", data, {**TINY, "train.background": str(room)})
    plain = open_training_set("demo", data, TINY)
    names = opened.without_class()
    assert len(opened.clips) == len(plain.clips) + len(names)
    assert 0 < len(names) <= len(plain.clips) / 2
    assert all(name.startswith("background/") for name in names)

    # The folds judge the clips with a class, and none of the windows.
    result = train(data, tmp_path / "run", background=room, folds=2)
    assert result.out_of_fold_top1 is not None
    judged = read_out_of_fold(tmp_path / "run")
    assert judged is not None
    assert judged.clips == len(plain.clips)


def test_a_model_is_less_sure_of_background_that_it_has_seen(
    data: Path, room: Path, tmp_path: Path
) -> None:
    windows = open_training_set("demo", data, {**TINY, "train.background": str(room)}).clips
    seen = [i for i, name in enumerate(windows.ids) if name.startswith("background/")]
    sure = {}
    for name, options in (("plain", {}), ("taught", {"background": room})):
        run = train(data, tmp_path / name, settings={"train.epochs": 12}, **options)
        model = load_checkpoint(run.checkpoint)[0].eval()

        def classify(clips: np.ndarray, model: torch.nn.Module = model) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(clips)).numpy()

        logits, _ = predict(classify, windows.plain())
        probabilities = torch.from_numpy(logits).softmax(1).amax(1)
        sure[name] = float(probabilities[seen].mean())
    assert sure["taught"] < sure["plain"]


def test_unlabeled_time_of_training_videos_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 30, fps=10, size=(64, 48))
    write_video(tmp_path / "judged.mp4", 30, fps=10, size=(64, 48))
    rows = ["video,label,start,end,split"]
    rows += [f"long.mp4,{'wave' if k % 2 else 'nod'},{k},{k + 1},train" for k in range(8, 20)]
    rows += ["judged.mp4,wave,1,3,val"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows) + "\n")

    opened = open_training_set("demo", table, {**TINY, "train.background": "unlabeled"})
    clips = [sample for sample in opened.clips.samples if sample.id in opened.without_class()]
    assert {Path(str(clip.video)).name for clip in clips} == {"long.mp4"}
    assert all(clip.end_s <= 7 or clip.start_s >= 21 for clip in clips)


def test_unlabeled_time_of_a_recording_trains_no_fold_that_holds_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["video,label,start,end,source"]
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", 20, fps=10, size=(64, 48))
        rows += [
            f"{number}.mp4,{('wave', 'nod')[k % 2]},{k},{k + 1},room {number // 2}"
            for k in (8, 9, 10)
        ]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows) + "\n")
    opened = open_training_set(
        "demo", table, {**TINY, "train.background": "unlabeled"}, folds=2, preload=False
    )
    video_of = {sample.id: Path(str(sample.video)).stem for sample in opened.clips.samples}
    windows = opened.without_class()
    assert windows

    # Which clips train each fold; nothing is trained or scored here.
    trained: list[set[str]] = []

    def note_clips(_config, clips, *_given, **_named) -> dict[str, str]:
        trained.append(set(clips.ids))
        return {"stopped": "", "checkpoint": ""}

    monkeypatch.setattr(folds, "train", note_clips)
    monkeypatch.setattr(
        folds,
        "score_read_outs",
        lambda _, held_out, __: (np.zeros((1, len(held_out), 2)), np.arange(len(held_out))),
    )
    cross_validate(opened, tmp_path / "run", 2, resume=False)

    assert len(trained) == 2
    for ids in trained:
        rooms = {int(video_of[name]) // 2 for name in ids - windows}
        assert len(rooms) == 1
        assert {int(video_of[name]) // 2 for name in ids & windows} <= rooms
    assert set().union(*trained) == set(video_of)


@pytest.mark.parametrize(
    ("background", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("unlabeled", "unlabeled gives no window of"),
        ("{short}", "gives no window of"),
    ],
)
def test_background_without_windows_is_refused(
    data: Path, tmp_path: Path, background: str, message: str
) -> None:
    text = background.format(short=write_video(tmp_path / "short.mp4", 0.3, fps=10, size=(64, 48)))
    with pytest.raises(UsageError, match=message):
        find_background_clips(text, data, 2.0, [], 2)
