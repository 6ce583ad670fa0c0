"""Measure how long four dead cameras take to fail, with and without OpenCV's capture lock.

    python docs/experiments/dead_cameras.py

The cameras are RTSP ports that accept a connection and never answer. OpenCV reads the setting
`OPENCV_FFMPEG_IS_THREAD_SAFE` once, so each value is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import time

CAMERAS = 4
TIMEOUT_MS = 2000


def measure(thread_safe: str) -> list[float]:
    """Open all cameras at once and return the seconds after which each one failed."""
    os.environ.update(OPENCV_FFMPEG_IS_THREAD_SAFE=thread_safe, OPENCV_FFMPEG_LOGLEVEL="-8")
    import cv2  # noqa: PLC0415 - reads the environment when it is imported

    cv2.utils.logging.setLogLevel(0)
    # A server that never accepts: the connection stands, and no answer comes.
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(CAMERAS)]
    ports = [server.getsockname()[1] for server in servers]
    started = time.monotonic()
    failed_after_s: list[float] = []

    def open_camera(port: int) -> None:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        cv2.VideoCapture(f"rtsp://127.0.0.1:{port}/x", cv2.CAP_FFMPEG, timeouts)
        failed_after_s.append(round(time.monotonic() - started, 2))

    # The servers stay open until all threads end: a closed port would fail at once.
    threads = [threading.Thread(target=open_camera, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed_after_s


def main() -> None:
    """Measure both settings, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "thread_safe", nargs="?", choices=("0", "1"), help="measure this setting only"
    )
    setting = parser.parse_args().thread_safe
    if setting is None:
        for value in ("0", "1"):
            subprocess.run([sys.executable, __file__, value], check=True)
    else:
        print(f"OPENCV_FFMPEG_IS_THREAD_SAFE={setting}: failed after {measure(setting)} s")


if __name__ == "__main__":
    main()
