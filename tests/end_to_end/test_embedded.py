"""`darkroom up`, as people and machines treat it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.backends.choice import only_embedded
from tests.end_to_end.caller import PATIENCE_S, until
from tests.end_to_end.service import Service

PARTS = ("serve", "worker", "valkey-server")


# What starts, stops and mends everything at once; its own broker is one of its parts.
pytestmark = only_embedded


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that is used by several tests, and must stand what each does to it."""
    with Service(tmp_path_factory.mktemp("embedded")) as service:
        yield service


def _draws(service: Service) -> bool:
    answer = service.generate()
    return answer.status_code == 200 and len(answer.json()) == 1


@pytest.mark.timeout(120)
def test_the_line_it_prints_works_when_pasted(service: Service) -> None:
    line = service.output[service.output.index("  curl ") :].split("\n\n")[0]

    answer = subprocess.run(
        ["bash", "-c", f"{line} --silent --fail"], capture_output=True, text=True, check=True
    ).stdout

    assert '"url"' in answer


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_is_started_again_and_no_call_is_lost(
    service: Service, part: str
) -> None:
    assert _draws(service)

    service.kill(part)

    # Nobody is turned away meanwhile. Who meets the last of a dying API is answered 202.
    answer = service.generate()
    assert answer.status_code in {200, 202}
    assert service.finished(answer.headers["Darkroom-Job"])["status"] == "succeeded"
    assert service.pid_of(part)


@pytest.mark.timeout(120)
def test_callers_wait_while_the_api_with_all_its_processes_is_started_again(
    service: Service,
) -> None:
    os.killpg(service.pid_of("serve"), signal.SIGKILL)

    assert _draws(service)


@pytest.mark.timeout(120)
def test_only_the_owner_reaches_the_data(service: Service) -> None:
    assert service.folder.stat().st_mode & 0o077 == 0


@pytest.mark.timeout(120)
def test_a_second_one_on_the_same_folder_is_refused(service: Service) -> None:
    second = _up({"DARKROOM_DATA_DIR": str(service.folder), "DARKROOM_PORT": "0"})

    assert second.returncode == 1
    assert "DARKROOM_DATA_DIR" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert _draws(service)


@pytest.mark.timeout(120)
def test_it_stops_without_a_trace_and_starts_again_with_all_it_had(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    key, url = service.key, service.url
    picture = service.generate().json()[0]["url"]
    address = urlsplit(url)
    parts = [service.pid_of(part) for part in PARTS]

    assert service.stop() == 0

    # `stop` has read the output of all processes to its end, so none is left to write there.
    assert not any(_is_alive(pid) for pid in parts)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5)

    service.start()

    assert service.key == key
    assert service.output.count(key) == 2, "the key and the curl line of the first start"
    assert "$DARKROOM_KEY" in service.output
    assert service.call("GET", picture).content
    assert service.stop() == 0


@pytest.mark.timeout(120)
def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        os.kill(service.pid, signal.SIGINT)

        assert service.stop() == 0
        assert "Traceback" not in service.output


@pytest.mark.timeout(120)
def test_a_caller_who_waits_while_it_stops_is_answered(tmp_path: Path) -> None:
    with (
        Service(tmp_path, builtin_script=True) as service,
        ThreadPoolExecutor(1) as caller,
    ):
        call = caller.submit(service.generate, prompt="a ship [latency=3]")
        until(lambda: service.call("GET", "/api/v1/jobs").json(), "the call waits")

        assert service.stop() == 0

        answer = call.result()
        assert answer.status_code in {200, 202}


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_killed_launcher_takes_everything_with_it_and_the_next_finds_it_all(
    tmp_path: Path,
) -> None:
    service = Service(tmp_path)
    service.start()
    picture = service.generate().json()[0]["url"]
    parts = [service.pid_of(part) for part in PARTS]

    os.kill(service.pid, signal.SIGKILL)
    assert service.stop() == -signal.SIGKILL

    until(lambda: not any(_is_alive(pid) for pid in parts), "all parts are gone")
    service.start()
    assert service.call("GET", picture).content
    assert _draws(service)
    assert service.stop() == 0


@pytest.mark.timeout(120)
def test_a_part_that_cannot_start_ends_it_with_a_reason(tmp_path: Path) -> None:
    failed = _up(
        {
            "DARKROOM_DATA_DIR": str(tmp_path),
            "DARKROOM_PORT": "0",
            "DARKROOM_MODEL_CATALOG": str(tmp_path / "missing.json"),
        }
    )

    assert failed.returncode == 1
    assert "died 3 times before it was ready" in failed.stderr.splitlines()[-1]
    # A key that was made is shown all the same: it could not be shown again.
    assert "API key: dk_" in failed.stdout


@pytest.mark.timeout(120)
def test_the_demo_draws_a_picture_and_leaves_nothing_else(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "darkroom", "demo", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        # What is configured here must not matter, even where it is wrong.
        env=os.environ | {"DARKROOM_REDIS_URL": "redis://127.0.0.1:1", "TMPDIR": str(tmp_path)},
    ).stdout

    with Image.open(tmp_path / "darkroom-demo.png") as picture:
        assert picture.size == (1024, 1024)
    assert '"content_type": "image/png"' in shown
    assert [each.name for each in tmp_path.iterdir()] == ["darkroom-demo.png"]


def _up(variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "darkroom", "up"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
