"""Sources of a run from the command line and camera lists, reloaded on SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.camera.decisions import LabelView
from gasmcast.runtime.frames import Source
from gasmcast.runtime.live_settings import LiveConfig, with_settings
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.camera_spec import CameraSpec
from gasmcast.runtime.sources.open_sources import open_sources

__all__ = ["CameraEntry", "CameraList"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CameraEntry:
    """One source with its settings."""

    spec: CameraSpec
    """The source as the user wrote it."""
    source: Source
    config: LiveConfig | None
    """Settings of this source; None: those of the run."""
    recorded_as: str
    """Name of the source in a recording, without secrets."""

    @property
    def crop(self) -> dict[str, object]:
        """Region and mask of its images, if it has them."""
        return self.spec.model_dump(mode="json", include={"region", "mask"}, exclude_defaults=True)


class CameraList:
    """All sources of a run.

    Args:
        texts: sources as on the command line; none if only browsers are cameras.
        config: settings of the run.
        realtime: play files at their own pace.
        check: called with the entries before they are used; raises to reject them.

    Raises:
        UsageError: wrong settings, or as `open_sources`.
        SourceError: as `open_sources`.
    """

    def __init__(
        self,
        texts: Sequence[str],
        config: LiveConfig,
        *,
        realtime: bool = False,
        check: Callable[[list[CameraEntry]], None] = lambda _: None,
    ) -> None:
        self._texts = texts
        self._config = config
        self._realtime = realtime
        self._check = check

        self.entries = self._read()
        self.files: list[str] = []
        """Names of the sources that are not live; updated in place, because sinks hold the list."""
        self._update_files()

    @property
    def reloadable(self) -> bool:
        """True if there is a list of cameras (`@cameras.yaml`), which may change."""
        return any(text.startswith("@") for text in self._texts)

    def fill(self, session: Session) -> None:
        """Add all sources to a session."""
        for entry in self.entries:
            session.add(entry.source, entry.config, entry.recorded_as, entry.crop)

    def reload(self, session: Session) -> None:
        """Read the camera lists again and apply the changes to a running session.

        Removed cameras are removed, new ones added, changed ones replaced; all others run on. If
        anything in the lists is wrong, nothing changes, and the log says why.
        """
        # Check everything before anything changes: a typing error must not stop a running camera.
        try:
            wanted = self._read()
            for entry in wanted:
                if entry.config is not None:
                    LabelView(session.pipeline.model.labels, entry.config)
        except GasmcastError as error:
            _log.error("the sources stay as they are: %s", redact(error))
            return
        except Exception:  # noqa: BLE001 - whatever is in a list, the cameras run on
            _log.exception("the sources stay as they are, and this is a bug: please report it")
            return

        # A camera with any change is replaced, because its lane cannot change its settings.
        before = {entry.source.name: entry for entry in self.entries}
        same = set()
        for entry in wanted:
            old = before.get(entry.source.name)
            if old is not None and old.spec == entry.spec:
                same.add(entry.source.name)
        removed = [name for name in before if name not in same]
        new = [entry for entry in wanted if entry.source.name not in same]

        # First the removals, for a changed camera keeps its name.
        for name in removed:
            self._remove(session, name)
        added = [entry for entry in new if self._add(session, entry)]

        self.entries = [*(before[name] for name in before if name in same), *added]
        self._update_files()
        _log.warning(
            "the sources were read again: %d removed, %d added, %d unchanged",
            len(removed),
            len(added),
            len(same),
        )

    @staticmethod
    def _remove(session: Session, name: str) -> None:
        try:
            if not session.remove(name):
                _log.error("%s does not end: its last decisions come late", name)
        except GasmcastError as error:
            _log.error("%s is not removed: %s", name, redact(error))

    @staticmethod
    def _add(session: Session, entry: CameraEntry) -> bool:
        """Add a source; log it and return False if one of that name has not ended yet."""
        try:
            session.add(entry.source, entry.config, entry.recorded_as, entry.crop)
        except GasmcastError as error:
            _log.error("%s is not added: %s", entry.source.name, redact(error))
            return False
        except RuntimeError as error:
            # No more threads can be started; the next reload tries again.
            _log.error("%s is not added: %s.", entry.source.name, redact(error))
            return False
        return True

    def _read(self) -> list[CameraEntry]:
        if not self._texts:
            return []  # browsers join as cameras
        try:
            opened = open_sources(self._texts, realtime=self._realtime)
            entries = [self._entry(spec, source) for spec, source in opened]
        except OSError as error:
            # A folder that may not be entered or listed, a name that is too long.
            where = redact(error.filename or "a source")
            raise SourceError(
                f"{where} cannot be opened ({error.strerror}).",
                "Check the path, and that this user may read it.",
            ) from None
        except ValueError as error:
            # A number with thousands of digits, a path with a zero byte.
            raise SourceError(f"A source cannot be opened ({redact(error)}).") from None

        self._check(entries)
        return entries

    def _entry(self, spec: CameraSpec, source: Source) -> CameraEntry:
        # A URL may hold a password; the path of a file is needed whole for a replay.
        path = Path(spec.source)
        recorded_as = str(path.absolute()) if path.is_file() else redact(spec.source)
        config = with_settings(self._config, spec.settings, f"camera {source.name}")
        return CameraEntry(spec, source, config, recorded_as)

    def _update_files(self) -> None:
        self.files[:] = [entry.source.name for entry in self.entries if not entry.source.live]
