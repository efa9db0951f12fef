"""Holm's correction by hand."""

import numpy as np
import pytest

from routing.statistics.multiple_testing import holm


def test_holm_is_the_step_down_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []
    for bad in (np.nan, 1.1, -0.1):
        with pytest.raises(ValueError, match=rf"holm: wanted p values in \[0, 1\], got {bad}"):
            holm(np.array([0.1, bad]))
