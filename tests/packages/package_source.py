"""What of a checkout the package is built from."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
BESIDE = ("clusters", "search_spaces")  # folders of the checkout that are in the package when it is installed
FOLDERS = ("hybridtune", *BESIDE)
TOP = ("constraints.txt", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
