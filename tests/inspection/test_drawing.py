"""Test that what is drawn of a stage is there, and nothing else."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from inspection import drawing
from reports.page import png_address


def test_image_in_an_address_comes_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    content = drawing.from_data_url(png_address(pixels))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    with pytest.raises(ValueError, match="base64"):
        drawing.from_data_url("data:image/png;base64,?")


def test_values_are_drawn_once_each_and_what_fills_the_row_is_clear() -> None:
    values = torch.linspace(0, 1, 84)
    drawn = drawing.stage_image(values[None])[:: drawing.VALUE, :: drawing.VALUE]
    assert drawn.shape == (2, 64, 4)
    assert (drawn[..., 3] == 255).sum() == 84
    assert np.array_equal(drawn.reshape(-1, 4)[:84, :3], drawing.coloured(values.numpy()[None])[0])
    assert np.array_equal(drawing.stage_image(values.view(1, 84, 1, 1)), drawing.stage_image(values[None]))


def test_maps_are_laid_out_in_rows_each_in_its_own_range() -> None:
    maps = torch.rand(1, 20, 14, 14)
    sheet = drawing.stage_image(maps)
    factor, step = drawing.MAP // 14, drawing.MAP + drawing.GAP
    assert sheet.shape == (2 * step - drawing.GAP, 16 * step - drawing.GAP, 4)
    eighteenth = sheet[step : step + drawing.MAP : factor, step : step + drawing.MAP : factor, :3]
    assert np.array_equal(eighteenth, drawing.coloured(maps[0, 17].numpy()))
    assert not sheet[step:, 4 * step :].any()
    assert not sheet[drawing.MAP : step].any()


def test_signed_values_are_white_at_zero_and_pale_below_the_least_range() -> None:
    white, red = drawing.coloured(np.array([[0.0, 1.0]]), signed=True)[0]
    assert white.min() > 240
    assert red[0] > red[2]
    pale = drawing.coloured(np.array([[0.0, 0.001]]), signed=True, least=0.01)[0, 1]
    assert pale.min() > 220
