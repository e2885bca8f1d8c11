"""Ways in which a disk, a copy or a cut of the power damages a file."""

from pathlib import Path


def flip(file: Path, place: int = -1) -> None:
    """Change one byte."""
    content = bytearray(file.read_bytes())
    content[place] ^= 0x55
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Leave the first half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def empty(file: Path) -> None:
    """Leave the name alone."""
    file.write_bytes(b"")


def delete(file: Path) -> None:
    """Leave nothing."""
    file.unlink()


WAYS = {way.__name__: way for way in (flip, truncate, empty, delete)}
