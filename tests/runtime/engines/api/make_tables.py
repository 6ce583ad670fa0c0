"""Make the API tables in this folder: names, arguments and result types of the real bindings.

    python tests/runtime/engines/api/make_tables.py

The script downloads the wheels of the bindings (1.3 MB each; TensorRT itself is not needed),
unpacks them into a temporary folder, and imports each in its own process with stub libraries that
have the symbols and return null. Nothing is called, so nothing can crash. It needs pip, gcc and the
network. The wheels are for CPython 3.11, so run it with that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEELS = {  # table: (requirement, module, libraries' major version or None)
    "tensorrt-10.3": ("tensorrt-cu12-bindings==10.3.0", "tensorrt_bindings", 10),
    "tensorrt-10.13": ("tensorrt-cu12-bindings==10.13.3.9", "tensorrt_bindings", 10),
    "tensorrt-11.4": ("tensorrt-cu13-bindings==11.4.0.106", "tensorrt_bindings", 11),
    "tensorrt-rtx-1.7": ("tensorrt-rtx-cu13-bindings==1.7.1.116", "tensorrt_rtx_bindings", 1),
    "cuda-12.8": ("cuda-bindings==12.8.0", "cuda.bindings.runtime", None),
    "cuda-13.5": ("cuda-bindings==13.5.0", "cuda.bindings.runtime", None),
}
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
# Runs in the child: prints one table. pybind11 writes signatures into docstrings, Cython too.
READER = r"""
import importlib, json, re, sys
module = importlib.import_module(sys.argv[1])
SKIP = re.compile(r"^I\w+Layer$|Plugin|Refit|Registry|^_|Algorithm|Calibrat")

def short(text):
    text = re.sub(r"nvonnxparser::I(?=Parser)", "", text.strip().strip("'"))
    return re.sub(r"\b(?:\w+(?:\.|::))+", "", text)

def signatures(name, doc):
    found = []
    for line in (doc or "").splitlines():
        match = re.match(rf"(?:\d+\. )?{name}\((.*)\)(?: -> (.+))?$", line.strip())
        if not match or match[1] == "*args, **kwargs":
            continue
        args = []
        for part in re.split(r", (?![^\[<(]*[\]>)])", match[1]) if match[1] else []:
            arg, _, default = part.partition(" = ")
            label = arg.split(":")[0].strip().split(" ")[-1].lstrip("*")
            if label != "self":
                args.append(label + ("?" if default else ""))
        found.append(f"({', '.join(args)}) -> {short(match[2] or 'object')}")
    return found

def entry(cls, name, value):
    if isinstance(value, property):
        doc = (value.fget.__doc__ or "") if value.fget else ""
        match = re.search(r"-> (.+)", doc.splitlines()[0] if doc else "")
        return short(match[1]) if match else "object"
    if isinstance(value, cls):
        return cls.__name__
    return signatures(name, getattr(value, "__doc__", "")) or ["(...) -> object"]

table = {"version": "", "classes": {}, "functions": {}}
if sys.argv[1].startswith("cuda"):
    import importlib.metadata
    for name in sorted(n for n in dir(module) if re.match(r"cuda[A-Z]", n)):
        value = getattr(module, name)
        if isinstance(value, type):
            if name in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode", "cudaDeviceProp"):
                kind = "object" if name == "cudaDeviceProp" else name
                table["classes"][name] = {n: kind for n in dir(value) if not n.startswith("_")}
        elif callable(value):
            table["functions"][name] = signatures(name, value.__doc__) or ["(...) -> object"]
        elif isinstance(value, int):
            table["functions"][name] = "int"
else:
    table["version"] = module.__version__
    for name in sorted(n for n in dir(module) if not SKIP.search(n)):
        value = getattr(module, name)
        if not isinstance(value, type) or issubclass(value, BaseException):
            continue
        members = {}
        hidden = ("name", "value") if hasattr(value, "__members__") else ()
        public = [n for n in dir(value) if not n.startswith("_") and n not in hidden]
        for member in sorted([*public, "__init__"]):
            owner = next((c for c in value.__mro__ if member in vars(c)), None)
            if owner in (None, object):
                continue
            members[member] = entry(value, member, vars(owner)[member])
        if members:
            table["classes"][name] = members
print(json.dumps(table))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for table, (requirement, module, major) in WHEELS.items():
            print(f"{table}: {requirement}")
            folder = work / table
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                str(folder),
                requirement,
            ]
            subprocess.run(command, check=True)
            for wheel in folder.glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(folder)
            (HERE / f"{table}.json").write_text(
                layout(read(folder, module, major), requirement), encoding="utf-8"
            )


def read(folder: Path, module: str, major: int | None) -> dict:
    """Import `module` of `folder` over stub libraries and describe it."""
    stubs = folder / "stubs"
    stubs.mkdir()
    if major is not None:
        source = stubs / "stub.c"
        source.write_text("".join(f"void* {symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
        for library in (
            "nvinfer",
            "nvonnxparser",
            "nvinfer_plugin",
            "tensorrt_rtx",
            "tensorrt_onnxparser_rtx",
        ):
            target = f"lib{library}.so.{major}"
            subprocess.run(
                [
                    "gcc",
                    "-shared",
                    "-fPIC",
                    f"-Wl,-soname,{target}",
                    "-o",
                    str(stubs / target),
                    str(source),
                ],
                check=True,
            )
    environment = os.environ | {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(folder)}
    child = subprocess.run(
        [sys.executable, "-c", READER, module],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        raise SystemExit(f"{module}: {child.stderr.strip().splitlines()[-1]}")
    return json.loads(child.stdout)


def layout(table: dict, requirement: str) -> str:
    """JSON with a line for each class, so that a diff between versions reads well."""
    classes = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(members)}" for name, members in table["classes"].items()
    )
    functions = json.dumps(table["functions"])
    version = table["version"] or requirement.partition("==")[2]
    return (
        f'{{\n "made from": {json.dumps(requirement)},\n "version": {json.dumps(version)},\n'
        f' "functions": {functions},\n "classes": {{\n{classes}\n }}\n}}\n'
    )


if __name__ == "__main__":
    main()
