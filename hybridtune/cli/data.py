"""The commands on training data, `hybridtune data ...`: each reads any known format and writes groups, or a report."""

import click


@click.group()
def data() -> None:
    """Look at training pairs, convert, group, clean, check and split them, before a study trains on them."""
