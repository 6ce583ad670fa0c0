"""Run the RUN lines of a Dockerfile in a fresh Debian root, on a machine without Docker.

    debootstrap --variant=minbase trixie root
    python deploy/docker/try_in_root.py deploy/docker/cpu.Dockerfile root --bundle tiny.gasm

Each stage gets a copy of the root; FROM, WORKDIR, COPY, ENV, USER and RUN are interpreted, every
RUN line with `sh -c` as Docker does it. At the end the image's ENTRYPOINT runs `live` on a
synthetic scene as the image's user, over a root that is mounted read-only, and its HEALTHCHECK
must turn 0 while it runs. Needs root. It proves the lines, not the image: layers, platforms and
the base image's digest are Docker's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Instruction", "Stage", "instructions"]

ROOT = Path(__file__).resolve().parents[2]
HEALTH_S = 90


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, with its continued lines joined."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return the arguments; those in JSON form as they are."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@dataclass
class Stage:
    """State of a stage while it is built."""

    root: Path
    name: str = ""
    folder: str = "/"
    user: str = "0:0"
    environment: dict[str, str] = field(default_factory=dict)
    last: dict[str, Instruction] = field(default_factory=dict)
    """The newest instruction of each kind: the ENTRYPOINT, the HEALTHCHECK."""


def instructions(path: Path) -> list[Instruction]:
    """Parse a Dockerfile of simple form: no heredocs, no parser directives."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def main() -> None:
    """Build all stages below a scratch folder and run the last one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("debian", type=Path, help="root that debootstrap made; not changed")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("build/roots"))
    parser.add_argument("--ca", type=Path, help="certificates that pip needs behind a proxy")
    options = parser.parse_args()

    stages: list[Stage] = []
    for step in instructions(options.dockerfile):
        if step.name == "FROM":
            root = options.scratch.resolve() / f"stage{len(stages)}"
            shutil.rmtree(root, ignore_errors=True)
            root.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", options.debian, root], check=True)
            shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
            stages.append(Stage(root, name=step.text.rpartition(" ")[2]))
        elif stages:
            _apply(step, stages, options.ca)
    _serve(stages[-1], options.bundle)


def _apply(step: Instruction, stages: list[Stage], ca: Path | None) -> None:
    stage = stages[-1]
    stage.last[step.name] = step
    if step.name == "RUN":
        start = time.monotonic()
        print(f"RUN {step.text}")
        environment = dict(stage.environment)
        if ca is not None:
            shutil.copy(ca, stage.root / "root" / "ca.crt")
            environment["PIP_CERT"] = "/root/ca.crt"
        _enter(stage, ["sh", "-c", step.text], environment)
        print(f"  exit status 0 after {time.monotonic() - start:.0f} s")
    elif step.name == "ENV":
        for pair in step.words():
            name, _, value = pair.partition("=")
            stage.environment[name] = value.replace("$PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
    elif step.name in {"WORKDIR", "USER"}:
        setattr(stage, {"WORKDIR": "folder", "USER": "user"}[step.name], step.text)
        (stage.root / stage.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif step.name == "COPY":
        _copy(step, stages)


def _copy(step: Instruction, stages: list[Stage]) -> None:
    words, base = step.words(), ROOT
    if words[0].startswith("--from="):
        name = words.pop(0).partition("=")[2]
        base = next(stage.root for stage in stages if stage.name == name)
    *sources, target = words
    place = stages[-1].root / stages[-1].folder.lstrip("/") / target.rstrip("/")
    if target.startswith("/"):
        place = stages[-1].root / target.lstrip("/")
    for pattern in sources:
        for source in sorted(base.glob(pattern.lstrip("/"))):
            copy = ["cp", "-aT", source, place] if source.is_dir() else ["cp", "-a", source, place]
            subprocess.run(copy, check=True)


def _enter(stage: Stage, command: list[str], environment: dict[str, str]) -> None:
    """Run a command inside the root of a stage; fail if it does."""
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    chroot = ["chroot", f"--userspec={stage.user}", str(stage.root)]
    inside = ["sh", "-c", 'cd "$0" && exec "$@"', stage.folder, *command]
    subprocess.run([*chroot, *inside], env=variables | environment, check=True)


def _serve(stage: Stage, bundle: Path) -> None:
    """Run the service over a read-only root until its health check passes."""
    settings = stage.root / "etc" / "gasmcast"
    shutil.copytree(bundle, settings / "model.gasm", dirs_exist_ok=True)
    shutil.copy(ROOT / "deploy" / "live.yaml", settings)
    (settings / "cameras.yaml").write_text("cameras:\n  - {name: scene, source: 'demo:'}\n")
    subprocess.run(["chmod", "-R", "a+rX", settings], check=True)

    command = [*stage.last["ENTRYPOINT"].words(), *stage.last["CMD"].words()]
    health = json.loads(stage.last["HEALTHCHECK"].text.partition(" CMD ")[2])
    # A mount namespace of its own: the volumes and /tmp are writable, everything else is not.
    script = f"""
        set -e
        root={shlex.quote(str(stage.root))}
        mount --bind "$root" "$root" && mount -o remount,ro,bind "$root"
        for name in tmp var/lib/gasmcast var/cache/gasmcast; do
            mount -t tmpfs -o mode=1777 tmpfs "$root/$name"
        done
        mount --bind /dev "$root/dev" && mount -t proc proc "$root/proc"
        enter() {{ chroot --userspec={stage.user} "$root" env -C {stage.folder} "$@"; }}
        if touch "$root/opt/gasmcast/written" 2>/dev/null; then echo "root is writable"; exit 1; fi
        # With exec, so that the signal reaches the command and not a shell around it.
        (exec chroot --userspec={stage.user} "$root" env -C {stage.folder} \
            {shlex.join(command)}) & live=$!
        for second in $(seq {HEALTH_S}); do
            sleep 1
            if enter {shlex.join(health)} 2>/dev/null; then healthy=$second; break; fi
        done
        echo "user $(enter id -u), root read-only, healthy after ${{healthy:?never}} s"
        sleep 5
        kill -TERM $live && wait $live
        echo "exit status $? after SIGTERM"
        du -sm "$root/opt/gasmcast" "$root/usr" | sed 's/^/MB: /'
    """
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**stage.environment, "TERM": os.environ.get("TERM", "dumb")},
        check=False,
    )
    if result.returncode:
        sys.exit(f"the service did not become healthy, or did not end: {result.returncode}")


if __name__ == "__main__":
    main()
