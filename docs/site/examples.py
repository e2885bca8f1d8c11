"""Show the examples of our docstrings as code: Griffe knows them under the heading ``Examples`` alone."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Gives the section the name that Griffe's parser of Google's style reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub("^Example:$", "Examples:", obj.docstring.value, flags=re.M)
