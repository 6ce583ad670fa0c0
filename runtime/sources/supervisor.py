"""All cameras of a process: added and removed while it runs, and one supervisor that looks after them."""

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
        make: a camera from source, listener and `gap_s`.
        most_files: files that are read at once; the others wait for one to end.
        every_s: seconds between two looks at each camera.
    """

    def __init__(
        self, make: Callable[..., Camera] = Camera, *, most_files: int = 4, every_s: float = 0.1
    ) -> None:
        self._make, self._most_files, self._every_s = make, most_files, every_s
        self._cameras: dict[str, Camera] = {}
        self._waiting: list[Camera] = []  # files whose turn has not come
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._supervisor: threading.Thread | None = None
        self.beat = time.monotonic()
        """When the supervisor last went round; for the watchdog."""

    def add(self, source: Source, listener: FrameListener, gap_s: float = 2.0) -> Camera:
        """Take a source in; it is read from now on, or as soon as fewer files are.

        Args:
            source: named; names are unique.
            listener: told of all that happens to it.
            gap_s: the step in the stamps of a live source that breaks its window.

        Raises:
            UsageError: the name is taken.
        """
        camera = self._make(source, listener, gap_s=gap_s)
        with self._lock:
            known = self._cameras.get(source.name)
            if known is not None and not known.over:
                raise UsageError(
                    f"There is a camera {source.name!r} already.", "Give the new one another name."
                )
            self._cameras[source.name] = camera
            self._waiting.append(camera)
        self._start_waiting()
        return camera

    def remove(self, name: str, timeout_s: float = 3.0) -> None:
        """Stop one camera, and forget it.

        Raises:
            UsageError: there is none of that name.
        """
        with self._lock:
            camera = self._cameras.pop(name, None)
            if camera in self._waiting:
                self._waiting.remove(camera)
        if camera is None:
            raise UsageError(
                f"There is no camera {name!r}.", f"There are: {', '.join(self.names()) or 'none'}."
            )
        camera.stop(timeout_s)

    def start(self) -> None:
        """Begin to supervise."""
        if self._supervisor is None:
            self._supervisor = threading.Thread(target=self._supervise, name="cameras", daemon=True)
            self._supervisor.start()

    def stop(self, timeout_s: float = 3.0) -> bool:
        """Stop every camera, all at the same time. False when a thread of one still hangs."""
        self._stop.set()
        if self._supervisor is not None:
            self._supervisor.join(timeout_s)
        with self._lock:
            cameras = list(self._cameras.values())
            self._waiting.clear()
        ends = [
            threading.Thread(target=camera.stop, args=(timeout_s,), daemon=True)
            for camera in cameras
        ]
        for end in ends:
            end.start()
        for end in ends:
            end.join(2 * timeout_s + 1.0)
        return not any(camera.threads for camera in cameras)

    def names(self) -> list[str]:
        """In the order they came."""
        with self._lock:
            return list(self._cameras)

    def tick(self) -> None:
        """One look at every camera. A bug in one is logged and does not keep the others from being looked after."""
        with self._lock:
            cameras = [camera for camera in self._cameras.values() if camera not in self._waiting]
        for camera in cameras:
            try:
                camera.tick()
            except Exception:  # noqa: BLE001, PERF203 - a few calls a second
                _log.exception("camera %s: its supervision failed", camera.name)
        self._start_waiting()
        self.beat = time.monotonic()

    def _start_waiting(self) -> None:
        with self._lock:
            files = sum(
                not (c.source.live or c.over or c in self._waiting) for c in self._cameras.values()
            )
            ready = []
            for camera in list(self._waiting):
                if camera.source.live or files < self._most_files:
                    files += not camera.source.live
                    self._waiting.remove(camera)
                    ready.append(camera)
        for camera in ready:
            camera.start()

    def _supervise(self) -> None:
        while not self._stop.wait(self._every_s):
            self.tick()
