"""What a process and all that it started listen on, from /proc."""

import contextlib
import ipaddress
import sys
from pathlib import Path

_LISTENS = "0A"  # in /proc/net/tcp


def descendants(pid):
    """A process and all that it started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found


def listeners(pid):
    """Every (address, port) that a process or anything that it started listens on."""
    ours = {inode for one in descendants(pid) for inode in _sockets(one)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            local, state = fields[1], fields[3]
            if state == _LISTENS and fields[9] in ours:
                address, _, port = local.partition(":")
                found.add((_address(address), int(port, 16)))
    return found


def _sockets(pid):
    """The inodes of a process's open sockets."""
    with contextlib.suppress(OSError):  # gone meanwhile
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _address(text):
    """An address of /proc/net/tcp: words of four bytes, each in this machine's order."""
    words = [int(text[place : place + 8], 16).to_bytes(4, sys.byteorder) for place in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address
