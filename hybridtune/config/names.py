"""The short name of a field. It stands by itself, since `hybridtune status` shows it and loads no study file."""


def short_name(name: str) -> str:
    """Return the name of a field for tables and charts, where its section would only take room.

    Example:
        >>> short_name("train.temperature")
        'temperature'
    """
    return name.rpartition(".")[2]
