"""Looks up the locked packages in a database of known vulnerabilities, with pip-audit.

    python .ci/audit.py requirements/base.txt [--osv-url URL]

The status is 1 when a package is known to be vulnerable. It is 0 when none is, and also when no
database could be asked: a network that is away must not make a commit red. The last line says in
words which of the two it was.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

#: What pip-audit can ask, in this order, until one knows the packages.
SERVICES = ("pypi", "osv")


def main() -> int:
    parser = argparse.ArgumentParser(description="Audit locked packages.")
    parser.add_argument("requirements")
    parser.add_argument("--osv-url", help="Ask this OSV service, and no other.")
    asked = parser.parse_args()

    for service in ("osv",) if asked.osv_url else SERVICES:
        found = look_up(asked.requirements, service, asked.osv_url)
        known = [each for each in found if "skip_reason" not in each]
        if not known:
            continue
        vulnerable = [each for each in known if each["vulns"]]
        for each in vulnerable:
            for one in each["vulns"]:
                fixed = ", ".join(one["fix_versions"]) or "no release yet"
                say(f"{each['name']} {each['version']}: {one['id']}, fixed in {fixed}")
        unknown = [each["name"] for each in found if "skip_reason" in each]
        if unknown:
            say(f"Not looked up, because {service} does not know them: {', '.join(unknown)}.")
        say(
            f"Audit: {len(vulnerable)} of {len(known)} packages have known vulnerabilities,"
            f" says {service}."
        )
        return 1 if vulnerable else 0
    say("Audit: NOT LOOKED. No database of vulnerabilities could be asked from here.")
    return 0


def look_up(requirements: str, service: str, osv_url: str | None) -> list[dict[str, Any]]:
    """What pip-audit says of each package; nothing when it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements]
    command += ["--require-hashes", "--disable-pip", "--vulnerability-service", service]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    if osv_url:
        command += ["--osv-url", osv_url]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        found: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except ValueError:
        reason = answer.stderr.strip().rpartition("\n")[2] or f"status {answer.returncode}"
        say(f"{service} could not be asked: {reason}")
        return []
    return found


def say(line: str) -> None:
    print(line)  # noqa: T201 - it is a command


if __name__ == "__main__":
    sys.exit(main())
