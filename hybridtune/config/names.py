"""The short name of a field; apart from the models, since `hybridtune status` shows it and loads none of them."""


def short_name(name: str) -> str:
    """Return the name of a field for tables and charts: without its section."""
    return name.rpartition(".")[2]
