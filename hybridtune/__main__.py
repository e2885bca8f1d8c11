"""`python -m hybridtune`: what a cluster runs, where no script of that name is installed.

`python -m` puts the current folder before all that is installed, and that may be a stranger's; with ``-P`` it does not.
"""

import os
import sys

if __name__ == "__main__":
    if sys.path[0] in ("", os.getcwd()) and not sys.flags.safe_path:  # noqa: PTH109 - pathlib is no built-in module
        del sys.path[0]
    from hybridtune.cli.main import main

    main()
