"""Where the CPU time of a picture goes, by process and by package. Needs py-spy."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.callers import each_of
from tests.benchmarks.drawing_server import drawing_server
from tests.benchmarks.loads import CALLERS, PICTURES, WARM_UP, Ways, service_before
from tests.benchmarks.processes import part_of, tree
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(200)]

SAMPLES_PER_S = 200
FOR_S = 8
SHOWN = 12


def test_where_the_time_goes(tmp_path: Path, report: Report) -> None:
    """Samples of the threads that run Python code, under the load of `test_many_callers`."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        pytest.skip("py-spy is not installed")
    found = {}
    with drawing_server() as engine, service_before(engine, tmp_path / "data") as service:
        ways = Ways(engine, service, tmp_path)
        each_of(CALLERS, WARM_UP, service.url, ways.served)
        for part in ("API", "worker"):
            # Of gunicorn's processes the last one started serves.
            pid = [each for each in tree(service.pid) if part_of(each) == part][-1]
            file = tmp_path / part
            command = [spy, "record", "--gil", "--format", "raw", "--output", str(file)]
            command += ["--rate", str(SAMPLES_PER_S), "--duration", str(FOR_S), "--pid", str(pid)]
            recorder = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while recorder.poll() is None:
                each_of(CALLERS, PICTURES // 4, service.url, ways.served)
            if not file.exists():
                pytest.skip("py-spy may not look into other processes here")
            found[part] = _summed_up(file.read_text())
    report.add(
        "profile",
        found,
        *(
            f"{part}, {kind}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            for part, kinds in found.items()
            for kind, shares in kinds.items()
        ),
    )


def _summed_up(stacks: str) -> dict[str, dict[str, float]]:
    """Shares of all samples: of the package that runs, and of all our functions on the stack."""
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        named = [each.rpartition(":")[0] or each for each in frames.split(";")]
        packages[_package(named[-1])] += int(count)
        functions.update(dict.fromkeys({each for each in named if _is_ours(each)}, int(count)))
    total = packages.total() or 1
    return {
        kind: {name: count / total for name, count in counted.most_common(SHOWN)}
        for kind, counted in (("packages", packages), ("functions", functions))
    }


def _package(frame: str) -> str:
    """`sqlalchemy` of `execute (sqlalchemy/engine/base.py`."""
    return frame.rpartition("(")[2].partition("/")[0].removesuffix(".py").removesuffix(")")


def _is_ours(frame: str) -> bool:
    return _package(frame) in {"api", "darkroom", "engines", "storage", "worker"}
