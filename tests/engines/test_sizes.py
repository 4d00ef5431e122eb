"""Which size a model draws instead of one it cannot."""

import pytest

from darkroom.domain import FreeSizes, Size
from engines.catalog import DALL_E_2, GPT_IMAGE_1, GPT_IMAGE_2
from engines.sizes import is_drawable, nearest_size


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ("1024x1024", "1024x1024"),
        ("512x512", "1024x1024"),
        ("1920x1080", "1536x1024"),
        ("1080x1920", "1024x1536"),
        ("1200x1024", "1024x1024"),
        ("1300x1024", "1536x1024"),
        ("4096x64", "1536x1024"),
    ],
)
def test_of_fixed_sizes_the_nearest_shape_is_drawn(asked: str, drawn: str) -> None:
    nearest = nearest_size(Size.parse(asked), GPT_IMAGE_1.sizes)

    assert str(nearest) == drawn


@pytest.mark.parametrize(
    ("edge", "drawn"), [(64, 256), (300, 256), (400, 512), (700, 1024), (1000, 1024), (4096, 1024)]
)
def test_of_equal_shapes_one_that_is_large_enough_is_drawn(edge: int, drawn: int) -> None:
    assert nearest_size(Size(edge, edge), DALL_E_2.sizes) == Size(drawn, drawn)


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ("1024x1024", "1024x1024"),
        ("3840x2160", "3840x2160"),
        ("1000x1000", "1008x1008"),
        ("1920x1080", "1920x1088"),
        ("7680x4320", "3840x2160"),
        ("512x512", "816x816"),
        ("4096x4096", "2880x2880"),
    ],
)
def test_free_sizes_keep_the_shape_within_the_limits(asked: str, drawn: str) -> None:
    assert str(nearest_size(Size.parse(asked), GPT_IMAGE_2.sizes)) == drawn


@pytest.mark.parametrize("width", [1, 64, 511, 816, 1023, 1777, 3841, 9999, 999_999])
@pytest.mark.parametrize("height", [1, 63, 512, 809, 1024, 2161, 5000, 999_999])
def test_whatever_is_asked_the_free_size_obeys_every_limit(width: int, height: int) -> None:
    rules = GPT_IMAGE_2.sizes
    assert isinstance(rules, FreeSizes)

    nearest = nearest_size(Size(width, height), rules)

    assert is_drawable(nearest, rules)
    assert nearest_size(nearest, rules) == nearest


def test_a_shape_that_is_too_long_becomes_the_longest_there_may_be() -> None:
    nearest = nearest_size(Size(10_000, 100), GPT_IMAGE_2.sizes)

    assert nearest.aspect == pytest.approx(3.0, rel=0.03)
