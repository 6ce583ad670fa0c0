"""Keep the libraries below gasmcast from reporting their use: nothing leaves the machine.

OpenVINO's Python package posts a usage event with a lasting client id to an analytics host when it
is imported, unless the package `openvino_telemetry` is absent or the user has opted out. ONNX
Runtime (seen in 1.32 for Linux) uploads events from native code and keeps a device id in the user's
cache (microsoft/onnxruntime, pull requests 27379 and 29843). Hugging Face's client adds usage data
to its requests. A Ray cluster sends usage statistics, unless the process that starts it says no.
"""

from __future__ import annotations

import os
import sys

__all__ = ["disable_telemetry"]

_SWITCHES = (
    "ORT_DISABLE_TELEMETRY",
    "ORT_TELEMETRY_DISABLED",
    "HF_HUB_DISABLE_TELEMETRY",
    "DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
)
"""Environment variables that libraries read when they are imported; child processes inherit them.
"""


def disable_telemetry() -> None:
    """Turn usage reports of third-party packages off, before they are imported.

    Only this process and its children are affected: the opt-out file that the packages keep in the
    user's home is not written.
    """
    for name in _SWITCHES:
        os.environ[name] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

    # A module that is None cannot be imported: OpenVINO then takes its own stub, which does
    # nothing.
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # as import allows
