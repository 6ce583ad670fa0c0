"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from gasmcast import __version__
from gasmcast.archive.work_pool import Died, Done, Happening, Ready, WorkFactory
from gasmcast.errors import GasmcastError, MachineError, StageError, UsageError
from gasmcast.missing import install_hint
from gasmcast.no_telemetry import disable_telemetry

__all__ = ["RayWorkers", "WorkerActor"]

_CONNECT_S = 5.0
_LOCAL_STORE = 80_000_000
"""Bytes of the object store of a local cluster, near Ray's minimum: only paths pass through it."""


class WorkerActor:
    """Actor of one worker; Ray runs it in a process of its own."""

    def __init__(self) -> None:
        disable_telemetry()
        self._work: Any = None

    def start(self, factory: WorkFactory, version: str) -> int:
        """Open what the work needs, and return the process id.

        Raises:
            UsageError: this node has another version of gasmcast.
            GasmcastError: whatever the factory raises.
        """
        if version != __version__:
            raise UsageError(
                f"The node {socket.gethostname()} has gasmcast {__version__}, this machine has "
                f"{version}.",
                "Install the same version on all nodes.",
            )
        try:
            self._work = factory()
        except GasmcastError as error:
            # An error of a node is of little use without the node's name.
            raise type(error)(f"On the node {socket.gethostname()}: {error}") from None
        return os.getpid()

    def run(self, item: Any) -> Any:  # noqa: ANN401 - items are of any type
        """Work on one item."""
        return self._work(item)


class RayWorkers:
    """Actors of a Ray cluster, which Ray places wherever it has free cores or GPUs.

    Args:
        address: `local` starts a cluster on this machine; otherwise the address of a cluster as
            `host:6379`, `ray://host:10001` or `auto` (the cluster of this node).
        factory: opens what a worker needs; called in each actor.
        slots: items that one worker works on at once.
        cores: CPU cores of one worker.
        gpus: GPUs of one worker.
        count: workers of a local cluster; its size follows from it.

    Raises:
        MachineError: Ray is not installed, or the cluster cannot be reached.
        UsageError: the cluster has no node with this many cores and GPUs.
    """

    def __init__(
        self,
        address: str,
        factory: WorkFactory,
        slots: int,
        *,
        cores: int,
        gpus: int = 0,
        count: int = 1,
    ) -> None:
        self.slots = slots
        self._factory = factory
        self._ray = ray = _import_ray()
        self._actors: dict[int, Any] = {}
        self._futures: dict[Any, tuple[int, tuple[Any, ...]]] = {}
        self._added = 0
        self._open = True

        _connect(ray, address, cores * count, gpus * count)
        try:
            self.capacity = _capacity(ray, cores, gpus)
            """Workers that the cluster can hold now."""
        except GasmcastError:
            ray.shutdown()
            raise

        # A worker that dies is replaced by the scheduler, which knows its items.
        self._actor_class = ray.remote(
            num_cpus=cores, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=slots
        )(WorkerActor)

    def add(self) -> int:
        """Start an actor and return its number."""
        number = self._added
        self._added += 1
        self._actors[number] = actor = self._actor_class.remote()
        self._futures[actor.start.remote(self._factory, __version__)] = (number, ())
        return number

    def give(self, worker: int, item: Any) -> None:  # noqa: ANN401 - items are of any type
        """Send an item to an actor."""
        future = self._actors[worker].run.remote(item)
        self._futures[future] = (worker, (item,))

    def wait(self, timeout_s: float) -> list[Happening]:
        """Return what the actors finished, and which of them died.

        Raises:
            GasmcastError: an error that would end every worker.
        """
        ready, _ = self._ray.wait(
            list(self._futures), num_returns=1, timeout=timeout_s, fetch_local=False
        )
        return [self._outcome(future) for future in ready]

    def close(self) -> None:
        """Kill all actors and leave the cluster."""
        if not self._open:
            return
        self._open = False
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._ray.shutdown()

    def _outcome(self, future: Any) -> Happening:  # noqa: ANN401 - Ray's types are not checked
        errors = self._ray.exceptions
        worker, items = self._futures.pop(future)
        try:
            result = self._ray.get(future)
        except errors.RayTaskError as error:
            cause = error.cause
            # A failed engine may work again in a new worker; other errors would return.
            if isinstance(cause, GasmcastError) and not isinstance(cause, StageError):
                raise cause from None
            return self._bury(worker, f"{type(cause).__name__}: {cause}")
        except errors.RayError as error:
            return self._bury(worker, _reason(error))
        return Done(worker, items[0], result) if items else Ready(worker)

    def _bury(self, worker: int, reason: str) -> Died:
        """Forget an actor, kill what is left of it, and return why it died."""
        actor = self._actors.pop(worker)
        self._ray.kill(actor)
        for future in [key for key, (number, _) in self._futures.items() if number == worker]:
            del self._futures[future]
        return Died(worker, reason)


def _import_ray() -> Any:  # noqa: ANN401 - Ray's types are not checked
    # Ray reads these when it is imported; its processes inherit them.
    disable_telemetry()
    try:
        import ray  # noqa: PLC0415 - an optional package
        import ray.exceptions  # noqa: PLC0415 - an optional package
    except ImportError:
        raise MachineError(
            "--ray needs Ray, which is not installed.", install_hint("ray")
        ) from None
    return ray


def _connect(ray: Any, address: str, cores: int, gpus: int) -> None:  # noqa: ANN401 - see above
    """Join a cluster, or start one on this machine.

    Raises:
        MachineError: the cluster cannot be reached.
    """
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    if address == "local":
        ray.init(
            num_cpus=cores,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=_LOCAL_STORE,
            **quiet,
        )
        return

    # Ray itself tries an address for a minute and more before it gives up.
    if address != "auto":
        _check_reachable(address)
    failure: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # noqa: BLE001 - Ray raises many types
            failure.append(error)

    # Whatever listens there may not be Ray and never answer. Signals stay with this thread.
    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    joining.join(60.0)
    if joining.is_alive() or failure:
        reason = str(failure[0]).partition("\n")[0] if failure else "it does not answer"
        raise MachineError(
            f"The Ray cluster {address} cannot be used ({reason}).",
            "Start one with `ray start --head`, or use --ray local.",
        )


def _check_reachable(address: str) -> None:
    """Check that something listens at an address.

    Raises:
        UsageError: it is not an address.
        MachineError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"--ray {address!r} is no address of a Ray cluster.",
            "Write local, auto, host:6379 or ray://host:10001.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        raise MachineError(
            f"The Ray cluster {address} cannot be reached ({error.strerror or error}).",
            "Start one with `ray start --head`, check the firewall, or use --ray local.",
        ) from None


def _capacity(ray: Any, cores: int, gpus: int) -> int:  # noqa: ANN401 - see above
    """Return how many workers the nodes of the cluster can hold.

    Raises:
        UsageError: not one.
    """
    count = 0
    for node in ray.nodes():
        resources = node["Resources"] if node["Alive"] else {}
        fits = int(resources.get("CPU", 0) // cores)
        if gpus:
            fits = min(fits, int(resources.get("GPU", 0) // gpus))
        count += fits

    if not count:
        wanted = f"{cores} cores" + (f" and {gpus} GPU" if gpus else "")
        raise UsageError(
            f"No node of the Ray cluster has {wanted} for a worker.",
            "Give fewer --threads, or add nodes.",
        )
    return count


def _reason(error: BaseException) -> str:
    """Return why an actor died, in one line.

    Raises:
        MachineError: gasmcast is not installed on its node.
    """
    text = str(error)
    if "No module named 'gasmcast" in text or "failed to import" in text:
        raise MachineError(
            "A node of the Ray cluster cannot import gasmcast.",
            f"Install gasmcast {__version__} with the extras archive and ray on every node.",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
