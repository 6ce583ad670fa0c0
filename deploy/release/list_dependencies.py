"""List what the wheel brings along: a CycloneDX bill of materials, and the licenses.

Reads an environment into which only the wheel was installed (`check_install.py` makes it).
Prints every package whose license is not plainly permissive, for a person to look at.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["unusual"]

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent

# Words of license names that allow use in any product, as pip-licenses prints them.
_PERMISSIVE = re.compile(
    r"Apache|MIT|BSD|ISC|PSF|Python Software Foundation|0BSD|Zlib|Unlicense|CC0|Boost|BSL-1",
    re.IGNORECASE,
)


def main() -> None:
    """Write both lists into the given folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", type=Path, help="interpreter of the environment")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    python, out = options.python.absolute(), options.out.resolve()

    # Beside the wheel, but `twine upload dist/*.whl dist/*.tar.gz` leaves them out.
    bom = out / "gasmcast.cdx.json"
    _run(
        *(TOOLS / "cyclonedx-py", "environment", "--pyproject", ROOT / "pyproject.toml"),
        *("--output-reproducible", "--validate", "--output-file", bom, python),
    )
    components = json.loads(bom.read_text("utf-8"))["components"]
    print(f"{bom.name}: {len(components)} components")

    licenses = (TOOLS / "pip-licenses", "--python", python, "--from", "mixed", "--with-urls")
    (out / "licenses.md").write_text(_run(*licenses, "--format", "markdown"), encoding="utf-8")
    rows = json.loads(_run(*licenses, "--format", "json"))
    print(f"licenses.md: {len(rows)} packages")

    problems = unusual({row["Name"]: row["License"] for row in rows})
    for name, text in problems.items():
        print(f"  look at {name}: {text}")


def unusual(licenses: dict[str, str]) -> dict[str, str]:
    """Return the packages whose license is not plainly permissive, with its name."""
    return {name: text for name, text in licenses.items() if not _PERMISSIVE.search(text)}


def _run(*command: object) -> str:
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{command[0]}: {result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result.stdout


if __name__ == "__main__":
    main()
