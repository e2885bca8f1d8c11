"""What `import hybridtune` gives: all public names, and nothing heavy before one is used."""

import subprocess
import sys

import pytest

import hybridtune
from hybridtune.config.study import demo_study
from hybridtune.errors import InputError


def test_the_package_imports_nothing_before_a_name_is_used():
    code = "import sys; import hybridtune; print([name for name in sys.modules if name.startswith('hybridtune.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", hybridtune.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert name in dir(hybridtune)
    thing = getattr(hybridtune, name)
    assert thing.__doc__
    assert name == "__version__" or thing.__name__ == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hybridtune' has no attribute 'run_studdy'"):
        hybridtune.run_studdy  # noqa: B018 - what is tested


def test_a_study_of_python_is_that_of_the_file():
    file = hybridtune.load_study(demo_study(), train__max_steps=50, search__trials=2, seed=4)
    assert (file.train.max_steps, file.search.trials, file.seed) == (50, 2, 4)
    assert hybridtune.Study(**file.model_dump()) == file
    assert file == hybridtune.load_study(str(demo_study()), ["train.max_steps=50", "search.trials=2", "seed=4"])


def test_a_keyword_that_is_no_field_is_told_like_one_of_the_file():
    with pytest.raises(InputError, match=r"train.max_stepps: unknown key; did you mean 'max_steps'\?"):
        hybridtune.load_study(demo_study(), train__max_stepps=50)
    with pytest.raises(InputError, match=r"^name__x=3: name is a value, not a section"):
        hybridtune.load_study(demo_study(), name__x=3)


def test_a_study_built_in_python_has_the_checks_of_a_file():
    sections = {"name": "mine", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    with pytest.raises(InputError, match=r"^Study: train.batch_size 7 is not a multiple of resources.workers 2: .*$"):
        hybridtune.Study(**sections, train={"batch_size": 7}, resources={"workers": 2})
    with pytest.raises(InputError, match=r"^Study: seed: .*\nStudy: train.steps: unknown key.*$"):
        hybridtune.Study(**sections, seed=-1, train={"steps": 3})


def test_an_evaluation_takes_no_field_of_another_section():
    with pytest.raises(
        InputError, match=r"^train__seed: fields of encoder, benchmark, resources, low_resource can be set"
    ):
        hybridtune.evaluate_model("x", "newsroom:dev", train__seed=3)
