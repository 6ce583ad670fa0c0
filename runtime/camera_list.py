"""The sources of a run as its command line and its lists of cameras name them, and how they change while it runs (SIGHUP)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gasmcast.errors import GasmcastError
from gasmcast.runtime.camera.decisions import LabelView
from gasmcast.runtime.frames import Source
from gasmcast.runtime.live_settings import LiveConfig, with_settings
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.camera_spec import CameraSpec
from gasmcast.runtime.sources.open_sources import open_sources

__all__ = ["Entry", "Roster"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One source: what was written of it, and what that makes."""

    spec: CameraSpec
    source: Source
    config: LiveConfig | None
    """The settings, where they differ from the run's."""
    told_as: str
    """What a recording says of it, without secrets."""

    @property
    def part(self) -> dict[str, object]:
        """The region and mask of its picture, where it has them."""
        return self.spec.model_dump(mode="json", include={"region", "mask"}, exclude_defaults=True)


class Roster:
    """The sources of a run.

    Args:
        texts: as on the command line.
        config: the run's settings.
        realtime: files at their own pace.
        check: looks at what was read before it is taken; raises what is wrong with it.

    Raises:
        UsageError, SourceError: as `open_sources`; settings that are none; what `check` raises.
    """

    def __init__(
        self,
        texts: Sequence[str],
        config: LiveConfig,
        *,
        realtime: bool = False,
        check: Callable[[list[Entry]], None] = lambda _: None,
    ) -> None:
        self._texts, self._config, self._realtime, self._check = texts, config, realtime, check
        self.entries = self._read()
        self.files: list[str] = []
        """Names of the sources that are not live; one object, so that who holds it sees them change."""
        self._note_files()

    @property
    def listed(self) -> bool:
        """There is a list of cameras, so the sources may change."""
        return any(text.startswith("@") for text in self._texts)

    def fill(self, session: Session) -> None:
        """Add all sources to a session."""
        for entry in self.entries:
            session.add(entry.source, entry.config, entry.told_as, entry.part)

    def renew(self, session: Session) -> None:
        """Bring a session that runs to what the lists say now.

        What is gone is removed, what is new is added, what reads otherwise than before is removed and added, the rest runs on untouched.
        Where anything in the lists is wrong, all stays as it was, and the log says why.
        """
        try:
            wanted = self._read()
            for entry in wanted:
                if entry.config is not None:
                    LabelView(session.pipeline.model.labels, entry.config)
        except GasmcastError as error:
            _log.error("the sources stay as they are: %s", redact(error))
            return
        before = {entry.source.name: entry for entry in self.entries}
        same = {
            entry.source.name
            for entry in wanted
            if (old := before.get(entry.source.name)) and old.spec == entry.spec
        }
        gone = [name for name in before if name not in same]
        fresh = [entry for entry in wanted if entry.source.name not in same]
        for name in gone:
            if not session.remove(name):
                _log.error("%s does not end: what it still decides comes late", name)
        added = [entry for entry in fresh if self._add(session, entry)]
        self.entries = [*(before[name] for name in before if name in same), *added]
        self._note_files()
        _log.warning(
            "the sources were read again: %d removed, %d added, %d as they were",
            len(gone),
            len(added),
            len(same),
        )

    @staticmethod
    def _add(session: Session, entry: Entry) -> bool:
        """False, and a line in the log, when it cannot be taken in: one of that name has not ended yet."""
        try:
            session.add(entry.source, entry.config, entry.told_as, entry.part)
        except GasmcastError as error:
            _log.error("%s is not taken in: %s", entry.source.name, redact(error))
            return False
        return True

    def _read(self) -> list[Entry]:
        found = []
        for spec, source in open_sources(self._texts, realtime=self._realtime):
            path = Path(spec.source)
            told_as = str(path.absolute()) if path.is_file() else redact(spec.source)
            found.append(
                Entry(
                    spec,
                    source,
                    with_settings(self._config, spec.settings, f"camera {source.name}"),
                    told_as,
                )
            )
        self._check(found)
        return found

    def _note_files(self) -> None:
        self.files[:] = [entry.source.name for entry in self.entries if not entry.source.live]
