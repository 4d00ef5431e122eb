"""What the service costs, side by side in one run. Prints ratios; asserts no speed."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.configuration import EngineConfig
from darkroom.domain import ImageRequest, Size
from engines.base import Task
from engines.builtin import BuiltinEngine
from engines.catalog import Catalog
from tests.end_to_end.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

ROUNDS = 40


def test_overhead_of_one_picture(tmp_path: Path) -> None:
    """From the call to the stored picture's URL, against drawing it and writing a file."""
    engine = BuiltinEngine(EngineConfig(name="builtin"), Catalog())

    def directly(seed: int) -> None:
        task = Task(
            job_id="none",
            model="placeholder",
            request=ImageRequest(prompt="a lighthouse", size=Size(1024, 1024), seed=seed),
            timeout_s=60,
        )
        (image,) = engine.generate(task, lambda share=None, *, preview=None, upstream_id=None: None)
        (tmp_path / f"{seed}.png").write_bytes(image.data)

    with Service(tmp_path / "data", log_level="warning") as service:

        def through_the_service(seed: int) -> None:
            assert service.generate(size="1024x1024", seed=seed).status_code == 200

        through_the_service(ROUNDS)
        direct, served = [], []
        for seed in range(ROUNDS):
            direct.append(_timed(directly, seed))
            served.append(_timed(through_the_service, seed))

    base, whole = statistics.median(direct), statistics.median(served)
    print(
        f"\none picture: direct {base * 1000:.0f} ms, through the service {whole * 1000:.0f} ms:"
        f" {whole / base:.2f}x, {1000 * (whole - base):.0f} ms more"
    )


def test_accepting_against_asking_whether_it_is_alive(tmp_path: Path) -> None:
    """Jobs accepted per second, against calls that do nothing."""
    with Service(tmp_path, log_level="warning", worker_concurrency=1) as service:

        def accept(seed: int) -> None:
            service.submit(seed=seed)

        def ping(seed: int) -> None:
            assert service.call("GET", "/health").status_code == 200

        rates = {}
        for name, call in (("ping", ping), ("accept", accept)):
            with ThreadPoolExecutor(16) as callers:
                started = time.monotonic()
                list(callers.map(call, range(400)))
                rates[name] = 400 / (time.monotonic() - started)

    print(
        f"\naccepted: {rates['accept']:.0f}/s, bare calls: {rates['ping']:.0f}/s:"
        f" an accepted job costs {rates['ping'] / rates['accept']:.2f} bare calls"
    )


def _timed(call: Callable[[int], None], seed: int) -> float:
    started = time.monotonic()
    call(seed)
    return time.monotonic() - started
