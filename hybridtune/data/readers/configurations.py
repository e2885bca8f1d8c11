"""The configurations of a published data set, as mteb's tasks have them: files by ``<configuration>/<split>``.

The hub's library reads which file is what from the card (``README.md``); a folder that it saved has one more folder a
split. Both come to the names that `judged_files` knows.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hybridtune.config.yaml_text import YAMLError, parse_yaml
from hybridtune.data.readers.files import Source, read_head, without_suffix
from hybridtune.errors import InputError

CARD = "README.md"
_PARTS = re.compile(r"(?:^|-)(?:corpus|queries|qrels|query)(?:-|$)")  # in the name of a configuration of mteb's
_SAVED = re.compile(r"^(?P<place>[^/]+/[^/]+)/data(?P<number>-\d+-of-\d+\.arrow)$")  # by `save_to_disk`, a split each


def by_configuration(files: Mapping[str, Source]) -> dict[str, Source]:
    """Return the files of a folder by configuration and split, where its card names some of mteb's; else as they are.

    A file that two configurations name stands twice; one that none names is left out, as the hub's library leaves it.
    """
    named = [(name, *part) for name, given in _configurations(files) for part in _splits(given)]
    if not any(_PARTS.search(name) for name, _, _ in named):
        return {_SAVED.sub(r"\g<place>\g<number>", path): file for path, file in files.items()}
    found: dict[str, Source] = {}
    for name, split, patterns in named:
        paths = [path for path in files if any(fnmatch.fnmatch(path, pattern) for pattern in patterns)]
        if split is None:  # the names of the files say it
            found |= {f"{name}/{path.rpartition('/')[2]}": files[path] for path in paths}
            continue
        for index, path in enumerate(paths):
            number = f"-{index:05}-of-{len(paths):05}" if len(paths) > 1 else ""
            found[f"{name}/{split}{number}{path[len(without_suffix(path)) :]}"] = files[path]
    return found


def _configurations(files: Mapping[str, Source]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the ``data_files`` of each configuration of the card; none of one that cannot be read."""
    text = read_head(files[CARD]).decode("utf-8", "replace") if CARD in files else ""
    front = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text.replace("\r\n", "\n"), re.DOTALL)
    try:
        card = parse_yaml(front[1]) if front else None
    except (YAMLError, InputError):
        return
    configurations = card.get("configs") if isinstance(card, dict) else None
    for one in configurations if isinstance(configurations, list) else ():
        if isinstance(one, dict) and isinstance(one.get("config_name"), str):
            yield one["config_name"], one.get("data_files")


def _splits(given: Any) -> Iterator[tuple[str | None, list[str]]]:
    """Yield split and patterns of ``data_files`` in any of its forms; without a split where it names none."""
    if isinstance(given, dict):
        given = [{"split": split, "path": path} for split, path in given.items()]
    for part in given if isinstance(given, list) else [given]:
        if isinstance(part, str):
            yield None, [part]
        elif isinstance(part, dict) and isinstance(part.get("split"), str):
            paths = part.get("path")
            yield (
                part["split"],
                [path for path in (paths if isinstance(paths, list) else [paths]) if isinstance(path, str)],
            )
