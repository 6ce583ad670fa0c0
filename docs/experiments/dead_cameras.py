"""How long four cameras that accept and never answer take to fail, together, with and without OpenCV's lock between captures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time


def main() -> None:
    """With an argument: open four at once with that setting; without: both settings, each in a process of its own."""
    if len(sys.argv) == 1:
        for setting in ("0", "1"):
            subprocess.run([sys.executable, __file__, setting], check=True)
        return
    os.environ.update(OPENCV_FFMPEG_IS_THREAD_SAFE=sys.argv[1], OPENCV_FFMPEG_LOGLEVEL="-8")
    import cv2  # noqa: PLC0415 - reads the environment

    cv2.utils.logging.setLogLevel(0)
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    begun = time.monotonic()
    took = []

    def attempt(port: int) -> None:
        patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 2000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2000]
        cv2.VideoCapture(f"rtsp://127.0.0.1:{port}/x", cv2.CAP_FFMPEG, patience)
        took.append(round(time.monotonic() - begun, 2))

    threads = [
        threading.Thread(target=attempt, args=(server.getsockname()[1],)) for server in servers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"OPENCV_FFMPEG_IS_THREAD_SAFE={sys.argv[1]}: failed after {took} s")


main()
