"""Workers that die: what of it is told, wherever it is noticed."""

import pytest

from gasmcast.data import clip_set as clips
from gasmcast.data.clip_set import WorkerDiedError, batches


class Loader:
    """A loader whose second batch is not to be had."""

    def __init__(self, error, workers=1):
        self.error, self.num_workers = error, workers

    def __iter__(self):
        yield "first"
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        ConnectionRefusedError(),
        EOFError(),
        FileNotFoundError("socket"),
    ],
)
def test_a_worker_that_dies_with_a_batch_still_to_fetch_is_one_sentence(error, monkeypatch):
    monkeypatch.setattr(clips, "_MOMENT_S", 0.0)
    stream = batches(Loader(error))
    assert next(stream) == "first"
    with pytest.raises(
        WorkerDiedError,
        match=r"^A data worker died \(DataLoader worker is gone: \w+\)\. Often memory",
    ):
        next(stream)


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (FileNotFoundError("clip.mp4"), 0),
        (FileNotFoundError("Caught FileNotFoundError.\nOriginal Traceback"), 1),
        (PermissionError(), 1),
    ],
)
def test_what_the_set_itself_lacks_is_no_death(error, workers):
    with pytest.raises(type(error)) as told:
        list(batches(Loader(error, workers)))
    assert told.value is error
