"""Drawn portraits as an evaluation's folders."""

import numpy as np
import pytest
from PIL import Image

from datamodules.portraits import render_portrait

COUNT = 9


@pytest.fixture
def faces(tmp_path):
    """Folders ``hq``, ``restored`` (stems end in _00) and ``ffhq`` of pictures."""
    for person in range(COUNT):
        image = render_portrait(3, person, 0, 64).image
        other = render_portrait(5, person, 0, 64).image
        restored = np.clip(image.astype(int) + 3 * person, 0, 255).astype(np.uint8)
        for folder, name, array in (
            ("hq", f"p{person}", image), ("restored", f"p{person}_00", restored),
            ("ffhq", f"f{person}", other),
        ):  # fmt: skip
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    return tmp_path
