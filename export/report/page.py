"""The report as one HTML page: tables, bars as SVG, thumbnails of the clips that differ most."""

from __future__ import annotations

from html import escape
from typing import Any

from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.labels import Labels
from gasmcast.report.charts import bars, table, thumbnail
from gasmcast.report.html import document, percent

__all__ = ["render_page"]

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#1b1f24}
h1{font-size:1.6em;margin-bottom:.1em} h2{font-size:1.15em;margin:2em 0 .4em;border-bottom:1px solid #d5dae0;padding-bottom:.2em}
table{border-collapse:collapse;font-size:13px;margin:.6em 0} td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #e6e9ed}
td:first-child,th:first-child{text-align:left} th{color:#56606b;font-weight:600} .ok{color:#12713b} .bad{color:#b3261e;font-weight:600}
.note{color:#56606b} svg{max-width:100%} figure{display:inline-block;margin:.3em .6em .3em 0;font-size:12px}
figure img{display:block;border-radius:4px}
@media print{body{margin:0;max-width:none;font-size:11px} h2{break-after:avoid} table,svg,figure{break-inside:avoid}}
"""
_SHOWN = 24


def render_page(report: dict[str, Any], labels: Labels, clips: Clips) -> str:
    """The page; `report` is what report.json holds."""
    parts = [
        _head(report),
        _verdicts(report),
        _parity(report),
        _speed(report),
        _calibration(report),
        _sensitivity(report),
        _worst(report, labels, clips),
        _rules(report),
    ]
    return document("gasmcast export", _STYLE, "\n".join(part for part in parts if part))


def _percent(value: float | None) -> str | None:
    return None if value is None else percent(value)


def _head(report: dict[str, Any]) -> str:
    clips = report["clips"]
    loud = (
        "<p class='bad'>The weights are random: this bundle recognizes nothing.</p>"
        if report["random_weights"]
        else ""
    )
    judged = f"Judged on {clips['count']} {'held-out' if clips['origin'] == 'validation' else clips['origin']} clips"
    if not clips["labeled"]:
        judged += ", without labels of its classes: agreement only"
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["steps_s"].items())
    return f"<h1>Export report</h1><p>{escape(report['checkpoint'])}. {judged}.</p>{loud}<p class='note'>Steps: {escape(steps)}.</p>"


def _verdicts(report: dict[str, Any]) -> str:
    if not report["verdicts"]:
        lent = report["temperature_of_eval"]
        known = (
            ""
            if lent is None
            else f" FP32 has the temperature that `gasmcast eval` fitted for this checkpoint, {lent:.2f}."
        )
        return f"<h2>Accuracy gate</h2><p>No held-out clips were given, so only parity was judged.{known}</p>"
    rows = []
    for v in report["verdicts"]:
        low_high = v["loss_interval"]
        loss = (
            None
            if low_high is None
            else f"{100 * v['top1_loss']:.1f} [{100 * low_high[0]:.1f}, {100 * low_high[1]:.1f}]"
        )
        threshold = None if v["no_action"] is None else f"{v['no_action']:.2f}"
        rows.append(
            [
                v["precision"],
                v["passed"],
                _percent(v["agreement"]),
                _percent(v["top1"]),
                loss,
                _percent(v["ece"]),
                f"{v['temperature']:.2f}",
                threshold,
            ]
        )
    head = [
        "precision",
        "gate",
        "agreement",
        "top-1",
        "loss, points [95 %]",
        "ECE",
        "temperature",
        "no action below",
    ]
    why = "".join(
        f"<p class='bad'>{escape(v['precision'])} is not in the bundle: {escape('; '.join(v['reasons']))}.</p>"
        for v in report["verdicts"]
        if not v["passed"]
    )
    out = "".join(
        f"<p>{escape(p)} was not judged: {escape(reason)}.</p>"
        for p, reason in report["not_judged"].items()
    )
    if report["temperature_of_eval"] is not None:
        out += "<p>Without labels no temperature can be fitted: each precision has the one that `gasmcast eval` fitted for the weights.</p>"
    engines = "; ".join(f"{p}: {e}" for p, e in report["engines"].items())
    return f"<h2>Accuracy gate</h2>{table(head, rows)}{why}{out}<p class='note'>Judged on {escape(engines)}.</p>"


def _parity(report: dict[str, Any]) -> str:
    clips = report["parity"]["clips"]
    head = ["tensor", "engine", "", *_DEVIATION]
    rows = [
        [_tensor(c), c["engine"], c["passed"], *_deviation(c, clips)]
        for c in report["parity"]["comparisons"]
    ]
    page = f"<h2>Parity with torch, FP32</h2><p>{len(clips)} {escape(report['parity']['origin'])} clips.</p>{table(head, rows)}"
    others = [
        [_tensor(c), precision, *_deviation(c, clips)]
        for precision, found in report["deviation"].items()
        for c in found
    ]
    if not others:
        return page
    note = "Against FP32 on the same clips; the head is given FP32's features, streaming has both in this precision."
    return f"{page}<h2>What each precision changes</h2><p>{note}</p>{table(['tensor', 'precision', *_DEVIATION], others)}"


_DEVIATION = ("max error", "mean error", "cosine", "SNR", "top-1", "top-5", "worst clips")


def _tensor(comparison: dict[str, Any]) -> str:
    return f"{comparison['component']}.{comparison['tensor']}"


def _deviation(comparison: dict[str, Any], clips: list[str]) -> list[str | None]:
    c = comparison
    worst = ", ".join(str(clips[i]) for i in c["worst"][:2])
    errors = [
        f"{c['max_error']:.1e}",
        f"{c['mean_error']:.1e}",
        f"{c['cosine']:.6f}",
        f"{c['snr_db']:.0f} dB",
    ]
    return [*errors, _percent(c["top1"]), _percent(c["top5"]), worst]


def _speed(report: dict[str, Any]) -> str:
    speed = report.get("speed")
    if not speed:
        return ""
    rows = [
        (f"{t['component']} {t['precision']} {t['engine']}", t["median_ms"])
        for t in speed["timings"]
    ]
    notes = "".join(f"<li>{escape(n)}</li>" for n in speed["notes"])
    sizes = table(
        ["file", "MB"], [[name, f"{size / 1e6:.1f}"] for name, size in report["files"].items()]
    )
    return f"<h2>Speed on this machine</h2><p class='note'>Median of one call, batch 1.</p>{bars(rows, 'ms')}<ul>{notes}</ul>{sizes}"


def _calibration(report: dict[str, Any]) -> str:
    found = report.get("calibration")
    if not found:
        return ""
    seen = f"{found['clips']} training clips of {found['classes']} classes, {found['segments']} segments"
    out = [
        f"<h2>Calibration</h2><p>{seen}; the head on {found['head_clips']} clips. Set {found['sha256'][:12]}.</p>"
    ]
    for name, tensors in found["tensors"].items():
        worst = sorted(tensors, key=lambda t: -t["outlier_ratio"])[:_SHOWN]
        smoothed = {s["tensor"]: s for s in found["smoothed"][name]}
        out.append(
            f"<h2>Outliers of the {escape(name)}</h2><p class='note'>Largest channel over the median one, after smoothing; red: above 20, "
            f"where one scale for all leaves ordinary channels less than 4 bits. {len(smoothed)} tensors were smoothed.</p>"
        )
        out.append(
            bars(
                [(t["tensor"][-46:], t["outlier_ratio"]) for t in worst],
                "x",
                [t["outlier_ratio"] > 20 for t in worst],
                log=True,
            )
        )
        if smoothed:
            rows = [
                [
                    s["tensor"][-60:],
                    f"{s['outlier_ratio']:.0f} x",
                    s["power"],
                    "LayerNorm" if s["folded"] else "Mul",
                    f"{s['error_before']:.2e}",
                    f"{s['error_after']:.2e}",
                ]
                for s in sorted(smoothed.values(), key=lambda s: -s["outlier_ratio"])[:_SHOWN]
            ]
            out.append(
                table(
                    [
                        "smoothed tensor",
                        "outliers before",
                        "power",
                        "into",
                        "error before",
                        "after",
                    ],
                    rows,
                )
            )
    return "".join(out)


def _sensitivity(report: dict[str, Any]) -> str:
    out = []
    for precision, found in report.get("search", {}).items():
        back = set(found["moved_back"])
        losses = found["sensitivity"][:_SHOWN]
        note = "Noise of the logits when one block alone is INT8; red: moved back."
        out.append(f"<h2>Sensitivity of {escape(precision)}</h2><p class='note'>{note}</p>")
        out.append(
            bars(
                [(f"{x['block']}", x["noise"]) for x in losses],
                "",
                [x["block"] in back for x in losses],
                log=True,
            )
        )
        out.append(
            table(
                ["block", "component", "noise", "agreement"],
                [
                    [x["block"], x["component"], f"{x['noise']:.2e}", _percent(x["agreement"])]
                    for x in losses
                ],
            )
        )
        if found["tried"]:
            tried = "; ".join(
                f"{t['moved_back']} back: {'holds' if t['passed'] else 'fails'}"
                for t in found["tried"]
            )
            out.append(f"<p>Search: {escape(tried)}.</p>")
    return "".join(out)


def _worst(report: dict[str, Any], labels: Labels, clips: Clips) -> str:
    figures = []
    for v in report["verdicts"]:
        for i in v["disagree"][:4]:
            name = "" if clips.labels is None else f", {labels.names[int(clips.labels[i])]}"
            caption = escape(f"{v['precision']}: clip {clips.ids[i]}{name}")
            figures.append(f"<figure>{thumbnail(clips.pixels[i])}{caption}</figure>")
    if not figures:
        return ""
    return f"<h2>Clips that are decided otherwise than in FP32</h2>{''.join(figures[:12])}"


def _rules(report: dict[str, Any]) -> str:
    rows = [[r["file"], r["passed"], r["nodes"]] for r in report["rules"]]
    return f"<h2>TensorRT 10.3's parser rules</h2>{table(['file', '', 'nodes'], rows)}"
