"""The audit of dependencies: it fails for what is known, and never calls silence a clean bill."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.servers.stand_in import Call, Handler, StandIn

SCRIPT = Path(__file__).parent.parent / ".ci" / "audit.py"

pytestmark = pytest.mark.skipif(find_spec("pip_audit") is None, reason="needs pip-audit")

LOCKED = f"leaky==1.0 --hash=sha256:{'0' * 64}\nsound==2.0 --hash=sha256:{'0' * 64}\n"


class Advisories(Handler):
    """A database that knows one vulnerable release."""

    def answer(self, call: Call) -> None:
        asked = call.json()
        if (asked["package"]["name"], asked["version"]) != ("leaky", "1.0"):
            self.reply_json(200, {})
            return
        affected = {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
        self.reply_json(200, {"vulns": [{"id": "TEST-2024-1", "affected": [affected]}]})


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "locked.txt"
    path.write_text(LOCKED)
    return path


def audit(locked: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, locked, "--osv-url", url],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_release_that_is_known_to_be_vulnerable_fails(locked: Path) -> None:
    with StandIn(Advisories) as server:
        done = audit(locked, f"{server.origin}/v1/query")

    assert done.returncode == 1, done.stderr
    assert "leaky 1.0: TEST-2024-1, fixed in 1.1" in done.stdout
    assert "1 of 2 packages" in done.stdout


def test_releases_without_a_known_vulnerability_pass(locked: Path) -> None:
    locked.write_text(LOCKED.replace("leaky==1.0", "leaky==1.1"))
    with StandIn(Advisories) as server:
        done = audit(locked, f"{server.origin}/v1/query")

    assert done.returncode == 0, done.stderr
    assert "0 of 2 packages" in done.stdout


def test_a_database_that_is_away_passes_and_says_that_nobody_looked(locked: Path) -> None:
    done = audit(locked, "http://127.0.0.1:1/v1/query")

    assert done.returncode == 0, done.stderr
    assert "NOT LOOKED" in done.stdout
