"""The script of the tutorial makes a data set that gasmcast reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from gasmcast.data.annotations import read_labels, read_split

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_one_folder_per_class_becomes_a_data_set(tmp_path):
    blocks = re.compile(r"^```python\n(import json.*?)^```", re.MULTILINE | re.DOTALL)
    script = blocks.search(PAGE.read_text(encoding="utf-8"))[1]
    for name in ("opening a door", "closing a door"):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for source in ("monday", "tuesday", "friday"):
            for number in range(2):
                (folder / f"{source}_{number:02}.mp4").write_bytes(b"video")
    (tmp_path / "annotate.py").write_text(script)

    subprocess.run([sys.executable, "annotate.py", "clips", "myset"], cwd=tmp_path, check=True)

    data = tmp_path / "myset"
    train, validation = read_split(data, "train"), read_split(data, "validation")
    assert read_labels(data).names == ("closing a door", "opening a door")
    assert (len(train), len(validation)) == (8, 4)
    assert all(sample.path is not None for sample in train + validation)
    assert not {sample.source for sample in train} & {sample.source for sample in validation}
