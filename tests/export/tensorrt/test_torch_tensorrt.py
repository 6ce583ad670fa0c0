"""The torch-tensorrt route.

Every call against the package's sources, the flow against a fake compiler, or on a GPU if present.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from gasmcast.config import ModelConfig, load_config
from gasmcast.errors import MachineError, UsageError
from gasmcast.export.tensorrt import torch_tensorrt as route
from gasmcast.models.model import Features, build_model
from gasmcast.spec import ClipSpec

ROOT = Path(__file__).resolve().parents[3]
TABLE = json.loads((Path(__file__).parent / "api" / "torch_tensorrt-2.14.json").read_text())


def mistakes(source: str) -> list[str]:
    """Calls on `torch_tensorrt` that the table lacks, or with arguments that it lacks."""
    found = []
    tree = ast.parse(source)
    splats = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.Return) and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }
    for node in ast.walk(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if not name.startswith("torch_tensorrt."):
            continue
        entry = TABLE.get(name.removeprefix("torch_tensorrt."))
        if entry is None:
            found.append(f"no {name}")
            continue
        if len(node.args) > len(entry["positional"]):
            found.append(f"{name}: too many arguments")
        keywords = {k.arg for k in node.keywords if k.arg}
        if any(k.arg is None for k in node.keywords):
            keywords |= splats
        # compile and save ignore unknown keywords silently, so a misspelt one would do nothing:
        # names count although any is accepted.
        found += [
            f"{name}: no argument {keyword}"
            for keyword in sorted(keywords - set(entry["keywords"]))
        ]
    return found


def test_every_call_is_in_the_packages_sources() -> None:
    source = (ROOT / "export" / "tensorrt" / "torch_tensorrt.py").read_text()
    assert mistakes(source) == []
    assert all(f"torch_tensorrt.{name}(" in source for name in ("dynamo.compile", "save", "Input"))


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (
            "torch_tensorrt.dynamo.compile(program, arg_inputs=x, enabled_precisions={1})",
            "torch_tensorrt.dynamo.compile: no argument enabled_precisions",
        ),
        ("torch_tensorrt.dynamo.trace(program)", "no torch_tensorrt.dynamo.trace"),
        ("torch_tensorrt.Input(min_shap=(1,))", "torch_tensorrt.Input: no argument min_shap"),
        ("torch_tensorrt.save(a, b, c)", "torch_tensorrt.save: too many arguments"),
    ],
)
def test_mistakes_are_found(line: str, mistake: str) -> None:
    assert mistakes(line) == [mistake]


SPEC = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)


class Stand(torch.nn.Module):
    """Interface of a model with almost nothing inside; tests of the ONNX route trace real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.spec, self.config = (
            SPEC,
            ModelConfig(layers=1, semantic_taps=(1,), motion_taps=("layer2",)),
        )
        self.inner = torch.nn.Linear(3, 4)

    def encode(self, segments):
        colors = self.inner(segments[:, 1:].float().mean((2, 3, 4)) / 255)  # (B, 1, 4)
        return Features(colors[:, :, None, None, None], colors[:, :, None, None])

    def classify(self, features):
        return features.semantic.flatten(1) + features.motion.flatten(1)


@pytest.fixture
def model() -> Stand:
    torch.manual_seed(0)
    return Stand().eval()


class FakeCompiler(ModuleType):
    """`torch_tensorrt`: compiles to the exported program itself, or to one that went wrong."""

    def __init__(self, wrong: float | None = None) -> None:
        super().__init__("torch_tensorrt")
        self.calls: list[tuple[str, dict]] = []
        self.wrong = wrong
        self.dynamo = SimpleNamespace(compile=self.compile)

    def Input(self, **shape):  # noqa: N802
        return SimpleNamespace(**shape)

    def compile(self, program, **options):
        self.calls.append(("compile", options))
        module = program.module()
        if self.wrong is None:
            return module
        return lambda *feeds: torch.utils._pytree.tree_map(lambda t: t * self.wrong, module(*feeds))

    def save(self, compiled, path, **options):
        self.calls.append(("save", options))
        Path(path).write_bytes(b"a program")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def install(wrong: float | None = None) -> FakeCompiler:
        fake = FakeCompiler(wrong)
        monkeypatch.setitem(sys.modules, "torch_tensorrt", fake)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return fake

    return install


def test_encoder_and_head_are_compiled_saved_and_compared(
    model: Stand, compiler, tmp_path: Path
) -> None:
    fake = compiler()
    names: list[str] = []
    done = route.compile_graphs(
        model, tmp_path / "out", cameras=3, device="cpu", progress=names.append
    )
    assert names == ["compiling encoder", "compiling head"]
    assert [engine.path.name for engine in done] == ["encoder.ep", "head.ep"]
    assert all(done)
    assert all(engine.path.read_bytes() == b"a program" for engine in done)
    assert "cosine with PyTorch 1.0000" in str(done[0])
    assert done[0].to_json()["passed"]
    compiles = [options for name, options in fake.calls if name == "compile"]
    [pixels] = compiles[0]["arg_inputs"]
    assert pixels.dtype == torch.uint8
    assert (pixels.min_shape[0], pixels.opt_shape[0], pixels.max_shape[0]) == (1, 3, 3)
    assert all(
        options["enable_autocast"] and options["autocast_low_precision_type"] is torch.float16
        for options in compiles
    )
    assert all(str(tmp_path / "cache") in options["timing_cache_path"] for options in compiles)


def test_outputs_that_went_wrong_fail(model: Stand, compiler, tmp_path: Path) -> None:
    compiler(float("nan"))
    done = route.compile_graphs(model, tmp_path / "out", precision="fp32", device="cpu")
    assert not any(done)
    assert "FAIL" in str(done[0])


def test_what_cannot_be_compiled(model: Stand, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="compiles no 'int8'"):
        route.compile_graphs(model, tmp_path, precision="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_a_machine_without_a_gpu(model: Stand, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"PyTorch sees no CUDA device.*pip install") as caught:
        route.compile_graphs(model, tmp_path)
    assert caught.value.exit_code == 3


@pytest.mark.gpu
@pytest.mark.timeout(3600)
@pytest.mark.skipif(bool(route.missing()), reason=f"needs a GPU: {route.missing()}")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu(tmp_path: Path, precision: str) -> None:
    model = build_model(load_config("demo"))
    done = route.compile_graphs(model, tmp_path, cameras=2, precision=precision)
    assert all(done), [str(engine) for engine in done]
    assert all(engine.path.stat().st_size > 1000 for engine in done)
