"""Errors that are written for people: what, the value, what is allowed, what to do.

They travel between processes by pickle, so none has an ``__init__`` of its own: the message is the error.
"""


class HybridtuneError(Exception):
    """Base of every error that hybridtune raises on purpose; the command line shows its message alone."""


class InputError(HybridtuneError):
    """The user's input is wrong: a study file, an option, a data file, a model. Exit code 2."""


class FitError(HybridtuneError):
    """A training or a trial could not go on (a loss that is not finite, a lost worker). Exit code 1."""


def model_not_loaded(what: str, name: str, error: Exception | str) -> InputError:
    """The error of an encoder or tokenizer that could not be loaded, in one line."""
    if "trust_remote_code" in str(error):
        return InputError(
            f"encoder {name}: its {what} needs code of its own, which is not run unless this command line allows it; "
            "if you trust it, give --set encoder.trust_remote_code=true (hybridtune export: --trust-remote-code)"
        )
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"encoder {name}: no {what} there: it is neither a model folder nor a name that could be fetched; give the "
        f"path of a folder with config.json, tokenizer.json and model.safetensors ({reason})"
    )
