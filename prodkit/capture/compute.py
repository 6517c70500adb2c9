"""What the machine itself did for a run: CPU seconds, peak memory and GPU seconds, at the manifest's hourly rates."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.manifest.model import Compute

_HOUR = Decimal(3600)
_KIB_PER_GIB = 1024**2
_BYTES_PER_KIB = 1 if sys.platform != "darwin" else 1024


@dataclass(frozen=True, slots=True)
class ComputeUse:
    """What a run took of its machine. The process is measured: what runs beside the cell counts too."""

    seconds: float
    cpu_seconds: float
    memory_peak_mib: float
    gpu_seconds: float | None  # wall seconds x GPUs that this process held memory on; None without a GPU
    usd: Decimal | None  # None when a rate is missing for something that was used

    def metrics(self) -> dict[str, float]:
        """As run metrics."""
        figures = {"cpu_seconds": self.cpu_seconds, "memory_peak_mib": self.memory_peak_mib}
        if self.gpu_seconds is not None:
            figures["gpu_seconds"] = self.gpu_seconds
        if self.usd is not None:
            figures["compute_usd"] = float(self.usd)
        return {name: round(value, 6) for name, value in figures.items()}


class Meter:
    """Measures from its making until `read`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self._peak_before, self._memory_before = _peak_kib(), _memory_kib()
        self._gpus: set[int] = _gpus_in_use()

    def read(self, rates: Compute) -> ComputeUse:
        """What was used so far, priced."""
        seconds, cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu
        peak = _peak_kib()
        # the system's peak is that of the whole process: it is the run's own only if it rose in the meantime
        kib = peak if peak > self._peak_before else max(self._memory_before, _memory_kib())
        gpus = self._gpus | _gpus_in_use()
        gpu_seconds = seconds * len(gpus) if _gpu_count() else None
        return ComputeUse(seconds, cpu, kib / 1024, gpu_seconds, _price(rates, seconds, cpu, kib, gpu_seconds or 0.0))


def _price(rates: Compute, seconds: float, cpu: float, kib: float, gpu: float) -> Decimal | None:
    parts = [
        (rates.cpu_core_hour, Decimal(repr(cpu))),
        (rates.memory_gb_hour, Decimal(repr(seconds * kib / _KIB_PER_GIB))),
        (rates.gpu_hour, Decimal(repr(gpu))),
    ]
    if all(rate is None for rate, _ in parts) or (rates.gpu_hour is None and gpu):
        return None
    return sum((rate * amount / _HOUR for rate, amount in parts if rate is not None), Decimal(0))


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_kib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _BYTES_PER_KIB


def _memory_kib() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1024


class _Gpu:
    """NVIDIA's library, loaded once; `count` is 0 where there is none or the extra `gpu` isn't installed."""

    lock = threading.Lock()
    count: int | None = None


def _gpu_count() -> int:
    with _Gpu.lock:
        if _Gpu.count is None:
            _Gpu.count = _init_gpus()
        return _Gpu.count


def _init_gpus() -> int:
    try:
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except Exception:
        return 0


def _gpus_in_use() -> set[int]:
    """The GPUs that this process holds memory on."""
    if not _gpu_count():
        return set()
    import pynvml

    used = set()
    for index in range(_gpu_count()):
        try:
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError:
            continue
        if any(process.pid == os.getpid() for process in processes):
            used.add(index)
    return used
