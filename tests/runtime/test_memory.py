"""What threads have freed is given back to the system."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import threading
import psutil
from hybridtune.runtime.memory import release_memory

def work():
    blocks = [bytearray(30_000) for _ in range(10_000)]  # too small to be mapped each by itself
    kept.append(bytearray(30_000))  # lies behind them: without a trim the memory before it stays
    del blocks

kept = []
for _ in range(4):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
before = psutil.Process().memory_info().rss
release_memory()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps the freed memory of threads")
def test_freed_memory_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100_000_000
