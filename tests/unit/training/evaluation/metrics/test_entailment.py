from __future__ import annotations

from training.evaluation.metrics import is_entailed

_TRUTH = [(0, (0.0, 0.0, 10.0, 10.0))]


def test_exactly_half_is_not_entailed():
    assert not is_entailed([(0, (0.0, 5.0, 10.0, 15.0))], _TRUTH)
    assert is_entailed([(0, (0.0, 4.0, 10.0, 13.0))], _TRUTH)


def test_a_small_candidate_inside_is_entailed_but_does_not_entail():
    small = [(0, (2.0, 2.0, 4.0, 4.0))]

    assert is_entailed(small, _TRUTH)
    assert not is_entailed(_TRUTH, small)


def test_nothing_is_never_entailed():
    assert not is_entailed([], _TRUTH)
    assert not is_entailed(_TRUTH, [])
