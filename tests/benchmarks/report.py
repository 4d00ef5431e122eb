"""What the benchmarks found: printed as it comes, and kept as one JSON file."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: Where the findings go; git ignores the folder.
FILE = ROOT / "bench" / "bench.json"

#: The libraries whose versions matter to what is measured.
LIBRARIES = ("celery", "flask", "gunicorn", "kombu", "redis", "sqlalchemy")


class Report:
    """Collects findings by the name of what was measured."""

    def __init__(self) -> None:
        self._findings: dict[str, Any] = {}

    def add(self, name: str, findings: Mapping[str, Any], *sentences: str) -> None:
        """Print what was found in words, and keep it in figures."""
        print("", *sentences, sep=f"\n{name}: ")
        self._findings[name] = _rounded(findings)

    def save(self) -> None:
        """Write the file, when anything was measured."""
        if not self._findings:
            return
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps({"machine": _machine(), **self._findings}, indent=2) + "\n")
        print(f"\nAll figures are in {FILE.relative_to(ROOT)}.")


def _machine() -> dict[str, Any]:
    """What the figures hang on. Nothing that names the machine or its owner."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain")),
        "load_before": os.getloadavg()[2],
    }


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
