"""Hooks: what a study names is imported where it is called, and every mistake is one clear line."""

import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from hybridtune.config.hooks import Hook, load_hook
from hybridtune.errors import InputError


@pytest.fixture
def my_hooks(tmp_path, monkeypatch):
    """A package of the user's: my_hooks with the modules good, broken and needy."""
    folder = tmp_path / "my_hooks"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("LIMIT = 3\n\ndef double(x):\n    return 2 * x\n")
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "needy.py").write_text("import a_library_of_nobody\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("my_hooks")]:
        del sys.modules[name]


def test_a_function_is_found_by_its_name(my_hooks):
    assert load_hook("my_hooks.good:double", "train.loss")(21) == 42


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_hooks.good", "train.loss: 'my_hooks.good' does not name a function; write it as package.module:function"),
        ("my_hooks/good.py:double", "write it as package.module:function"),
        ("my_hooks.good:", "write it as package.module:function"),
        ("nowhere.good:double", "nowhere.good:double: there is no module 'nowhere'; put the folder that holds it on"),
        ("my_hooks.bad:double", "my_hooks.bad:double: there is no module 'my_hooks.bad'; put the folder"),
        ("my_hooks.broken:f", "importing my_hooks.broken failed: ZeroDivisionError: division by zero"),
        ("my_hooks.needy:f", "importing my_hooks.needy failed: ModuleNotFoundError: No module named 'a_library_of_nob"),
        ("my_hooks.good:duoble", "the module my_hooks.good has no 'duoble'; did you mean 'double'?"),
        ("my_hooks.good:LIMIT", "it is a value of type int; name a function or a class"),
    ],
)
def test_every_mistake_is_said_in_one_line(my_hooks, spec, message):
    with pytest.raises(InputError) as caught:
        load_hook(spec, "train.loss")
    assert message in str(caught.value)
    assert str(caught.value).startswith("train.loss")
    assert "\n" not in str(caught.value)


def test_a_field_checks_the_form_and_imports_nothing():
    field = TypeAdapter(Hook)
    assert field.validate_python("nowhere.at_all:f") == "nowhere.at_all:f"
    with pytest.raises(ValidationError, match=r"write it as package\.module:function"):
        field.validate_python("nowhere.at_all")
