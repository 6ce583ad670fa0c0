"""Workers that die: the error is one sentence, wherever the death is noticed."""

import pytest

from gasmcast.data import data_workers
from gasmcast.data.data_workers import WorkerDiedError, iterate_loader


class Loader:
    """A loader whose second batch raises an error."""

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
    monkeypatch.setattr(data_workers, "_SIGNAL_WAIT_S", 0.0)
    batches = iterate_loader(Loader(error))
    assert next(batches) == "first"
    with pytest.raises(
        WorkerDiedError,
        match=r"^A data worker died \(DataLoader worker is gone: \w+\)\. Often memory",
    ):
        next(batches)


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (FileNotFoundError("clip.mp4"), 0),
        (FileNotFoundError("Caught FileNotFoundError.\nOriginal Traceback"), 1),
        (PermissionError(), 1),
    ],
)
def test_what_the_set_itself_lacks_is_no_death(error, workers):
    with pytest.raises(type(error)) as caught:
        list(iterate_loader(Loader(error, workers)))
    assert caught.value is error
