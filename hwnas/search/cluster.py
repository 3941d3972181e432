"""A Ray cluster: one that runs already, or one on this machine for the time of a search."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwnas.core.error_text import first_line
from hwnas.errors import ClusterError, MissingDependencyError

__all__ = ["LOCAL", "Cluster", "connected"]

LOCAL = "local"
REACH_S = 5.0  # for a connection to an address
ANSWER_S = 60.0  # for the versions of a node
PROCESS_BYTES = 1e9  # of memory for each process: torch, a runtime, a supernet
_LOOPBACK = "127.0.0.1"
# How an HTTP/2 client begins, with an empty frame of settings; the server begins with one of its own (RFC 9113, 3.4).
_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
_INSTALL = "--cluster needs Ray: pip install 'hwnas[cluster]'"
# Read when Ray is imported: no telemetry; what its processes say is not printed into the progress of a search.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
# A Ray of our own listens on 127.0.0.1 alone, as it does by itself on other systems than Linux. The name is that of the
# variable, which its processes read, and of what this one has read.
_ALONE, _ALONE_READ = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "ENABLE_RAY_CLUSTER"
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


@contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """The cluster at an address; None without one. What is begun in the context ends with it.

    Raises:
        MissingDependencyError: Ray is not installed.
        ClusterError: the cluster cannot be reached, or has another version of hwnas, Python or torch.
    """
    if address is None:
        yield None
        return
    cluster = Cluster(address)
    try:
        if address != LOCAL:  # a Ray of our own begins when it has something to do
            cluster.connect()
            cluster.check_versions()
        yield cluster
    finally:
        cluster.close()


class Cluster:
    """A connection to Ray. One that the calling process has already is used as it is, and left.

    Args:
        address: see `SearchConfig.cluster`.
    Attributes:
        ray: the module.
        home: folder on this machine that ends with the cluster; None: it is not ours.
    """

    def __init__(self, address: str) -> None:
        self.address, self.home = address, None if address != LOCAL else _private_folder()
        self._ending = ExitStack()  # what is done when the cluster is left, the last first
        try:
            self.ray: Any = _import_ray(address)
        except BaseException:
            self.close()
            raise

    def connect(self, **more: Any) -> None:
        """Connect, or start a Ray of our own.

        Args:
            more: for `ray.init`.
        """
        if self.ray.is_initialized():
            return
        if self.address == LOCAL:
            self._ending.enter_context(_listening_alone(self.ray))
            if self.ray.util.get_node_ip_address() != _LOOPBACK:
                raise ClusterError("this Ray cannot be told to listen on 127.0.0.1 only; start one, and use 'auto'")
            more |= {"_node_ip_address": _LOOPBACK, "include_dashboard": False, "_temp_dir": str(self.home)}
        elif self.address != "auto":
            _reach(self.address)
        self._ending.callback(self.ray.shutdown)
        try:
            self.ray.init(address=self.address, **_QUIET, **more)
        except Exception as error:
            raise _unusable(self.address, first_line(error).partition(". ")[0].rstrip(".")) from error

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        self._ending.close()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)

    def check_versions(self) -> None:
        """Refuse nodes on which a candidate would be evaluated by other code than here.

        Raises:
            ClusterError: a node has another version of hwnas, Python or torch, or lacks it.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self.ray.remote(num_cpus=0)(_asking())
        asked = {
            node["NodeManagerAddress"]: ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in self.ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU")
        }
        python = ".".join(platform.python_version_tuple()[:2])
        ours = {"hwnas": version("hwnas"), "torch": version("torch"), "python": python}
        for place, ref in asked.items():
            try:
                theirs = self.ray.get(ref, timeout=ANSWER_S)
            except self.ray.exceptions.RayError:  # a node that is lost just now has no version
                continue
            for name, wanted in ours.items():
                if _same(theirs[name]) != _same(wanted):
                    raise ClusterError(
                        f"the cluster has {name} {theirs[name] or '(not installed)'} on {place}, here is {wanted}; "
                        f"install {name} {wanted} there, or search with what the cluster has"
                    )

    def share(self) -> tuple[int, dict[str, float]]:
        """How many processes of ours the cluster can hold now, at least 1, and what Ray keeps for each."""
        whole, free = self.ray.cluster_resources(), self.ray.available_resources()
        each: dict[str, float] = {"num_cpus": 1, "num_gpus": 1 if whole.get("GPU", 0) >= 1 else 0}
        counts = [free.get("CPU", 0), free.get("memory", 0) / PROCESS_BYTES]
        counts += [free.get("GPU", 0)] if each["num_gpus"] else []
        return max(1, int(min(counts))), each

    def lost(self, error: BaseException) -> ClusterError:
        """What is said when Ray itself fails."""
        return ClusterError(
            f"the cluster was lost ({first_line(error)}); what was finished is kept: go on with --resume"
        )


def _import_ray(address: str) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        if address.startswith("ray://"):
            importlib.import_module("grpc")  # of the extra; Ray itself does without
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error


@contextmanager
def _listening_alone(ray: Any) -> Iterator[None]:
    """A context in which Ray takes 127.0.0.1 for the address of this machine."""
    constants, before = ray._private.ray_constants, os.environ.get(_ALONE)
    read = getattr(constants, _ALONE_READ)
    os.environ[_ALONE] = "0"
    setattr(constants, _ALONE_READ, False)
    try:
        yield
    finally:
        setattr(constants, _ALONE_READ, read)
        if before is None:
            del os.environ[_ALONE]
        else:
            os.environ[_ALONE] = before


def _private_folder() -> Path:
    """A folder with a short name, since Ray's sockets lie in it, that only the user can read."""
    return Path(tempfile.mkdtemp(prefix="hwnas-ray-", dir="/tmp" if Path("/tmp").is_dir() else None))


def _reach(address: str) -> None:
    """Connect once, and see whether a gRPC server answers: Ray itself takes minutes to find out that none does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(_HELLO)
            if connection.recv(64)[3:4] != _SETTINGS:
                raise _unusable(address, "what answers there is not Ray")
    except (OSError, OverflowError) as error:
        raise _unusable(address, str(error)) from error


def _unusable(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"cluster {address!r} cannot be used: {reason}; check the address and that `ray start --head` runs there, "
        "or use --cluster local"
    )


def _same(found: str | None) -> str | None:
    """What of a version must be the same: all but the build of torch."""
    return found if found is None else found.partition("+")[0]


def _asking() -> Callable[[], dict[str, str | None]]:
    """A function that Ray sends whole, since a node may not have hwnas."""

    def versions() -> dict[str, str | None]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in ("hwnas", "torch"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = None
        return found

    return versions
