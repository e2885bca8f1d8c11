"""A study of the embedded corpus, whose sections a test replaces."""

from hybridtune.config.study import Study


def small_study(**sections):
    tree = {"name": "small", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    return Study.model_validate({**tree, **sections})
