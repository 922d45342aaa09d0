"""Look the locked packages up among known vulnerabilities: ``python .ci/audit.py LOCK``.

pip-audit alone says "none found" where its service answers nothing, and fails where the
service cannot be reached. Here both are told apart from a finding.
"""

import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COMMAND = "pip_audit --require-hashes --disable-pip --format json --progress-spinner off --requirement"
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "SSLError", "ProxyError", "ServiceError")


def main(lock: str) -> int:
    """Status 1 only for a vulnerability that is not accepted, or an audit that went wrong."""
    done = subprocess.run(
        [sys.executable, "-m", *COMMAND.split(), lock], capture_output=True, text=True, check=False
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        if any(sign in done.stderr for sign in UNREACHABLE):
            print("skipped: the advisory service cannot be reached")
            return 0
        print(done.stderr, file=sys.stderr)
        return 1
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print("skipped: the advisory service knows none of the packages, so it is not reachable from here")
        return 0
    return report(audited, len(packages) - len(audited))


def report(audited: list[dict[str, Any]], unknown: int) -> int:
    """Print every vulnerability that is not accepted, then the totals."""
    accepted = accepted_today()
    found = 0
    for package in audited:
        for vulnerability in package["vulns"]:
            names = {vulnerability["id"], *vulnerability["aliases"]}
            if not names & accepted:
                found += 1
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
                print(f"{package['name']} {package['version']}: {', '.join(sorted(names))}; fixed in {fixed}")
    print(f"{len(audited)} packages audited, {unknown} not known to the service, {found} vulnerabilities")
    return 1 if found else 0


def accepted_today() -> set[str]:
    """The ids that pyproject.toml lists, until their day."""
    listed = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["audit"]["accepted"]
    today = datetime.now(tz=UTC).date()
    return {entry["id"] for entry in listed if entry["reason"] and today <= entry["until"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
