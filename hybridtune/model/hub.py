"""Whether the Hugging Face hub can be reached, asked once a process: its client tries in vain for minutes."""

import functools

from hybridtune.errors import one_line

_PATIENCE = 4.0  # seconds, for the hub to answer


def why_unreachable() -> str | None:
    """Return why the hub cannot be reached; None: it can be, or HF_HUB_OFFLINE says that nobody is to ask."""
    from huggingface_hub import constants

    return None if constants.HF_HUB_OFFLINE else _ask(constants.ENDPOINT)


@functools.cache
def _ask(endpoint: str) -> str | None:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=_PATIENCE)
    except Exception as error:  # of the client's library for HTTP
        return f"{endpoint} cannot be reached: {one_line(error)[:200]}"
    return None
