"""What comes with hybridtune beside its source: cluster files, study files, the versions that it was tested with."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """Return a file or folder that is in the package as it is installed, and beside the package in a checkout.

    Example:
        >>> sorted(file.name for file in shipped("clusters").glob("kuberay-*"))
        ['kuberay-raycluster.yaml', 'kuberay-rayjob.yaml']
    """
    installed = _PACKAGE / name
    return installed if installed.exists() else _PACKAGE.parent / name
