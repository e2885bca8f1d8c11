"""The commands on this machine's cache: what it holds, and its removal. Heavy imports are inside."""

import click

from hybridtune.cli.options import answer, dry_run_option, json_option, open_screen
from hybridtune.errors import InputError


@click.group()
def cache() -> None:
    """Look at this machine's cache ($HYBRIDTUNE_CACHE) and remove what it need not hold."""


@cache.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show what the cache holds, with sizes and ages, and Ray's session folders of runs of hybridtune."""
    from hybridtune.storage.files import cache_folder
    from hybridtune.study.cache import list_cache, to_dict
    from hybridtune.terminal.cache import cache_table

    folder, entries = str(cache_folder()), [to_dict(entry) for entry in list_cache()]
    found = {"cache": folder, "entries": entries}
    answer(found, as_json, lambda: cache_table(folder, entries, open_screen(as_json)))


@cache.command()
@click.option("--older-than", metavar="TIME", help="Also what was not used for so long, like 12h or 30d.")
@click.option("--max-size", metavar="SIZE", help="Also the least recently used, until so much is left, like 20GB.")
@click.option("--studies", is_flag=True, help="Also the local folders of studies with a URL as --out, by age and size.")
@dry_run_option
@json_option
def prune(older_than: str | None, max_size: str | None, studies: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what nothing reads any more: half-written, of an earlier format, of a run of Ray that was killed.

    What a process is at stays. No link is followed, and nothing outside the cache and Ray's sessions is touched.
    """
    from hybridtune.config.search import seconds
    from hybridtune.study.cache import Rules, parse_size, prune_cache
    from hybridtune.terminal.cache import pruned_table

    try:
        age = seconds(older_than) if older_than is not None else None
    except ValueError as error:
        raise InputError(f"--older-than: {error}") from None
    screen = open_screen(as_json)
    rules = Rules(age, parse_size(max_size) if max_size is not None else None, studies)
    result = prune_cache(rules, screen, dry_run)
    answer(result, as_json, lambda: pruned_table(result, screen))
