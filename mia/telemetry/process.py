"""What the process costs its machine: CPU, memory, threads, files, context switches; its children; a GPU where there is one.

Reads /proc/<pid> only, so it works where the rest of /proc is hidden (ProcSubset=pid). A sample takes about 0.1 ms.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import psutil  # type: ignore[import-untyped]

_MB: Final = 1 << 20
_CHILDREN_MAX: Final = 16
Children = Callable[[], Mapping[str, int]]


class ChildSample(msgspec.Struct, frozen=True, kw_only=True):
    """One child process, by the name that its parent gave it."""

    cpu_percent: float
    rss_bytes: int


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU of the machine, whoever uses it."""

    name: str
    used_percent: float
    memory_bytes: int


class ProcessSample(msgspec.Struct, frozen=True, kw_only=True):
    """The process at one moment. cpu_percent: of one core since the sample before; of the first one since the start."""

    ts_ns: int  # Unix
    cpu_percent: float
    rss_bytes: int
    shared_bytes: int  # of rss_bytes: pages of mapped files (journal segment, libraries), which the system may take back
    threads: int
    fds: int
    switches_voluntary: int  # since the process began
    switches_involuntary: int
    children: dict[str, ChildSample] = {}
    gpus: tuple[GpuSample, ...] = ()


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one quantity over the samples that are kept."""

    min: float
    mean: float
    p95: float
    max: float


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """The samples that are kept, in short; spreads are None before the first one."""

    n: int = 0
    failed: int = 0  # samples that could not be taken
    cpu_percent: Spread | None = None
    rss_mb: Spread | None = None
    threads: Spread | None = None
    fds: Spread | None = None
    children_cpu_percent: Spread | None = None
    children_rss_mb: Spread | None = None


class _Meter:
    """CPU time of one process as percent of a core between two looks."""

    def __init__(self, pid: int, now_s: float) -> None:
        self.process: Final = psutil.Process(pid)
        self._cpu_s = _cpu_s(self.process)
        self._at_s = now_s

    def percent(self, now_s: float) -> float:
        cpu_s = _cpu_s(self.process)
        elapsed_s = now_s - self._at_s
        percent = 100 * (cpu_s - self._cpu_s) / elapsed_s if elapsed_s > 0 else 0.0
        self._cpu_s, self._at_s = cpu_s, now_s
        return max(0.0, percent)


class ProcessSampler:
    """Samples now and then, keeps the last ones. One thread."""

    def __init__(
        self,
        *,
        interval_s: float,
        keep_samples: int,
        children: Children = dict,
        monotonic_s: Callable[[], float] = time.monotonic,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """children: name -> pid of the processes that we started, asked at each sample."""
        self._interval_s: Final = interval_s
        self._children: Final = children
        self._monotonic_s: Final = monotonic_s
        self._unix_ns: Final = unix_ns
        self._meters: Final[dict[int, _Meter]] = {}
        self._own: Final = _Meter(os.getpid(), monotonic_s())
        self._gpus: Final = _open_gpus()
        self._task: asyncio.Task[None] | None = None
        self.samples: Final[deque[ProcessSample]] = deque(maxlen=keep_samples)
        self.failed = 0

    @property
    def last(self) -> ProcessSample | None:
        """The newest sample."""
        return self.samples[-1] if self.samples else None

    async def run(self) -> None:
        """Sample at once and at every interval until canceled."""
        while True:
            self.sample()
            await asyncio.sleep(self._interval_s)

    def start(self) -> None:
        """`run` as a task of the running loop; nothing when it runs already. (A supervisor calls `run` itself.)"""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.run(), name="process-sampler")

    async def stop(self) -> None:
        """End what `start` began; the samples stay."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def sample(self) -> ProcessSample | None:
        """Take and keep one; None (and counted) when the system does not tell."""
        now_s = self._monotonic_s()
        process = self._own.process
        try:
            with process.oneshot():
                switches = process.num_ctx_switches()
                memory = process.memory_info()
                taken = ProcessSample(
                    ts_ns=self._unix_ns(),
                    cpu_percent=self._own.percent(now_s),
                    rss_bytes=memory.rss,
                    shared_bytes=memory.shared,
                    threads=process.num_threads(),
                    fds=process.num_fds(),
                    switches_voluntary=switches.voluntary,
                    switches_involuntary=switches.involuntary,
                    children=self._sample_children(now_s),
                    gpus=self._gpus(),
                )
        except (psutil.Error, OSError):
            self.failed += 1
            return None
        self.samples.append(taken)
        return taken

    def report(self) -> ProcessReport:
        """Least, mean, 95th percentile and most of what is kept."""
        kept = list(self.samples)
        return ProcessReport(
            n=len(kept),
            failed=self.failed,
            cpu_percent=_spread([s.cpu_percent for s in kept]),
            rss_mb=_spread([s.rss_bytes / _MB for s in kept]),
            threads=_spread([float(s.threads) for s in kept]),
            fds=_spread([float(s.fds) for s in kept]),
            children_cpu_percent=_spread([sum(c.cpu_percent for c in s.children.values()) for s in kept]),
            children_rss_mb=_spread([sum(c.rss_bytes for c in s.children.values()) / _MB for s in kept]),
        )

    def _sample_children(self, now_s: float) -> dict[str, ChildSample]:
        """Those that are alive; one that ended is no failure."""
        found = {}
        wanted = dict(list(self._children().items())[:_CHILDREN_MAX])
        for gone in set(self._meters) - set(wanted.values()):
            del self._meters[gone]
        for name, pid in wanted.items():
            try:
                meter = self._meters.get(pid)
                if meter is None:
                    meter = self._meters[pid] = _Meter(pid, now_s)
                found[name] = ChildSample(cpu_percent=meter.percent(now_s), rss_bytes=meter.process.memory_info().rss)
            except (psutil.Error, OSError):
                self._meters.pop(pid, None)
        return found


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return Spread(min=ordered[0], mean=sum(ordered) / len(ordered), p95=p95, max=ordered[-1])


def _open_gpus() -> Callable[[], tuple[GpuSample, ...]]:
    """A reader of the machine's NVIDIA GPUs; one that finds none where pynvml or the driver is absent. Never fails."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(min(16, nvml.nvmlDeviceGetCount()))]
        names = [_text(nvml.nvmlDeviceGetName(handle)) for handle in handles]
    except Exception:  # not installed, no driver, no device: all the same to us
        return tuple

    def read() -> tuple[GpuSample, ...]:
        try:
            return tuple(
                GpuSample(
                    name=name,
                    used_percent=float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
                    memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
                )
                for name, handle in zip(names, handles, strict=True)
            )
        except Exception:  # the driver went away
            return ()

    return read


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
