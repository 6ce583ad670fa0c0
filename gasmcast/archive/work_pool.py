"""Distribute items over workers that may die: every item is finished exactly once.

The scheduler does not know where its workers run; `LocalWorkers` are processes of this machine and
`RayWorkers` are actors of a cluster.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from gasmcast.errors import MachineError

__all__ = [
    "Died",
    "Done",
    "Finished",
    "Happening",
    "Ready",
    "WorkFactory",
    "Workers",
    "run_items",
]

Item = TypeVar("Item", bound=Hashable)

WorkFactory = Callable[[], Callable[[Any], Any]]
"""Picklable callable that a worker calls once, at its start. It opens engines and the like, and
returns the function that works on one item."""

_ATTEMPTS = 3
_MOST_DEATHS_IN_A_ROW = 6
"""Or twice the number of workers, if that is more."""
_POLL_S = 1.0


@dataclass(frozen=True)
class Ready:
    """Worker that has started and takes items."""

    worker: int


@dataclass(frozen=True)
class Done:
    """Item that a worker finished."""

    worker: int
    item: Any
    result: Any


@dataclass(frozen=True)
class Died:
    """Worker that is gone, with all items that it had."""

    worker: int
    reason: str


Happening = Ready | Done | Died


class Workers(Protocol):
    """Workers of one kind; the scheduler is their only user."""

    slots: int
    """Items that one worker works on at once."""

    def add(self) -> int:
        """Start a worker and return its number; `Ready` follows."""
        ...

    def give(self, worker: int, item: Any) -> None:  # noqa: ANN401 - items are of any type
        """Give an item to a worker that is ready and has a free slot."""
        ...

    def wait(self, timeout_s: float) -> list[Happening]:
        """Return what happened; an empty list after `timeout_s`.

        Raises:
            GasmcastError: a worker cannot start or go on for a reason that holds for all of them.
        """
        ...

    def close(self) -> None:
        """End all workers at once; calling it again does nothing."""
        ...


@dataclass(frozen=True)
class Finished(Generic[Item]):
    """Item that needs no more work."""

    item: Item
    result: Any = None
    """What the worker returned; None if `reason` is set."""
    reason: str = ""
    """Why the item was given up: every worker that had it died."""


@dataclass
class _Schedule:
    """Items that wait and items that workers have."""

    waiting: Iterator[Any]
    again: deque[Any] = field(default_factory=deque)
    in_work: dict[int, list[Any]] = field(default_factory=dict)
    attempts: Counter[Any] = field(default_factory=Counter)
    exhausted: bool = False

    def next_item(self) -> tuple[Any, ...]:
        """Return the next item in a tuple; an empty tuple if none waits."""
        if self.again:
            return (self.again.popleft(),)
        for item in self.waiting:
            return (item,)
        self.exhausted = True
        return ()

    def unfinished(self) -> bool:
        """Return whether an item waits or is in work."""
        return not self.exhausted or bool(self.again) or any(self.in_work.values())


def run_items(
    workers: Workers, items: Iterable[Item], count: int
) -> Generator[Finished[Item], None, None]:
    """Yield every item as soon as it is finished, in any order.

    An item whose worker died is given to another worker. After three deaths it is given up, because
    it is probably the cause.

    Args:
        workers: where the work is done; closed at the end, also after an error.
        items: different items.
        count: number of workers.

    Raises:
        GasmcastError: workers cannot start, or they die one after another without a result.
    """
    schedule = _Schedule(iter(items))
    # Two spot machines with all their workers may disappear at once; that is no broken work.
    most_deaths = max(_MOST_DEATHS_IN_A_ROW, 2 * count)
    deaths = 0
    try:
        for _ in range(count):
            workers.add()

        while True:
            _fill(workers, schedule)
            if not schedule.unfinished():
                return

            for happening in workers.wait(_POLL_S):
                if isinstance(happening, Ready):
                    schedule.in_work[happening.worker] = []
                elif isinstance(happening, Done):
                    deaths = 0
                    schedule.in_work[happening.worker].remove(happening.item)
                    yield Finished(happening.item, happening.result)
                else:
                    deaths += 1
                    if deaths >= most_deaths:
                        raise MachineError(
                            f"{deaths} workers died one after another ({happening.reason}).",
                            "Check the memory of the machines, or use fewer --workers.",
                        )
                    yield from _take_back(schedule, happening)
                    workers.add()
    finally:
        workers.close()


def _fill(workers: Workers, schedule: _Schedule) -> None:
    """Give waiting items to workers with free slots, the emptiest worker first."""
    while not schedule.exhausted or schedule.again:
        free = [(len(given), worker) for worker, given in schedule.in_work.items()]
        if not free or min(free)[0] >= workers.slots:
            return
        worker = min(free)[1]
        for item in schedule.next_item():
            schedule.in_work[worker].append(item)
            workers.give(worker, item)


def _take_back(schedule: _Schedule, death: Died) -> Iterator[Finished[Any]]:
    """Queue the items of a dead worker again; yield those that are given up."""
    for item in schedule.in_work.pop(death.worker, []):
        schedule.attempts[item] += 1
        if schedule.attempts[item] < _ATTEMPTS:
            schedule.again.append(item)
        else:
            yield Finished(item, reason=f"{_ATTEMPTS} workers died of it ({death.reason})")
