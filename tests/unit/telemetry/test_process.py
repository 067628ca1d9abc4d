"""Samples of a real process: CPU, memory, children; and where the system does not tell."""

from __future__ import annotations

import asyncio
import builtins
import os
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from mia.telemetry.process import ProcessSampler


def _sampler(**changes: Any) -> ProcessSampler:
    return ProcessSampler(**{"interval_s": 0.01, "keep_samples": 10, **changes})


def test_a_sample_tells_what_the_process_holds() -> None:
    sampler = _sampler(unix_ns=lambda: 42)

    sample = sampler.sample()

    assert sample is not None
    assert sample.ts_ns == 42
    assert sample.rss_bytes > sample.shared_bytes > 1 << 20
    assert sample.threads >= 1
    assert sample.fds >= 3
    assert sample.children == {}
    assert sampler.last is sample


def test_cpu_is_the_share_of_a_core_between_two_samples() -> None:
    now_s = 100.0
    sampler = _sampler(monotonic_s=lambda: now_s)
    sampler.sample()
    used = os.times()
    while (spent := os.times()).user + spent.system - used.user - used.system < 0.2:
        sum(range(10_000))

    now_s = 100.8
    busy = sampler.sample()
    now_s = 110.8
    idle = sampler.sample()

    assert busy is not None
    assert 20.0 <= busy.cpu_percent <= 60.0  # 0.2 s and a little of 0.8 s
    assert idle is not None
    assert idle.cpu_percent < 1.5  # next to nothing of 10 s: what was counted before is not counted again


def test_children_are_summed_and_one_that_ended_is_left_out() -> None:
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        sampler = _sampler(children=lambda: {"exchange": child.pid})
        alive = sampler.sample()
        child.communicate(b"\n")
        gone = sampler.sample()

    assert alive is not None
    assert alive.children["exchange"].rss_bytes > 1 << 20
    assert gone is not None
    assert gone.children == {}
    report = sampler.report()
    assert report.children_rss_mb is not None
    assert report.children_rss_mb.min == 0.0 < report.children_rss_mb.max


def test_what_was_measured_of_a_child_that_is_no_longer_ours_is_let_go() -> None:
    ours = {"exchange": os.getpid()}
    sampler = _sampler(children=lambda: ours)
    sampler.sample()

    ours = {}
    sampler.sample()

    assert sampler._meters == {}


def test_only_the_last_samples_are_kept_and_reported() -> None:
    sampler = _sampler(keep_samples=3)

    for _ in range(7):
        sampler.sample()

    report = sampler.report()
    assert len(sampler.samples) == report.n == 3
    assert report.rss_mb is not None
    assert report.rss_mb.min <= report.rss_mb.mean <= report.rss_mb.max
    assert report.rss_mb.p95 <= report.rss_mb.max


def test_no_sample_yet_is_a_report_without_figures() -> None:
    assert _sampler().report().rss_mb is None


def test_it_starts_samples_and_stops() -> None:
    async def scenario() -> int:
        sampler = _sampler()
        sampler.start()
        sampler.start()
        while len(sampler.samples) < 3:
            await asyncio.sleep(0.005)
        await sampler.stop()
        taken = len(sampler.samples)
        await asyncio.sleep(0.05)
        assert len(sampler.samples) == taken
        assert [t for t in asyncio.all_tasks() if t.get_name() == "process-sampler"] == []
        return taken

    assert asyncio.run(scenario()) >= 3


def test_it_works_where_systemd_hides_the_rest_of_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*args: Any, **kwargs: Any) -> Any:
        raise FileNotFoundError("/proc/meminfo")

    real = builtins.open

    def only_pids(file: Any, *args: Any, **kwargs: Any) -> Any:
        parts = str(file).split("/")
        if parts[:2] == ["", "proc"] and not (parts[2].isdigit() or parts[2] in ("self", "thread-self")):
            raise FileNotFoundError(file)
        return real(file, *args, **kwargs)

    for name in ("virtual_memory", "swap_memory", "cpu_times", "boot_time"):
        monkeypatch.setattr(psutil, name, hidden)
    monkeypatch.setattr(builtins, "open", only_pids)

    sample = _sampler(children=lambda: {"self": os.getpid()}).sample()

    assert sample is not None
    assert sample.rss_bytes > 0
    assert sample.children["self"].rss_bytes > 0


def test_a_system_that_does_not_tell_is_counted_and_the_last_sample_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = _sampler()
    first = sampler.sample()
    monkeypatch.setattr(psutil.Process, "num_fds", _raises(psutil.AccessDenied()))

    second = sampler.sample()

    assert second is None
    assert sampler.last is first
    assert sampler.report().failed == 1


def test_gpus_are_read_through_pynvml_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetName=lambda h: b"H200",
        nvmlDeviceGetUtilizationRates=lambda h: types.SimpleNamespace(gpu=40),
        nvmlDeviceGetMemoryInfo=lambda h: types.SimpleNamespace(used=123),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    sampler = _sampler()

    with_gpu = sampler.sample()
    nvml.nvmlDeviceGetMemoryInfo = _raises(RuntimeError("GPU is lost"))
    lost = sampler.sample()

    assert with_gpu is not None
    assert [(g.name, g.used_percent, g.memory_bytes) for g in with_gpu.gpus] == [("H200", 40.0, 123)]
    assert lost is not None
    assert lost.gpus == ()


def test_a_machine_without_a_gpu_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", types.SimpleNamespace(nvmlInit=_raises(RuntimeError("driver not loaded"))))

    sample = _sampler().sample()

    assert sample is not None
    assert sample.gpus == ()


def _raises(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail
