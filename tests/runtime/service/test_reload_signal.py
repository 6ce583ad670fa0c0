from __future__ import annotations

import os
import signal

import pytest

from gasmcast.runtime.service.reload_signal import ReloadSignal

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")


def test_a_request_that_comes_too_early_waits_for_who_serves_it():
    served = []
    before = signal.getsignal(signal.SIGHUP)
    reload_signal = ReloadSignal()
    with reload_signal.installed():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert served == []
        reload_signal.forward(lambda: served.append("early"))
        assert served == ["early"]
        os.kill(os.getpid(), signal.SIGHUP)
        assert served == ["early"] * 2
    assert signal.getsignal(signal.SIGHUP) == before


def test_nothing_is_served_without_a_request():
    reload_signal = ReloadSignal()
    with reload_signal.installed():
        reload_signal.forward(lambda: pytest.fail("nobody asked"))
