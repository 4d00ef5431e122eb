"""`docker-compose.yml` is valid in each of its shapes, and names what there really is."""

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from darkroom.cli import commands
from darkroom.configuration import FIELDS
from darkroom.settings import variables
from engines.registry import installed_engines
from tests.backends.ports import free_port
from tests.deploy.compose import FILE, ROOT, Compose, Created
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
PROFILES = sorted({name for each in SERVICES.values() for name in each.get("profiles", [])})
SHAPES = [(), *((each,) for each in PROFILES), tuple(PROFILES)]

#: What others than Darkroom read.
FOREIGN = re.compile(
    r"(AWS|POSTGRES|GF|FLOWER)_\w+|REDIS_PASSWORD|METRICS_TOKEN|FORWARDED_ALLOW_IPS"
)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    return Compose(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def everything(compose: Compose) -> list[Created]:
    return compose.created(*PROFILES)


def check_schema(*files: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", *map(str, files)),
        ],
        check=True,
    )


def test_the_file_follows_the_compose_specification(compose: Compose, tmp_path: Path) -> None:
    merged = tmp_path / "merged.yml"
    merged.write_text(yaml.safe_dump(compose.merged(*PROFILES)))

    check_schema(FILE, merged)


@pytest.mark.parametrize("profiles", SHAPES, ids="+".join)
def test_every_profile_is_accepted(compose: Compose, profiles: tuple[str, ...]) -> None:
    created = compose.created(*profiles)

    assert {each.service for each in created} == {
        name
        for name, each in SERVICES.items()
        if not each.get("profiles") or set(each["profiles"]) & set(profiles)
    }


def test_nothing_runs_by_default_but_the_service_itself(compose: Compose) -> None:
    assert {each.service for each in compose.created()} == {
        *("migrate", "api", "worker", "redis", "postgres")
    }


def test_every_engine_can_have_workers_of_its_own() -> None:
    own = {name.removeprefix("worker-") for name in SERVICES if name.startswith("worker-")}

    assert own == set(installed_engines()) - {"builtin"}


def test_every_command_is_one_of_ours(everything: list[Created]) -> None:
    ours = [each for each in everything if each.image == "darkroom"]

    assert len(ours) == 7
    for each in ours:
        name, *arguments = each.command
        # Parsed as at a start, and not carried out.
        commands.commands[name].make_context(name, arguments)


def test_every_variable_is_a_setting(everything: list[Created]) -> None:
    known = {each.name for each in variables()}
    known |= {name for each in FIELDS for name in (each.name, *each.fallbacks)}
    named = {name for each in SERVICES.values() for name in each.get("environment", {})}

    assert {each for each in named - known if not FOREIGN.fullmatch(each)} == set()
    for each in everything:
        assert all(value != "" for value in each.environment.values()), each.service


def test_what_a_proxy_in_front_needs_to_be_set_reaches_the_api() -> None:
    page = (ROOT / "docs/how-to/proxies.md").read_text()
    named = set(re.findall(r"`((?:DARKROOM|FORWARDED)_[A-Z_]+)", page))

    assert "DARKROOM_TRUSTED_PROXIES" in named
    assert named <= set(SERVICES["api"]["environment"])


def test_everything_that_is_mounted_is_there() -> None:
    sources = [
        mount.split(":")[0]
        for each in SERVICES.values()
        for mount in each.get("volumes", [])
        if mount.startswith("./")
    ]

    assert len(sources) == 3
    for each in sources:
        # Where a file is missing, compose makes a folder.
        assert (ROOT / each).is_file() if Path(each).suffix else any((ROOT / each).iterdir())


def test_a_container_has_room_for_a_thousand_waiting_callers() -> None:
    assert SERVICES["api"]["ulimits"]["nofile"] > 4 * 1024


def test_services_that_are_seen_outside_are_seen_on_this_machine_only() -> None:
    ports = list(itertools.chain(*(each.get("ports", []) for each in SERVICES.values())))

    assert len(ports) == 3
    assert all(each.startswith("127.0.0.1:") for each in ports)


def health_check(service: str) -> str:
    kind, command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    return str(command).replace("$$", "$")


@pytest.mark.timeout(120)
def test_the_health_check_of_a_worker_tells_whether_it_lives(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        environment = cluster.environment | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
        }

        def status() -> int:
            return subprocess.run(
                ["sh", "-c", health_check("worker")],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ).returncode

        assert status() == 0
        cluster.workers[0].kill()
        assert status() != 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed")
def test_the_broker_starts_with_a_password_and_its_health_check_passes(tmp_path: Path) -> None:
    port = str(free_port())
    programs = tmp_path / "bin"
    programs.mkdir()
    # The same programs, at a port that is surely free.
    for name, options in (("redis-server", f"--port {port}"), ("redis-cli", f"-p {port}")):
        program = programs / name
        at_the_end = '"$@" ' + options if name == "redis-server" else options + ' "$@"'
        program.write_text(f"#!/bin/sh\nexec {shutil.which(name)} {at_the_end}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "REDIS_PASSWORD": "secret"}
    command = [str(each).replace("$$", "$") for each in SERVICES["redis"]["command"]]
    log = (tmp_path / "log").open("wb")
    with (
        log,
        subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            check = ["sh", "-c", health_check("redis")]
            until(
                lambda: (
                    subprocess.run(
                        check, env=environment, stderr=subprocess.DEVNULL, timeout=10
                    ).returncode
                    == 0
                ),
                "the broker is healthy",
            )
            without = subprocess.run(
                check, env=environment | {"REDIS_PASSWORD": "guess"}, stderr=subprocess.DEVNULL
            )
            assert without.returncode != 0
            arguments = Path(f"/proc/{server.pid}/cmdline")
            assert not arguments.exists() or b"secret" not in arguments.read_bytes()
            assert (tmp_path / "appendonlydir").is_dir()
        finally:
            server.terminate()
