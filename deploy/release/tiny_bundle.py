"""Write the bundle of tiny networks that the tests use, to try an installed wheel on.

Needs onnx, so the development environment; what is tried needs nothing but the bundle.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[2] / "tests" / "runtime" / "conftest.py"


def main() -> None:
    """Write the bundle into the given folder, which is emptied first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)

    # By its path, because the tests are no package.
    spec = importlib.util.spec_from_file_location("runtime_conftest", CONFTEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(module.write_tiny_bundle(folder))


if __name__ == "__main__":
    main()
