"""The table that `gasmcast bench live` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["print_result"]


def print_result(result: dict[str, Any]) -> None:
    """Print everything that was measured."""
    table = Table(title="a decision on this machine")
    for title in (
        "",
        "ms",
        "cpu ms",
        "x naive",
        "x window",
        "cameras in real time (~: estimated)",
        "MB",
    ):
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    for row in result["rows"]:
        table.add_row(
            row["name"],
            f"{row['ms_per_decision']:.1f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['speedup_vs_naive']:.1f}" if "speedup_vs_naive" in row else "",
            f"{row['speedup_vs_window']:.1f}" if "speedup_vs_window" in row else "",
            f"{'' if row['cameras_measured'] else '~'}{row['cameras_realtime']}",
            f"{row['rss_mb']:.0f}",
        )
    console = Console()
    console.print(table)
    for line in _lines(result):
        console.print(line)
    console.print(
        f"Measured {result['bundle']} in {result['took_s']:.0f} s. Next: gasmcast live SOURCE --bundle {result['bundle']}"
    )


def _lines(result: dict[str, Any]) -> list[str]:
    """What does not fit the table, a sentence each."""
    growth = result["growth"]
    best = next(
        row
        for row in result["rows"]
        if row["kind"] == "cached" and row["precision"] == growth["precision"]
    )
    costs = ", ".join(
        f"{cameras}: {cost['ms_per_camera']:.1f}" for cameras, cost in growth["cameras"].items()
    )
    lines = [f"{best['precision']}: ms a camera as cameras grow {costs}"]
    pace = (
        f", played {best['latency_at_slower']:g} times slower than real time"
        if "latency_at_slower" in best
        else ""
    )
    for stage, found in best["latency_ms"].items():
        lines.append(
            f"latency of one camera{pace}, {stage}: p50 {found['p50']:.1f}, p95 {found['p95']:.1f}, p99 {found['p99']:.1f} ms"
        )
    one, four = best["rss_mb"], best["rss_mb_4_cameras"]
    lines.append(
        f"memory: one camera {one:.0f} MB, four {four:.0f} MB: {best['rss_mb_per_camera']:.0f} MB a camera"
    )
    if "peak_macs_per_s" in result:
        rates = ", ".join(
            f"{rate / 1e9:.0f} in {precision}"
            for precision, rate in result["peak_macs_per_s"].items()
        )
        shares = ", ".join(
            f"{p} {100 * share:.0f} %" for p, share in result["encoder_share_of_peak"].items()
        )
        lines.append(f"peak, G multiply-adds/s: {rates}; the encoder reaches {shares or '?'}")
        for graph in ("encoder", "head"):
            parts = result["profile_ms"][graph]
            lines.append(
                f"{graph}, {result['profile_ms']['precision']}, ms: {', '.join(f'{kind} {ms:.1f}' for kind, ms in parts.items())}"
            )
    return lines
