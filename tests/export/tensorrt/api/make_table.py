"""Make torch_tensorrt-2.14.json: the functions that the route may call, and their arguments.

The route is export/tensorrt/torch_tensorrt.py; the table holds nothing else.

    python tests/export/tensorrt/api/make_table.py

Downloads the wheel (4 MB; neither TensorRT nor a driver is needed), and reads its Python sources
without importing them.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "torch-tensorrt==2.14.0"
FUNCTIONS = {  # name as it is called: (source, function)
    "dynamo.compile": ("torch_tensorrt/dynamo/_compiler.py", "compile"),
    "save": ("torch_tensorrt/_compile.py", "save"),
    "load": ("torch_tensorrt/_compile.py", "load"),
}
EXPORTS = {
    "torch_tensorrt/__init__.py": "from torch_tensorrt._compile import *",
    "torch_tensorrt/dynamo/__init__.py": "compile",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                name,
                REQUIREMENT,
            ],
            check=True,
        )
        zipfile.ZipFile(next(work.glob("*.whl"))).extractall(work)
        for source, text in EXPORTS.items():
            assert text in (work / source).read_text(), f"{source} no longer exports {text}"
        table = {
            call: arguments(work / source, function)
            for call, (source, function) in FUNCTIONS.items()
        }
        table["Input"] = {
            "positional": [],
            "keywords": input_keywords(work / "torch_tensorrt/_Input.py"),
            "any": False,
        }
    lines = ",\n".join(f" {json.dumps(call)}: {json.dumps(entry)}" for call, entry in table.items())
    target = Path(__file__).with_name("torch_tensorrt-2.14.json")
    target.write_text(
        f'{{\n "made from": {json.dumps(REQUIREMENT)},\n{lines}\n}}\n', encoding="utf-8"
    )


def arguments(source: Path, function: str) -> dict:
    """Positional and keyword arguments of a module's function, and whether it takes any keyword."""
    tree = ast.parse(source.read_text())
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    positional = [arg.arg for arg in node.args.args]
    return {
        "positional": positional,
        "keywords": positional + [arg.arg for arg in node.args.kwonlyargs],
        "any": node.args.kwarg is not None,
    }


def input_keywords(source: Path) -> list[str]:
    """Return the keywords that `Input.__init__(*args, **kwargs)`, without a signature, reads."""
    tree = ast.parse(source.read_text())
    init = next(
        n
        for c in tree.body
        if isinstance(c, ast.ClassDef)
        for n in c.body
        if isinstance(n, ast.FunctionDef) and n.name == "__init__"
    )
    found = set()
    for node in ast.walk(init):
        value = (
            node.slice
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "kwargs"
            else None
        )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "kwargs.get":
            value = node.args[0]
        if isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "kwargs":
            value = node.left
        if isinstance(value, ast.Constant):
            found.add(value.value)
    return sorted(found)


if __name__ == "__main__":
    main()
