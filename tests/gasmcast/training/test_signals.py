"""Effects of the first stop signal, and of a second one."""

import os
import signal

import pytest

from gasmcast.training import signals
from gasmcast.training.signals import StopSignal


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("later", [signal.SIGTERM, signal.SIGINT])
def test_a_repeated_signal_waits_for_the_state_to_be_written(later):
    with StopSignal() as stop:
        assert stop.number == 0
        _send(signal.SIGTERM)
        _send(later)  # within a second: an echo of the first
        assert stop.number == signal.SIGTERM


@pytest.fixture
def interruptible():
    """Give Ctrl-C its effect in a terminal; a process in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_only_a_second_ctrl_c_ends_at_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    with StopSignal() as stop:
        _send(signal.SIGINT)
        now[0] = 5.0
        _send(signal.SIGTERM)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
