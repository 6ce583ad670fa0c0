"""Write the lock files of the images: every dependency with its version and its hashes.

Takes the dependencies from pyproject.toml, so that an image cannot drift from the wheel, and lets
`uv` resolve them: `pip install uv && python deploy/docker/lock.py`. The wheel itself is installed
beside them without dependencies.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["IMAGES", "Image", "requirements"]

FOLDER = Path(__file__).resolve().parent
PROJECT = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Image:
    """Platform and extras of an image."""

    python: str
    platforms: tuple[str, ...]
    extras: tuple[str, ...] = ("mqtt",)
    more: tuple[str, ...] = ()
    """Requirements beside those of the extras."""


IMAGES = {
    "cpu": Image(
        "3.13", ("x86_64-manylinux_2_40", "aarch64-manylinux_2_40"), extras=("mqtt", "serve")
    ),
    "rtx": Image("3.13", ("x86_64-manylinux_2_40",), extras=("mqtt", "serve", "tensorrt")),
    # TensorRT is a system package of JetPack; JetPack 6 has CUDA 12.
    "jetpack6": Image("3.10", ("aarch64-manylinux_2_35",), more=("cuda-bindings>=12.8,<13",)),
    "jetpack7": Image("3.12", ("aarch64-manylinux_2_39",), more=("cuda-bindings>=13",)),
}


def requirements(image: Image) -> list[str]:
    """Return the direct dependencies of an image, with the OpenCV that needs no windows."""
    wanted = list(PROJECT["dependencies"])
    for extra in image.extras:
        wanted += PROJECT["optional-dependencies"][extra]
    return [
        one.replace("opencv-python", "opencv-python-headless", 1) for one in [*wanted, *image.more]
    ]


def main() -> None:
    """Resolve the images that are named; all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", default=list(IMAGES), help=", ".join(IMAGES))
    for name in parser.parse_args().images:
        _lock(name, IMAGES[name])


def _lock(name: str, image: Image) -> None:
    """Write the lock file of an image, and fail if one of its platforms needs other versions."""
    texts = {platform: _resolved(image, platform) for platform in image.platforms}
    if len(set(texts.values())) > 1:
        sys.exit(f"{name}: the platforms {image.platforms} resolve to different versions.")
    header = f"# Made by deploy/docker/lock.py for Python {image.python}: do not edit.\n"
    text = header + texts[image.platforms[0]]
    (FOLDER / f"{name}.lock").write_text(text, encoding="utf-8")
    print(f"{name}.lock: {text.count('==')} packages")


def _resolved(image: Image, platform: str) -> str:
    command = ("uv", "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header")
    options = ("--no-annotate", "--python-version", image.python, "--python-platform", platform)
    result = subprocess.run(
        [*command, *options],
        input="\n".join(requirements(image)),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{platform}: {result.stderr[-3000:]}")
    return result.stdout


if __name__ == "__main__":
    main()
