"""Object stores for tests: one in memory that fails when told to, and an S3 server on loopback."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from datetime import UTC, datetime
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from hybridtune.storage import files as place_files

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",  # no wait for a machine that is not there
}


class _Upload(io.BytesIO):
    """A file that is seen when it is whole."""

    def __init__(self, done):
        super().__init__()
        self._done = done

    def close(self):
        if not self.closed:
            self._done(self.getvalue())
        super().close()


class MemoryStore(fs.FileSystemHandler):
    """Objects by their keys; folders are what keys begin with. After ``fail_after`` changes, every one fails."""

    def __init__(self):
        self.objects, self.times, self.changes, self.reads, self.fail_after = {}, {}, 0, 0, None
        self._lock = threading.Lock()
        self._clock = 0

    def _change(self):
        with self._lock:
            if self.fail_after is not None and self.changes >= self.fail_after:
                raise OSError("AWS Error NETWORK_CONNECTION: told to fail")
            self.changes += 1
            self._clock += 1

    def _info(self, path):
        if path in self.objects:
            when = datetime.fromtimestamp(1_700_000_000 + self.times[path], UTC)
            return fs.FileInfo(path, fs.FileType.File, size=len(self.objects[path]), mtime=when)
        folder = any(key.startswith(f"{path.rstrip('/')}/") for key in self.objects)
        return fs.FileInfo(path, fs.FileType.Directory if folder else fs.FileType.NotFound)

    def get_file_info(self, paths):
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector):
        base = selector.base_dir.rstrip("/") + "/"
        found = {}
        for key in [key for key in self.objects if key.startswith(base)]:
            parts = key.removeprefix(base).split("/")
            for depth in range(1, len(parts) + 1):
                if depth == 1 or selector.recursive:
                    path = base + "/".join(parts[:depth])
                    found[path] = self._info(path)
        return list(found.values())

    def open_input_stream(self, path):
        if path not in self.objects:
            raise FileNotFoundError(path)
        self.reads += 1
        return pa.PythonFile(io.BytesIO(self.objects[path]), mode="r")

    open_input_file = open_input_stream

    def open_output_stream(self, path, metadata):
        self._change()

        def done(content):
            self.objects[path], self.times[path] = content, self._clock

        return pa.PythonFile(_Upload(done), mode="w")

    def delete_file(self, path):
        self._change()
        del self.objects[path]

    def delete_dir(self, path):
        for key in sorted(key for key in self.objects if key.startswith(f"{path}/")):
            self.delete_file(key)  # one after another, as an object store does

    def get_type_name(self):
        return "memory"

    def normalize_path(self, path):
        return path

    def _not_used(self, *args, **named):
        raise NotImplementedError

    create_dir = delete_dir_contents = delete_root_dir_contents = move = copy_file = open_append_stream = _not_used


def use_memory_store(monkeypatch):
    """Every URL ``memory://...`` is in the store that this gives."""
    store = MemoryStore()
    opened = place_files.open_filesystem
    monkeypatch.setattr(
        place_files,
        "open_filesystem",
        lambda place: (
            (fs.PyFileSystem(store), unquote(place.removeprefix("memory://").partition("?")[0]))
            if place.startswith("memory://")
            else opened(place)
        ),
    )
    return store


@contextlib.contextmanager
def s3_server():
    """An S3 server on loopback with a bucket; gives a function from a path in it to its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **KEYS}
    )
    try:
        for line in server.stderr:  # it tells when it answers
            if "Running on" in line:
                break
        drain = threading.Thread(target=server.stderr.read, daemon=True)
        drain.start()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(urllib.request.Request(f"{address}/bucket", method="PUT")).close()
        yield (
            lambda path, bucket="bucket": (
                f"s3://{bucket}/{path}?endpoint_override={address}&scheme=http&region=us-east-1"
            )
        )
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
