"""Check every TensorRT and CUDA call in the code against tables of the real bindings.

api/make_tables.py makes the tables of names, arguments and result types. A small type inference
walks the code: `trt.Builder(...)` is a Builder, so what is called on it must be in Builder's table,
in every version, and its result is followed in turn. A call that cannot be followed is a failure.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
API = Path(__file__).parent / "api"
TENSORRT = ("tensorrt-10.3", "tensorrt-10.13", "tensorrt-11.4", "tensorrt-rtx-1.7")
CUDA = ("cuda-12.8", "cuda-13.5")
ENGINES = ROOT / "runtime" / "engines"
FILES = (
    ENGINES / "trt" / "builder_process.py",
    ENGINES / "tensorrt.py",
    ENGINES / "trt" / "execution.py",
    ENGINES / "trt" / "contexts.py",
    ENGINES / "trt" / "library.py",
    ENGINES / "trt" / "cuda.py",
    ENGINES / "trt" / "cuda_stream.py",
    ENGINES / "trt" / "device_blocks.py",
)
# Members that other objects have too; on one whose type is unknown they prove nothing.
COMMON = {
    "name",
    "shape",
    "dtype",
    "log",
    "size",
    "type",
    "nbytes",
    "itemsize",
    "precision",
    "kind",
    "read",
    "write",
}


@cache
def table(name: str) -> dict:
    return json.loads((API / f"{name}.json").read_text())


class Walk(ast.NodeVisitor):
    """Checks one file against one table.

    Types are ("module",), ("class", C), ("object", C) and ("method", [signatures]).
    """

    def __init__(self, tree: ast.Module, api: dict, modules: tuple[str, ...]) -> None:
        self.api, self.modules = api, modules
        self.errors: list[str] = []
        self.used: set[str] = set()
        self.names: dict[str, tuple] = {}
        self.members: dict[
            str, tuple
        ] = {}  # of self, and of the file's own dataclasses, by attribute name
        self.returns: dict[str, tuple] = {}
        objects = (
            members
            for name, members in api["classes"].items()
            if not any(kind == name for kind in members.values())
        )
        self.known = (
            {m for members in objects for m in members}
            - COMMON
            - {"major", "minor", "totalGlobalMem", *dir(list), *dir(dict), *dir(str)}
        )
        imports = [
            alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        ]
        self.imported = {alias.asname or alias.name for alias in imports} - set(modules)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for node in functions:
            if (kind := self.annotation(node.returns)) is not None:
                self.returns[node.name] = kind
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and (kind := self.annotation(node.annotation))
            ):
                self.members[node.target.id] = kind
        self.visit(tree)

    def annotation(self, node: ast.expr | None) -> tuple | None:
        """Return the class of `trt.X`, also within `trt.X | None`."""
        for part in ast.walk(node) if node is not None else ():
            if (
                isinstance(part, ast.Attribute)
                and isinstance(part.value, ast.Name)
                and part.value.id in self.modules
            ):
                if part.attr not in self.api["classes"]:
                    self.errors.append(f"line {part.lineno}: no class {part.attr}")
                return ("object", part.attr)
        return None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = dict(self.names)
        for arg in node.args.args:
            self.names.pop(arg.arg, None)
            if (kind := self.annotation(arg.annotation)) is not None:
                self.names[arg.arg] = kind
        for child in node.body:
            self.visit(child)
        self.names = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            kind = self.kind(base)
            if kind and kind[0] == "class":
                self.overrides(node, kind[1])
        self.generic_visit(node)

    def overrides(self, node: ast.ClassDef, base: str) -> None:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("__"):
                signatures = self.api["classes"][base].get(method.name)
                count = len(method.args.args) - 1
                if not isinstance(signatures, list) or all(
                    count != len(arguments(s)) for s in signatures
                ):
                    self.errors.append(
                        f"line {method.lineno}: {base}.{method.name} "
                        f"is not called with {count} arguments"
                    )

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.assign(target, node.value)

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self.assign(one, other)
            return
        kind = self.kind(value, quiet=True)
        if isinstance(target, ast.Name):
            self.names.pop(target.id, None)
            if kind is not None:
                self.names[target.id] = kind
        elif isinstance(target, ast.Attribute):
            base = self.kind(target.value, quiet=True)
            if base and base[0] == "object":
                self.kind(target)  # config.progress_monitor = ...: it must exist
            elif kind is not None:
                self.members[target.attr] = kind

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.kind(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.kind(node)
        self.generic_visit(node)

    def kind(self, node: ast.expr, quiet: bool = False) -> tuple | None:
        errors = list(self.errors)
        found = self._kind(node)
        if quiet:
            self.errors = errors
        return found

    def _kind(self, node: ast.expr) -> tuple | None:
        if isinstance(node, ast.Name):
            return ("module",) if node.id in self.modules else self.names.get(node.id)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        return None

    def attribute(self, node: ast.Attribute) -> tuple | None:
        if (
            node.attr.lstrip("_") in self.modules
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            return ("module",)
        base = self._kind(node.value)
        if base is None:
            if node.attr in self.members:
                return self.members[node.attr]
            if node.attr in self.known and not (
                isinstance(node.value, ast.Name) and node.value.id in self.imported
            ):
                self.errors.append(
                    f"line {node.lineno}: cannot tell what {ast.unparse(node)} belongs to"
                )
            return None
        if base[0] == "module":
            return self.global_name(node)
        if base[0] in {"class", "object"} and base[1] in self.api["classes"]:
            member = self.api["classes"][base[1]].get(node.attr)
            if member is None:
                self.errors.append(f"line {node.lineno}: {base[1]} has no {node.attr}")
                return None
            self.used.add(f"{base[1]}.{node.attr}")
            return ("method", member) if isinstance(member, list) else ("object", member)
        return None

    def global_name(self, node: ast.Attribute) -> tuple | None:
        if node.attr in self.api["classes"]:
            self.used.add(node.attr)
            return ("class", node.attr)
        if node.attr in self.api["functions"]:
            self.used.add(node.attr)
            found = self.api["functions"][node.attr]
            return ("method", found) if isinstance(found, list) else ("object", found)
        if not node.attr.startswith("__"):
            self.errors.append(f"line {node.lineno}: there is no {node.attr}")
        return None

    def call(self, node: ast.Call) -> tuple | None:
        function = self._kind(node.func)
        if function is None:
            name = (
                node.func.id
                if isinstance(node.func, ast.Name)
                else node.func.attr
                if isinstance(node.func, ast.Attribute)
                else ""
            )
            return self.returns.get(name)
        if function[0] == "class":
            self.fits(node, function[1], self.api["classes"][function[1]].get("__init__", []))
            return ("object", function[1])
        if function[0] == "method":
            self.fits(node, ast.unparse(node.func), function[1])
            return ("object", function[1][0].rpartition(" -> ")[2])
        return None

    def fits(self, node: ast.Call, what: str, signatures: list[str]) -> None:
        """Check that the arguments fit one of the signatures."""
        given, keywords = len(node.args), {k.arg for k in node.keywords}
        for signature in signatures:
            names = arguments(signature)
            if names == ["..."]:
                return
            required = {n for n in names[given:] if not n.endswith("?")}
            if (
                given <= len(names)
                and keywords <= {n.rstrip("?") for n in names[given:]}
                and required <= keywords
            ):
                return
        if not any(isinstance(argument, ast.Starred) for argument in node.args):
            self.errors.append(
                f"line {node.lineno}: {what} takes {' or '.join(signatures) or 'nothing'}"
            )


def arguments(signature: str) -> list[str]:
    inner = re.match(r"\((.*)\) ->", signature)
    return inner[1].split(", ") if inner and inner[1] else []


def modules_of(name: str) -> tuple[str, ...]:
    if name in CUDA:
        return ("cudart",)
    return ("trt", "rtx") if "rtx" in name else ("trt",)


def walk(source: str, name: str) -> Walk:
    return Walk(ast.parse(source), table(name), modules_of(name))


@pytest.mark.parametrize("name", TENSORRT + CUDA)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_call_is_in_the_table(file: Path, name: str) -> None:
    assert walk(file.read_text(), name).errors == []


@pytest.mark.parametrize("name", TENSORRT)
def test_the_walk_follows_the_builder_and_the_session(name: str) -> None:
    used = set().union(*(walk(file.read_text(), name).used for file in FILES))
    assert {
        "Builder.build_serialized_network",
        "IBuilderConfig.set_timing_cache",
        "IOptimizationProfile.set_shape",
        "ITimingCache.serialize",
        "OnnxParser.parse_from_file",
        "ParserError.desc",
        "ITensor.shape",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_device_memory",
        "IExecutionContext.set_optimization_profile_async",
        "IExecutionContext.set_tensor_address",
        "BuilderFlag.TF32",
        "ExecutionContextAllocationStrategy.USER_MANAGED",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    } <= used


@pytest.mark.parametrize("name", CUDA)
def test_what_is_read_of_a_device_is_there(name: str) -> None:
    assert {"name", "major", "minor", "totalGlobalMem"} <= set(
        table(name)["classes"]["cudaDeviceProp"]
    )


def test_the_walk_follows_cuda() -> None:
    used = set().union(*(walk(file.read_text(), "cuda-12.8").used for file in FILES))
    assert {
        "cudaGraphLaunch",
        "cudaStreamBeginCapture",
        "cudaMemcpy",
        "cudaMemcpyAsync",
        "cudaMemcpyKind.cudaMemcpyDeviceToDevice",
        "cudaMallocHost",
        "cudaError_t.cudaErrorInsufficientDriver",
    } <= used


OLD = """
def build(path, logger):
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.INT8)
    config.int8_calibrator = None
    return builder.build_serialized_network(builder.create_network(), config)
"""


def test_what_tensorrt_11_removed_is_found() -> None:
    assert walk(OLD, "tensorrt-10.3").errors == []
    assert [
        e.partition(": ")[2]
        for e in walk(OLD, "tensorrt-11.4").errors
        if "INT8" in e or "calibrator" in e
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("trt.Builder(logger).create_netwrk()", "Builder has no create_netwrk"),
        ("trt.Builder()", "Builder takes (logger) -> None"),
        (
            "trt.Builder(logger).create_network(0, 1)",
            "trt.Builder(logger).create_network takes (flags?) -> INetworkDefinition",
        ),
        ("trt.Buildr(logger)", "there is no Buildr"),
        ("mystery.execute_async_v3(0)", "cannot tell what mystery.execute_async_v3 belongs to"),
        ("config: trt.IBuilderConfg = make()", "no class IBuilderConfg"),
        ("rtx_only = trt.ComputeCapability", "there is no ComputeCapability"),
    ],
)
def test_the_walk_finds_mistakes(line: str, error: str) -> None:
    assert error in [e.partition(": ")[2] for e in walk(line, "tensorrt-10.3").errors]


def test_no_other_file_calls_tensorrt() -> None:
    """A new file that imports TensorRT or the CUDA bindings must be added to FILES."""
    found = set()
    for folder in ("gasmcast", "runtime", "export", "calibration"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if re.search(
                r"^\s*(import (tensorrt|tensorrt_rtx|cuda)\b|from (tensorrt|tensorrt_rtx|cuda)\b)"
                r"|import_module\(\"(tensorrt|cuda)",
                text,
                re.MULTILINE,
            ):
                found.add(path)
    doctor = ROOT / "gasmcast" / "commands" / "doctor" / "nvidia.py"
    assert found <= {*FILES, doctor}
    assert set(re.findall(r"\btensorrt\.(\w+)", re.sub(r'".*?"', "", doctor.read_text()))) <= {
        "__version__"
    }  # it asks for nothing else
