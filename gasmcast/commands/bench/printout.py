"""The table that `gasmcast bench live` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["print_result"]

_COLUMNS = ("", "ms", "cpu ms", "x naive", "x window", "cameras in real time (~: estimated)", "MB")


def print_result(result: dict[str, Any]) -> None:
    """Print the figures of `measure_decision`."""
    table = Table(title="a decision on this machine")
    for title in _COLUMNS:
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    for row in result["rows"]:
        # Cells of other kinds of rows stay empty.
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
    for line in [*_camera_lines(result), *_peak_lines(result)]:
        console.print(line)
    console.print(
        f"Measured {result['bundle']} in {result['took_s']:.0f} s. "
        f"Next: gasmcast live SOURCE --bundle {result['bundle']}"
    )


def _camera_lines(result: dict[str, Any]) -> list[str]:
    """Return growth, latency and memory of the fastest precision, one sentence each."""
    growth = result["growth"]
    # Only the fastest precision was measured with several cameras.
    best = next(
        row
        for row in result["rows"]
        if row["kind"] == "cached" and row["precision"] == growth["precision"]
    )
    costs = ", ".join(
        f"{cameras}: {cost['ms_per_camera']:.1f}" for cameras, cost in growth["cameras"].items()
    )
    lines = [f"{best['precision']}: ms a camera as cameras grow {costs}"]

    # Latency at a slower pace is not comparable with one in real time, so it says so.
    pace = ""
    if "latency_at_slower" in best:
        pace = f", played {best['latency_at_slower']:g} times slower than real time"
    for stage, ms in best["latency_ms"].items():
        lines.append(
            f"latency of one camera{pace}, {stage}: "
            f"p50 {ms['p50']:.1f}, p95 {ms['p95']:.1f}, p99 {ms['p99']:.1f} ms"
        )

    one, four = best["rss_mb"], best["rss_mb_4_cameras"]
    per_camera = best["rss_mb_per_camera"]
    lines.append(
        f"memory: one camera {one:.0f} MB, four {four:.0f} MB: {per_camera:.0f} MB a camera"
    )
    return lines


def _peak_lines(result: dict[str, Any]) -> list[str]:
    """Return peak rate and profile, which only OpenVINO has."""
    if "peak_macs_per_s" not in result:
        return []
    rates = ", ".join(
        f"{rate / 1e9:.0f} in {precision}" for precision, rate in result["peak_macs_per_s"].items()
    )
    shares = ", ".join(
        f"{precision} {100 * share:.0f} %"
        for precision, share in result["encoder_share_of_peak"].items()
    )
    lines = [f"peak, G multiply-adds/s: {rates}; the encoder reaches {shares or '?'}"]

    profile = result["profile_ms"]
    for graph in ("encoder", "head"):
        parts = ", ".join(f"{kind} {ms:.1f}" for kind, ms in profile[graph].items())
        lines.append(f"{graph}, {profile['precision']}, ms: {parts}")
    return lines
