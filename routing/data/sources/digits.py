"""The digits of scikit-learn, the data of the default experiment."""

from dataclasses import dataclass

import numpy as np

from routing.data.sources.base import Samples


@dataclass(frozen=True)
class Digits:
    """scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, values 0..16."""

    def load(self, root: int) -> Samples:
        """Return the images that come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Samples(
            stored=digits.images.astype(np.uint8)[:, None],
            labels=digits.target.astype(np.int64),
            captions=[f"a handwritten digit {d}" for d in digits.target],
            source_ids=[f"digits/{i}" for i in range(len(digits.target))],
            levels=16,
            licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
        )
