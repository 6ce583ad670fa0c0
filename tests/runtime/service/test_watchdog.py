from __future__ import annotations

import pytest

from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.systemd import SystemdNotifier
from gasmcast.runtime.service.watchdog import EXIT_STUCK, Watchdog


class World:
    """Process with one stage, a clock that the test moves, and a watchdog over both."""

    def __init__(self, restarts=None):
        self.now, self.beat = 1000.0, None
        self.left, self.restarted = [], []
        self.health = Health(10.0, clock=lambda: self.now)
        self.health.watch("encode", lambda: self.now if self.beat is None else self.beat)
        self.watchdog = Watchdog(
            self.health,
            {"encode": lambda: self.restarted.append(self.now)} if restarts is None else restarts,
            notifier=SystemdNotifier({}),
            leave=self.left.append,
            clock=lambda: self.now,
            spawn=lambda work, _name: work(),
        )

    def wait(self, seconds, every_s=2.5):
        """Wait and check, as the watchdog's thread does."""
        self.now += seconds
        self.watchdog._notice_pause(seconds, every_s)
        self.watchdog.tick()


@pytest.mark.parametrize("stopped_s", [11.0, 60.0, 7 * 86400.0])
@pytest.mark.parametrize("busy", [True, False])
def test_a_process_that_was_stopped_goes_on(stopped_s, busy, caplog):
    world = World()
    world.beat = world.now if busy else None
    world.wait(2.5)
    world.wait(2.5 + stopped_s)
    world.wait(2.5)
    assert (world.left, world.restarted) == ([], [])
    assert world.health.status()
    assert "was stopped for about" in caplog.text

    # A stage that really hangs is late again after its full patience.
    world.beat = world.now
    for _ in range(5):
        world.wait(2.5)
    assert len(world.restarted) == 1


def test_a_stage_that_hangs_is_restarted_though_the_process_was_stopped_before():
    world = World()
    world.beat = world.now
    world.wait(62.5)
    for _ in range(3):
        world.wait(2.5)
    assert world.restarted == []
    world.wait(3.0)
    assert len(world.restarted) == 1


def test_a_stop_does_not_count_as_a_slow_restart():
    world = World()
    world.watchdog._spawn = lambda work, name: None  # the engines are compiled for long
    world.beat = world.now
    for _ in range(5):
        world.wait(2.5)
    assert "encode" in world.watchdog._restarting
    world.wait(600.0)
    world.wait(2.5)
    assert world.left == []


@pytest.mark.parametrize("overrun_s", [0.0, 0.5, 2.4])
def test_a_wait_that_a_busy_machine_stretches_forgives_nothing(overrun_s):
    world = World()
    world.beat = world.now
    for _ in range(5):
        world.wait(2.5 + overrun_s)
    assert len(world.restarted) == 1


def test_without_a_restart_the_process_ends():
    world = World(restarts={})
    world.beat = world.now
    for _ in range(5):
        world.wait(2.5)
    assert world.left == [EXIT_STUCK]
