"""The Dockerfile's steps make an image in which the service runs, as somebody without rights."""

from pathlib import Path

import pytest

from tests.deploy.dockerfile import Container, build, can_run
from tests.end_to_end.caller import until

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@pytest.mark.skipif(not can_run(), reason="needs root, and the right to mount")
@pytest.mark.timeout(600)
def test_an_image_is_built_and_draws_a_picture(tmp_path: Path) -> None:
    image = build(DOCKERFILE, tmp_path)
    assert image.user == "10001"

    with Container(image, tmp_path / "log") as container:
        until(
            lambda: container.is_healthy() or not container.is_running,
            "the container is healthy",
            within_s=120,
        )
        assert container.is_running, container.output
        assert container.run("sh", "-c", "touch /opt/darkroom/x || touch /x").returncode != 0

        drawn = container.run("darkroom", "generate", "a lighthouse", "--output", "/data/pictures")

        assert drawn.returncode == 0, drawn.stderr
        [picture] = (container.root / "data/pictures").iterdir()
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert (container.root / "data/darkroom.db").stat().st_uid == 10001
        assert container.stop() == 0, container.output
