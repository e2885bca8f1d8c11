"""Makes the modules of the documentation's site, which are no part of the package, importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "site"))
