"""A batch from the command line, interrupted again and again, draws everything once."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from engines.ledger import Ledger
from tests.end_to_end.caller import until
from tests.end_to_end.commands import Person
from tests.end_to_end.service import Service

PROMPTS = 500


@pytest.mark.timeout(240)
def test_a_batch_of_500_that_is_interrupted_twice_ends_with_500_pictures_of_500_calls(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "ledger"
    with Service(tmp_path / "data", builtin_ledger=ledger, builtin_latency_s=0.2) as service:
        person = Person(tmp_path / "home", data_dir=service.folder)
        (person.folder / "prompts.txt").write_text(
            "".join(f"a ship, number {number}\n" for number in range(PROMPTS))
        )
        pictures = person.folder / "pictures"
        command = ("batch", "prompts.txt", "-s", "64x64", "-o", "pictures")

        for words, enough in ((command, 20), ((*command, "--resume"), 150)):
            running = person.starts(*words)
            _await_pictures(running, pictures, enough)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
            assert running.returncode == 130, said
            assert "--resume" in said
            assert "darkroom batches cancel" in said
        interrupted_with = _count(pictures)
        done = person.gets(*command, "--resume")

    assert interrupted_with < PROMPTS, "it was interrupted before its end"
    assert (done["succeeded"], done["failed"], done["pictures"]) == (PROMPTS, {}, PROMPTS)
    assert _count(pictures) == PROMPTS
    assert sum(1 for _ in Ledger(ledger).runs()) == PROMPTS
    listed = [json.loads(line) for line in (pictures / "manifest.jsonl").read_text().splitlines()]
    assert {each["custom_id"] for each in listed} == {f"line-{n + 1}" for n in range(PROMPTS)}
    assert sorted(name for each in listed for name in each["files"]) == sorted(
        each.name for each in pictures.glob("*.png")
    )


@pytest.mark.timeout(120)
def test_an_interruption_while_the_batch_is_sent_makes_no_second_one(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with Service(tmp_path / "data", builtin_ledger=ledger) as service:
        person = Person(tmp_path / "home", data_dir=service.folder)
        (person.folder / "prompts.txt").write_text("a ship\na boat\na raft\n")
        command = ("batch", "prompts.txt", "-s", "64x64")
        first = person.gets(*command)
        # As if the answer to the very first call had never arrived.
        file = person.folder / "prompts.batch.json"
        state = json.loads(file.read_text())
        state["calls"][0]["batch_id"] = None
        file.write_text(json.dumps(state))

        again = person.gets(*command, "--resume")

    assert again["batch"]["id"] == first["batch"]["id"]
    assert sum(1 for _ in Ledger(ledger).runs()) == 3


def _await_pictures(running: "subprocess.Popen[str]", folder: Path, at_least: int) -> None:
    """Returns once a command that runs has saved so many."""
    until(lambda: running.poll() is not None or _count(folder) >= at_least, f"{at_least} pictures")
    assert running.poll() is None, running.communicate()


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.png"))


@pytest.mark.timeout(180)
def test_a_batch_of_a_server_started_for_it_goes_on_with_the_next_one(tmp_path: Path) -> None:
    person = Person(
        tmp_path / "home",
        DARKROOM_BUILTIN_LEDGER=str(tmp_path / "ledger"),
        DARKROOM_BUILTIN_LATENCY_S="0.3",
        DARKROOM_WORKER_CONCURRENCY="4",
    )
    (person.folder / "prompts.txt").write_text("".join(f"ship {n}\n" for n in range(60)))
    command = ("batch", "prompts.txt", "-s", "64x64", "--start")

    running = person.starts(*command)
    _await_pictures(running, person.folder / "prompts", 5)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    done = person.gets(*command, "--resume")

    assert running.returncode == 130, said
    assert "when Darkroom runs again" in said
    assert done["pictures"] == _count(person.folder / "prompts") == 60
    assert sum(1 for _ in Ledger(tmp_path / "ledger").runs()) == 60


@pytest.mark.timeout(120)
def test_a_batch_is_followed_through_the_death_of_the_api(tmp_path: Path) -> None:
    with Service(tmp_path / "data", builtin_latency_s=0.3, worker_concurrency=4) as service:
        person = Person(tmp_path / "home", data_dir=service.folder)
        (person.folder / "prompts.txt").write_text("".join(f"ship {n}\n" for n in range(60)))

        running = person.starts("batch", "prompts.txt", "-s", "64x64", "--json")
        _await_pictures(running, person.folder / "prompts", 5)
        service.kill("serve")
        answer, said = running.communicate(timeout=60)

    assert running.returncode == 0, said
    assert json.loads(answer)["pictures"] == _count(person.folder / "prompts") == 60
