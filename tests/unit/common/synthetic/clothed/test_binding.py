import numpy as np

from common.synthetic.assets.binding import GarmentBinding


def test_points_that_were_cut_off_do_not_remain() -> None:
    binding = GarmentBinding(
        np.arange(2),
        np.array([[0, 1, 2], [1, 2, 3]]),
        np.full((2, 3), 1 / 3, np.float32),
        np.zeros((2, 3), np.float32),
    )
    assert binding.remains(None).all()
    assert binding.remains(np.array([-1, -1, -1, 5], np.float32)).tolist() == [True, False]
