"""Pairs of classes that show each other when played backward."""

from gasmcast.data.reversals import PAIRS, reversals
from gasmcast.data.synthetic import scenes
from gasmcast.labels import ssv2_labels


def test_pairs_are_official_names_and_each_name_is_in_one():
    names = [name for pair in PAIRS for name in pair]
    assert len(names) == len(set(names))
    assert set(names) <= set(ssv2_labels().names)
    assert {frozenset(pair) for pair in scenes.PAIRS.values()} <= {
        frozenset(pair) for pair in PAIRS
    }


def test_numbers_go_both_ways():
    labels = ssv2_labels()
    found = reversals(labels.names)
    assert len(found) == 2 * len(PAIRS)
    assert all(found[found[i]] == i != found[i] for i in found)
    assert found[labels.index("Opening something")] == labels.index("Closing something")
    assert reversals(
        ("Folding something", "Holding something", "Unfolding something", "Opening something")
    ) == {0: 2, 2: 0}
