"""All cameras of a process, added and removed at run time, with one supervising thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gasmcast.errors import UsageError
from gasmcast.runtime.frames import FrameListener, Source
from gasmcast.runtime.sources.camera import Camera

__all__ = ["Cameras"]

_log = logging.getLogger(__name__)


class Cameras:
    """Cameras by name.

    Args:
        make: makes a camera from source, listener and `gap_s`.
        max_files: files to read at once; the others wait until one ends.
        every_s: seconds between two ticks of each camera.
    """

    def __init__(
        self, make: Callable[..., Camera] = Camera, *, max_files: int = 4, every_s: float = 0.1
    ) -> None:
        self._make, self._max_files, self._every_s = make, max_files, every_s
        self._cameras: dict[str, Camera] = {}
        self._waiting: list[Camera] = []  # files that are not read yet
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._supervisor: threading.Thread | None = None
        self.beat = time.monotonic()
        """Monotonic seconds of the supervisor's last tick, for the watchdog."""

    def add(self, source: Source, listener: FrameListener, gap_s: float = 2.0) -> Camera:
        """Add a source and read it now, or as soon as fewer than `max_files` files are read.

        Args:
            source: its name must be unique.
            listener: receives its frames and states.
            gap_s: step in the stamps of a live source that breaks its window.

        Raises:
            UsageError: the name is taken.
        """
        camera = self._make(source, listener, gap_s=gap_s)
        with self._lock:
            present = self._cameras.get(source.name)
            # A camera that has ended may be replaced.
            if present is not None and not present.over:
                raise UsageError(
                    f"There is a camera {source.name!r} already.", "Give the new one another name."
                )

            self._cameras[source.name] = camera
            self._waiting.append(camera)

        self._start_waiting()
        return camera

    def remove(self, name: str, timeout_s: float = 3.0) -> None:
        """Stop and remove one camera.

        Raises:
            UsageError: no camera has this name.
        """
        with self._lock:
            camera = self._cameras.pop(name, None)
            # A file that waits is not read after its removal.
            if camera in self._waiting:
                self._waiting.remove(camera)

        if camera is None:
            raise UsageError(
                f"There is no camera {name!r}.", f"There are: {', '.join(self.names()) or 'none'}."
            )
        # Without the lock: stopping may take seconds.
        camera.stop(timeout_s)

    def start(self) -> None:
        """Start the supervising thread."""
        if self._supervisor is None:
            self._supervisor = threading.Thread(target=self._supervise, name="cameras", daemon=True)
            self._supervisor.start()

    def stop(self, timeout_s: float = 3.0) -> bool:
        """Stop all cameras concurrently; returns False if a thread of one still hangs."""
        self._stop.set()
        if self._supervisor is not None:
            self._supervisor.join(timeout_s)
        with self._lock:
            cameras = list(self._cameras.values())
            self._waiting.clear()

        # One thread each: cameras that hang must not add up their timeouts.
        threads = [
            threading.Thread(target=camera.stop, args=(timeout_s,), daemon=True)
            for camera in cameras
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * timeout_s + 1.0)

        return not any(camera.threads for camera in cameras)

    def names(self) -> list[str]:
        """Return the names in the order in which cameras were added."""
        with self._lock:
            return list(self._cameras)

    def tick(self) -> None:
        """Tick every camera; a bug in one is logged and does not affect the others."""
        with self._lock:
            cameras = [camera for camera in self._cameras.values() if camera not in self._waiting]
        for camera in cameras:
            try:
                camera.tick()
            except Exception:  # noqa: BLE001, PERF203 - a few calls per second
                _log.exception("camera %s: its supervision failed", camera.name)
        self._start_waiting()
        # A supervisor that hangs in a camera stops the beat, and the watchdog notices.
        self.beat = time.monotonic()

    def _start_waiting(self) -> None:
        with self._lock:
            files = sum(
                not (camera.source.live or camera.over or camera in self._waiting)
                for camera in self._cameras.values()
            )

            ready = []
            for camera in list(self._waiting):
                if camera.source.live or files < self._max_files:
                    files += not camera.source.live
                    self._waiting.remove(camera)
                    ready.append(camera)

        # Without the lock: a camera calls its listener when it starts.
        for camera in ready:
            camera.start()

    def _supervise(self) -> None:
        while not self._stop.wait(self._every_s):
            self.tick()
