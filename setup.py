"""Make what pyproject.toml cannot say: a long description for an index page, and constraints.txt in the package."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithVersions(build_py):
    """Puts constraints.txt into the package, where `hybridtune.config.shipped` looks for it."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            self.copy_file(str(ROOT / "constraints.txt"), str(Path(self.build_lib, "hybridtune", "constraints.txt")))


def long_description() -> str:
    """Return README.md without its pictures, and with the words alone of links to files of a checkout."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^(?:!\[[^\]]*\]\([^)]*\)|<img [^>]*>)\n+", "", text, flags=re.M)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)\s]*\)", r"\1", text)


setup(
    cmdclass={"build_py": WithVersions},
    long_description=long_description(),
    long_description_content_type="text/markdown",
)
