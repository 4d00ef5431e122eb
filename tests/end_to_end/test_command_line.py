"""Commands that use a server, as they are typed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import until
from tests.end_to_end.commands import Person, size_of
from tests.end_to_end.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("commands"),
        builtin_script=True,
        admin_email="ada@example.org",
        admin_password="correct horse",
    ) as service:
        yield service


@pytest.fixture
def person(service: Service, tmp_path: Path) -> Person:
    """Someone on the same machine, who is told nothing about the server."""
    return Person(tmp_path, data_dir=service.folder)


@pytest.fixture
def stranger(tmp_path: Path) -> Person:
    """Someone for whom there is no server."""
    return Person(tmp_path)


def test_a_prompt_becomes_files_whose_paths_are_printed(person: Person) -> None:
    done = person.types("generate", "A ship at dusk!", "-s", "64x64", "-n", "2", "-o", "ships")

    paths = done.stdout.splitlines()
    assert (done.returncode, len(set(paths))) == (0, 2), done.stderr
    for path in paths:
        assert path.startswith("ships/a-ship-at-dusk-")
        assert size_of(person.folder / path) == (64, 64)


def test_json_is_all_there_is_on_stdout(person: Person) -> None:
    done = person.gets("generate", "a ship", "-s", "64x64", "--steps", "4")

    assert done["job"]["status"] == "succeeded"
    assert (person.folder / done["files"][0]).is_file()


def test_a_local_file_and_an_id_are_edited(person: Person) -> None:
    first = person.gets("generate", "a ship", "-s", "64x64")

    for form in (first["files"][0], first["job"]["images"][0]["id"]):
        edited = person.gets("edit", form, "add a boat", "--mask", first["files"][0])
        assert size_of(person.folder / edited["files"][0]) == (64, 64)


def test_a_file_that_is_not_there_is_wrong_use(person: Person) -> None:
    done = person.types("edit", "nowhere.png", "add a boat")

    assert done.returncode == 2
    assert "nowhere.png" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (("generate", "[fault=ContentRefused] a ship"), 1, "Error: "),
        (("generate", "a ship", "-s", "large"), 2, "WIDTHxHEIGHT"),
        (("generate", "a ship", "-m", "no/such"), 2, "no/such"),
        (("jobs", "show", "none"), 1, "none"),
        (("models", "--key", "dk_wrong"), 3, "API key"),
        (("models", "--server", "http://127.0.0.1:1", "--key", "k"), 4, "http://127.0.0.1:1"),
    ],
)
def test_what_goes_wrong_is_words_and_a_status(
    person: Person, words: tuple[str, ...], status: int, hint: str
) -> None:
    done = person.types(*words)
    as_json = person.types(*words, "--json")

    assert (done.returncode, done.stdout) == (status, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert as_json.returncode == status
    assert json.loads(as_json.stdout)["error"]["detail"]


def test_without_a_server_it_says_what_to_do(stranger: Person) -> None:
    done = stranger.types("generate", "a ship")

    assert done.returncode == 4
    assert "darkroom up" in done.stderr
    assert "--start" in done.stderr


@pytest.mark.timeout(120)
def test_start_runs_one_meanwhile_and_leaves_none(stranger: Person) -> None:
    done = stranger.types("generate", "a ship", "-s", "64x64", "--start")

    assert done.returncode == 0, done.stderr
    assert (stranger.folder / done.stdout.strip()).is_file()
    assert "API key: dk_" in done.stderr, "the first start shows it this once"
    assert (stranger.folder / "no data" / "darkroom.db").is_file(), "the pictures are kept"
    assert stranger.types("models").returncode == 4


def test_ctrl_c_cancels_the_job(person: Person, service: Service) -> None:
    running = person.starts("generate", "[latency=60] a slow ship", "-s", "64x64")
    job = until(lambda: _running(service), "the job runs")

    running.send_signal(2)
    _, said = running.communicate(timeout=30)

    assert running.returncode == 130
    assert job in said
    assert service.finished(job)["status"] == "canceled"


def _running(service: Service) -> str | None:
    listed = service.call("GET", "/api/v1/jobs/?status=running").json()
    return listed[0]["id"] if listed else None


def test_jobs_are_listed_shown_canceled_and_asked_for_again(
    person: Person, service: Service
) -> None:
    job = service.submit(prompt="[latency=60] a slow ship")

    assert job in person.types("jobs").stdout
    assert person.gets("jobs", "show", job)["prompt"].endswith("a slow ship")
    assert person.types("jobs", "cancel", job).returncode == 0
    assert service.finished(job)["status"] == "canceled"
    again = person.types("jobs", "retry", job).stdout.strip()
    assert person.gets("jobs", "show", again)["retry_of"] == job
    person.types("jobs", "cancel", again)


def test_models_and_engines_are_listed(person: Person) -> None:
    assert "builtin/placeholder" in person.types("models").stdout
    assert {each["name"] for each in person.gets("engines")} >= {"builtin", "openai"}


def test_who_signs_in_uses_that_server_until_signing_out(
    stranger: Person, service: Service
) -> None:
    signed_in = stranger.types(
        "login", service.url, "--email", "ada@example.org", stdin="correct horse\n"
    )
    assert signed_in.returncode == 0, signed_in.stderr
    assert "ada@example.org" in signed_in.stdout
    keys = service.call("GET", "/api/v1/auths/api_key").json()
    assert stranger.types("models").returncode == 0

    assert stranger.types("logout").returncode == 0

    assert stranger.types("models").returncode == 4
    assert len(service.call("GET", "/api/v1/auths/api_key").json()) == len(keys) - 1, "revoked"


def test_a_key_is_taken_from_standard_input(stranger: Person, service: Service) -> None:
    assert stranger.types("login", service.url, "--key-stdin", stdin=service.key).returncode == 0
    assert stranger.types("models").returncode == 0
    assert stranger.types("login", service.url, "--key-stdin", stdin="dk_wrong").returncode == 3
    assert stranger.types("models").returncode == 0, "the kept login is as it was"


def test_the_environment_names_server_and_key(tmp_path: Path, service: Service) -> None:
    person = Person(tmp_path, DARKROOM_SERVER=service.url, DARKROOM_KEY=service.key)

    assert person.types("models").returncode == 0


def test_a_batch_of_rows_says_what_failed_and_asks_for_it_again(person: Person) -> None:
    (person.folder / "ships.csv").write_text(
        "prompt,size,n,custom_id\n"
        "a ship,64x64,2,first\n"
        '"a boat, red",,,second\n'
        "[fault=ContentRefused] a raft,,,third\n"
    )

    first = person.types("batch", "ships.csv", "-s", "128x64", "--json")
    again = person.types("batch", "ships.csv", "-s", "128x64", "--retry-failed", "--json")

    done = json.loads(first.stdout)
    assert first.returncode == again.returncode == 1
    assert (done["succeeded"], done["pictures"]) == (2, 3)
    assert done["failed"] == {"content_refused": 1}
    assert json.loads(again.stdout)["batch"]["retry_of"] == done["batch"]["id"]
    shown = person.types("batches", "show", done["batch"]["id"]).stdout.splitlines()
    assert shown[-1].split() == ["cost", "0.00", "USD"]
    listed = (person.folder / "ships" / "manifest.jsonl").read_text().splitlines()
    sizes = {
        each["custom_id"]: [size_of(person.folder / "ships" / name) for name in each["files"]]
        for each in map(json.loads, listed)
    }
    assert sizes == {"first": [(64, 64)] * 2, "second": [(128, 64)], "third": []}


def test_a_batch_begun_before_is_not_begun_again(person: Person) -> None:
    file = person.folder / "ships.txt"
    file.write_text("a ship\n\na boat\n")
    assert person.types("batch", "ships.txt", "--resume").returncode == 2
    assert person.gets("batch", "ships.txt", "-s", "64x64")["pictures"] == 2

    repeated = person.types("batch", "ships.txt", "-s", "64x64")
    changed = person.types("batch", "ships.txt", "-s", "128x64", "--resume")

    assert repeated.returncode == changed.returncode == 2
    assert "--resume" in repeated.stderr
    assert "changed" in changed.stderr


def test_a_batch_with_faults_names_the_lines_of_the_file(person: Person) -> None:
    file = person.folder / "ships.jsonl"
    file.write_text('{"prompt": "a ship"}\n\n{"prompt": "a boat", "size": "large"}\n')

    refused = person.types("batch", "ships.jsonl", "-s", "64x64")
    file.write_text('{"prompt": "a ship"}\n')
    mended = person.types("batch", "ships.jsonl", "-s", "64x64")

    assert refused.returncode == 2
    assert "line 3: size" in refused.stderr
    assert mended.returncode == 0, mended.stderr
