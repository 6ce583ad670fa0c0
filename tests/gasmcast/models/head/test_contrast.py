import torch

from gasmcast.models.head.contrast import TimeContrast

SHAPE = (2, 5, 4, 8)


def test_what_stays_is_left_as_it_is() -> None:
    still = torch.randn(2, 1, 4, 8).expand(SHAPE)
    torch.testing.assert_close(TimeContrast(8, 3.0)(still), still)


def test_what_changes_is_made_louder_about_the_same_mean() -> None:
    x = torch.randn(SHAPE)
    found = TimeContrast(8, 3.0)(x)
    torch.testing.assert_close(found.mean(1), x.mean(1))
    torch.testing.assert_close(found.std(1), 4 * x.std(1))


def test_a_channel_has_its_own_gain() -> None:
    contrast = TimeContrast(8, 0.0)
    with torch.no_grad():
        contrast.gain[2] = 1.0
    x = torch.randn(SHAPE)
    changed = (contrast(x) != x).flatten(0, 2).any(0)
    assert changed.tolist() == [i == 2 for i in range(8)]
