import numpy as np
import pytest

from gasmcast.config import load_config
from gasmcast.explain.faithfulness import of_clip
from gasmcast.explain.occlusion import STEPS, Curves, occlude, patch_scores, segment_drops
from gasmcast.explain.subject import Explained, Subject
from gasmcast.labels import Labels

CONFIG = load_config("demo")
SPEC = CONFIG.spec


def looks_at(segment, row, col):
    """Return a subject whose class depends on the red of one patch of one segment alone."""
    pixels = SPEC.pixels // 4

    def logits(clips):
        patch = clips[:, 1 + segment, :, row * pixels : (row + 1) * pixels]
        red = patch[:, :, :, col * pixels : (col + 1) * pixels, 0].mean((1, 2, 3))
        return np.stack([(red - 150) / 10, np.zeros(len(clips))], 1).astype(np.float32)

    return Subject("fake", SPEC, Labels(["a", "b"]), CONFIG.model, 1.0, logits, lambda _: None)


@pytest.fixture
def clip():
    """Gray clip with one red patch in the third segment."""
    clip = np.full(SPEC.clip_shape, 60, np.uint8)
    clip[3, :, 16:32, 32:48, 0] = 255
    return clip


def scores_of(place):
    scores = np.full((SPEC.segments, 4, 4), 0.001)
    scores[place] = 1.0
    return scores


def test_attention_on_the_decisive_patch_is_faithful(clip):
    subject = looks_at(2, 1, 2)
    occlusion = occlude(subject, clip, scores_of((2, 1, 2)), orders=6)
    assert occlusion.most.deletion[0] > 0.99
    assert occlusion.most.deletion[1:].max() < 0.01
    assert occlusion.most.insertion[1:].min() > 0.99
    assert occlusion.least.deletion[STEPS - 1] > 0.99

    check = of_clip(occlusion)
    assert check
    assert check.deletion_auc == pytest.approx(0.05, abs=0.01)
    assert check.insertion_auc == pytest.approx(0.95, abs=0.01)
    assert "is faithful" in str(check)


def test_attention_elsewhere_is_not_faithful(clip):
    subject = looks_at(2, 1, 2)
    scores = np.full((SPEC.segments, 4, 4), 1.0)
    scores[2, 1, 2] = 0.001
    check = of_clip(occlude(subject, clip, scores, orders=6))
    assert not check
    assert "NOT faithful here, it is worse" in str(check)
    assert check.to_json()["faithful"] is False


def test_only_the_decisive_segment_matters(clip):
    drops = segment_drops(looks_at(2, 1, 2), clip)
    assert drops[2] > 0.9
    np.testing.assert_allclose(np.delete(drops, 2), 0, atol=1e-6)


def test_the_area_is_that_of_trapezoids():
    curve = np.linspace(1, 0, STEPS + 1)
    assert Curves(curve, curve**0).deletion_auc == pytest.approx(0.5)
    assert Curves(curve, curve**0).insertion_auc == pytest.approx(1.0)


def test_scores_add_frames_and_share_cells():
    subject = looks_at(0, 0, 0)
    semantic = np.zeros((4, 16))
    semantic[1, 5] = 1.0
    motion = np.zeros((4, 4))
    motion[3, 2] = 1.0  # the lower left cell of four
    maps = {"read_out.semantic": semantic, "read_out.motion": motion}
    scores = patch_scores(subject, Explained(maps, {}, []))
    assert scores.sum() == pytest.approx(1)
    assert scores[1, 1, 1] == pytest.approx(0.5)
    np.testing.assert_allclose(scores[3, 2:, :2], 0.125)

    # A model of one stream has one read-out, and motion alone has its own coarse grid.
    alone = CONFIG.model.model_copy(update={"streams": "motion"})
    other = Subject("", SPEC, subject.labels, alone, 1.0, subject.logits, subject.explain)
    assert patch_scores(other, Explained({"read_out.motion": motion}, {}, [])).shape == (4, 2, 2)
