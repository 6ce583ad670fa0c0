"""Write the occlusion check of a whole set as a page and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from gasmcast.explain.clip_page import faithfulness_table
from gasmcast.explain.curve_plots import draw_occlusion
from gasmcast.explain.faithfulness import Faithfulness
from gasmcast.explain.subject import Subject
from gasmcast.files import write_atomic
from gasmcast.report.html import data_uri, render

__all__ = ["write_faithfulness"]


def write_faithfulness(check: Faithfulness, subject: Subject, data: Path, out: Path) -> None:
    """Write `index.html` and `faithfulness.json`.

    Args:
        check: the result.
        subject: model.
        data: set that the clips are of.
        out: folder; created if missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    facts = {"subject": subject.name, "data": data.name, **check.to_json()}
    write_atomic(out / "faithfulness.json", json.dumps(facts, indent=1))

    curves = draw_occlusion(
        check.most, check.least, check.random, "probability of the predicted class"
    )
    page = render(
        "faithfulness.html.j2",
        title="Is the attention faithful?",
        subject=subject.name,
        data=data.name,
        check=check,
        verdict=str(check),
        notes=subject.notes,
        curves=data_uri(curves.encode(), "svg+xml"),
        table=faithfulness_table(check, "clips"),
    )
    write_atomic(out / "index.html", page)
