"""The web view of `gasmcast live`: its options, and the objects that they start."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from gasmcast.commands.live_status import print_status
from gasmcast.commands.quantities import parse_hours
from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint
from gasmcast.runtime.web import PORT

if TYPE_CHECKING:
    from gasmcast.runtime.attention_view import AttentionView
    from gasmcast.runtime.session import Session
    from gasmcast.runtime.streaming_model import Model
    from gasmcast.runtime.web.feed import WebFeed
    from gasmcast.runtime.web.server import WebServer

__all__ = ["ADDRESS", "LiveCommand", "WebView", "open_attention", "open_web_view", "start_web_view"]

ADDRESS = f"127.0.0.1:{PORT}"
"""Address of `--web` without one."""
# A port below 1024 might as well be the number of a webcam.
_IS_ADDRESS = re.compile(r"(?!.*//)(\S*:\d{1,5}|[1-9]\d{3,4})")


class LiveCommand(TyperCommand):
    """Command whose `--web` may stand without an address, which Typer's options cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own
        """Insert the default address behind a `--web` that no address follows."""
        if "--web" in args:
            at = args.index("--web") + 1
            if at == len(args) or not _IS_ADDRESS.fullmatch(args[at]):
                args = [*args[:at], ADDRESS, *args[at:]]
        return super().parse_args(ctx, args)


class WebView:
    """The web view of one run, from the check of its options to its end.

    Args:
        address: `HOST:PORT` to listen at.
        keep_s: seconds for which events are stored with pictures; None: not at all.
        cameras: let opened pages be cameras.

    Raises:
        UsageError: the address is none.
        MachineError: a package is missing, the address is in use, or events cannot be stored.
    """

    def __init__(self, address: str, keep_s: float | None, *, cameras: bool) -> None:
        try:
            from gasmcast.runtime.web.event_store import EventStore
            from gasmcast.runtime.web.feed import WebFeed
            from gasmcast.runtime.web.server import listen
        except ModuleNotFoundError as error:
            raise MachineError(
                f"--web needs the package {error.name}, which is not installed.",
                install_hint("web"),
            ) from None
        self._host, self._listener = listen(address)
        self._cameras = cameras

        store = None
        if keep_s is not None:
            port = self._listener.getsockname()[1]
            store = EventStore(_state_folder() / f"events-{port}.sqlite", keep_s)
        self.feed: WebFeed = WebFeed(store)
        self.server: WebServer | None = None

    @property
    def listener(self) -> socket.socket:
        """Socket that browsers reach."""
        return self._listener

    @property
    def token(self) -> str:
        """Token that was made for this run; empty before the start, or if none was made."""
        return "" if self.server is None else self.server.token

    def start(
        self, session: Session, model: Model, engine: str, attention: AttentionView | None
    ) -> str:
        """Serve the page of a session.

        Args:
            session: the run.
            model: gives the class names.
            engine: description of the engines.
            attention: computes attention maps; None: the bundle has no attention graphs.

        Returns:
            Sentences for the user: the address and, where one is needed, the token.
        """
        from gasmcast.runtime.web.app import Page
        from gasmcast.runtime.web.page_camera import PageCameras
        from gasmcast.runtime.web.server import WebServer

        facts: dict[str, Any] = {"engine": engine, "labels": list(model.labels.names)}
        page = Page(
            facts=facts,
            attention=None if attention is None else attention.answer,
            cameras=PageCameras(session, self.feed) if self._cameras else None,
        )
        self.server = WebServer(self._host, self._listener, self.feed, page)
        text = f"web view: {self.server.url}"
        if self.token:
            text += f" - token (shown once): {self.token}"
        if self.feed.store is not None:
            text += f" - keeps events in {self.feed.store.file}"
        return text

    def close(self) -> None:
        """Stop serving and free the address."""
        if self.server is not None:
            self.server.close()
        self._listener.close()


def open_web_view(
    ctx: typer.Context, web: str | None, keep: str | None, *, browser_cameras: bool
) -> WebView | None:
    """Return the web view if it is wanted; it is closed when the command ends."""
    if web is None:
        if keep or browser_cameras:
            raise UsageError("--keep and --allow-browser-cameras need --web.", "Add --web.")
        return None
    view = WebView(web, parse_hours(keep), cameras=browser_cameras)
    ctx.call_on_close(view.close)
    return view


def start_web_view(
    view: WebView | None,
    session: Session,
    model: Model,
    engine: str,
    attention: AttentionView | None,
    report: Callable[[str], None],
) -> None:
    """Serve the page, if there is one, and report its address."""
    if view is not None:
        text = view.start(session, model, engine, attention)
        # With --quiet as well: nobody could log in with a token that was never shown.
        (print_status if view.token else report)(text)


def open_attention(bundle: Path) -> AttentionView | None:
    """Return the attention view of a bundle; None if it was exported without attention graphs."""
    from gasmcast.runtime.attention_view import AttentionView
    from gasmcast.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    return AttentionView(opened) if opened.has_attention else None


def _state_folder() -> Path:
    """Return the folder for stored events: `$XDG_STATE_HOME/gasmcast` or `~/.local/state/gasmcast`.

    Raises:
        MachineError: neither the variable nor a home folder is known.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "gasmcast"
    try:
        return Path.home() / ".local" / "state" / "gasmcast"
    except RuntimeError:
        raise MachineError(
            "--keep has no folder: this user has no home.",
            "Set XDG_STATE_HOME to a folder of this user.",
        ) from None
