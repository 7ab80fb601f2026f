"""What the numbers were measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "opentelemetry-instrumentation-pocketflow",
    "pocketflow",
    "opentelemetry-sdk",
    "wrapt",
)


def describe() -> dict[str, str]:
    """Machine, versions, date and load, by what they are."""
    return {
        "date": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load": load(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: found for name in _PACKAGES if (found := version_of(name)) is not None},
    }


def load() -> str:
    """How many threads wanted a core during the last minute, on average."""
    return f"{os.getloadavg()[0]:.1f}" if sys.platform != "win32" else "unknown"


def version_of(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def free_bytes() -> int:
    """Memory that can be had; a guess where the system does not tell."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 4 << 30


def peak_bytes() -> int:
    """The most memory that this process has had."""
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    # Not on Linux: there, it is that of the process that started this one, if that had more.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
