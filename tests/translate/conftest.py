"""Models that several tests run, made once."""

import pytest
import translators

FAMILIES = {
    "MADLAD-400": translators.madlad,
    "M2M-100": translators.m2m,
    "NLLB-200": translators.nllb,
    "OPUS-MT": lambda folder: translators.marian(folder, targets=("swa", "hau")),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny random model of each family, by its name."""
    root = tmp_path_factory.mktemp("translators")
    return {name: make(root / name.lower()) for name, make in FAMILIES.items()}


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """A small OPUS-MT whose translations into Swahili and Hausa end."""
    return translators.taught(tmp_path_factory.mktemp("taught") / "opus-mt-en-swc")
