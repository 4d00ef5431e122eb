"""Pictures are changed by a whole service, in whatever form they are given."""

import base64
import io
from collections.abc import Iterator

import pytest
import requests
from PIL import Image

from tests.end_to_end.caller import until
from tests.end_to_end.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("edits")) as service:
        yield service


def data_url(picture: Image.Image, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, **options)  # type: ignore[arg-type]
    kind = str(options["format"]).lower()
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def red_left_of_blue() -> Image.Image:
    picture = Image.new("RGB", (200, 100), "blue")
    picture.paste("red", (0, 0, 100, 100))
    return picture


def edit(service: Service, image: object, **body: object) -> requests.Response:
    return service.call(
        "POST", "/api/v1/images/edit", json={"prompt": "add a boat", "image": image} | body
    )


def drawn(service: Service, answer: requests.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    content = service.call("GET", answer.json()[0]["url"]).content
    return Image.open(io.BytesIO(content)).convert("RGB")


def assert_shows_red_left_of_blue(picture: Image.Image) -> None:
    left_red, _, left_blue = picture.getpixel((5, 5))  # type: ignore[misc]
    right_red, _, right_blue = picture.getpixel((picture.width - 6, 5))  # type: ignore[misc]
    assert left_red > left_blue
    assert right_blue > right_red


@pytest.mark.timeout(120)
def test_the_answer_shows_the_picture_that_was_given(service: Service) -> None:
    """By data URL first; then what came of it, by its id and by its URL."""
    first = edit(service, data_url(red_left_of_blue(), format="PNG"))
    assert_shows_red_left_of_blue(drawn(service, first))
    (made,) = first.json()

    for form in (made["id"], made["url"], service.url + made["url"]):
        assert_shows_red_left_of_blue(drawn(service, edit(service, form)))


@pytest.mark.timeout(120)
def test_a_photo_taken_sideways_comes_out_upright(service: Service) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = red_left_of_blue().transpose(Image.Transpose.ROTATE_90)

    picture = drawn(service, edit(service, data_url(sideways, format="JPEG", exif=exif)))

    assert picture.size == (200, 100)
    assert_shows_red_left_of_blue(picture)


@pytest.mark.timeout(120)
def test_with_a_mask_the_rest_stays_as_it_is(service: Service) -> None:
    mask = Image.new("L", (200, 100), 0)
    mask.paste(255, (0, 0, 100, 100))

    answer = edit(
        service, data_url(red_left_of_blue(), format="PNG"), mask=data_url(mask, format="PNG")
    )

    picture = drawn(service, answer)
    kept = (100, 0, 200, 100)
    assert picture.crop(kept).tobytes() == red_left_of_blue().crop(kept).tobytes()
    assert picture.getpixel((5, 5)) != (255, 0, 0)


@pytest.mark.timeout(120)
def test_afterwards_only_results_are_kept(service: Service) -> None:
    assert edit(service, data_url(red_left_of_blue(), format="WEBP")).status_code == 200
    results = {
        service.call("GET", each["url"]).headers["ETag"].strip('"')
        for each in service.call("GET", "/api/v1/files/").json()
    }

    def are_gone() -> bool:
        return set(service.stored_files()) == results

    until(are_gone, "only results are in the store")
