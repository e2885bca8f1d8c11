"""Models that several tests run, made once."""

import models
import pytest

FAMILIES = {
    "MADLAD-400": models.madlad,
    "M2M-100": models.m2m,
    "NLLB-200": models.nllb,
    "OPUS-MT": lambda folder: models.marian(folder, targets=("swa", "hau")),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny random model of each family, by its name."""
    root = tmp_path_factory.mktemp("translators")
    return {name: make(root / name.lower()) for name, make in FAMILIES.items()}


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """A small OPUS-MT whose translations into Swahili and Hausa end."""
    return models.taught(tmp_path_factory.mktemp("taught") / "opus-mt-en-swc")
