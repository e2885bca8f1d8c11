"""CPU seconds and peaks of memory of a process and all below it, read from /proc; used by the benchmarks."""

import os
import threading
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Tree:
    """The processes below this one, and itself: CPU seconds, and peaks of memory while watched."""

    def __init__(self):
        self.peaks = dict.fromkeys(("largest", "driver", "sum", "private"), 0)
        self._ticks = {}
        self._stop = threading.Event()

    def processes(self):
        parents, found = {}, {os.getpid()}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
        while below := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= below
        return found

    def cpu(self):
        """Seconds of all processes there were so far; of one that ended, up to the last look at it.

        Nobody adds them up when they end: Ray's daemon does not wait for the processes that it has started.
        """
        self._look()
        return sum(self._ticks.values()) / TICKS

    def _look(self):
        now = dict.fromkeys(self.peaks, 0)
        for pid in self.processes():
            try:
                numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue
            self._ticks[pid, numbers[19]] = int(numbers[11]) + int(numbers[12])  # a number may be given out again
            size = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            if "VmRSS" in size:
                now["largest"] = max(now["largest"], size["VmRSS"])
                now["driver"] = size["VmRSS"] if pid == os.getpid() else now["driver"]
                now["sum"] += size["VmRSS"]
                now["private"] += size["RssAnon"]
        self.peaks = {name: max(value, now[name]) for name, value in self.peaks.items()}

    def __enter__(self):
        def watch():
            while not self._stop.wait(0.1):
                self._look()

        self._thread = threading.Thread(target=watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
        self.peaks = {name: round(value / 1024) for name, value in self.peaks.items()}
