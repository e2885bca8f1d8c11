"""The storage of a study's trials for Optuna: a file in the study folder, or a database given by its URL."""

from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages.journal import JournalFileBackend

from hybridtune.config.search import STORAGE_FILES, fill_variables, is_url, masked_url
from hybridtune.config.study import Study
from hybridtune.errors import InputError

_PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # by module


def storage_url(study: Study, folder: Path) -> str:
    """Return a URL, or the path of a journal file. It may hold a password: print it by ``masked_url`` only.

    Raises:
        InputError: a variable of the URL is not set.
    """
    storage = fill_variables(study.search.storage, "search.storage ")
    if storage not in STORAGE_FILES:
        return storage
    return ("sqlite:///" if storage == "sqlite" else "") + str(folder / STORAGE_FILES[storage])


def with_storage(study: Study, url: str | None) -> Study:
    """Return a stored study with the ``url`` of the database that its user names; None: of one that is in its folder.

    Raises:
        InputError: the folder names a database and the user none. A stranger's would learn who looks, and get the
            variables of the environment that stand in its URL.
    """
    if url is not None:
        return study.model_copy(update={"search": study.search.model_copy(update={"storage": url})})
    if study.search.storage not in STORAGE_FILES:
        raise InputError(
            f"the trials are in a database, {masked_url(study.search.storage)}, which is not asked because a folder "
            "says so; give --storage URL, with ${VARIABLE} for a password"
        )
    return study


def open_storage(study: Study, folder: Path, read_only: bool = False) -> optuna.storages.BaseStorage:
    """Open the storage of a study's trials, created where it does not exist yet.

    With ``read_only``, a database in the folder, which a running study writes, is neither changed nor locked.

    Raises:
        InputError: see `open_url`.
    """
    url = storage_url(study, folder)
    if read_only and study.search.storage == "sqlite":
        path = (folder / STORAGE_FILES["sqlite"]).absolute().as_uri().removeprefix("file://").replace("%3A", ":")
        url = f"sqlite:///file:{path}?mode=ro&uri=true"
    if study.search.storage == "journal":
        return optuna.storages.JournalStorage(JournalFileBackend(url))
    return open_url(url, "search.storage")


def open_url(url: str, field: str) -> optuna.storages.RDBStorage:
    """Open the storage at a database's URL, given with its password.

    Raises:
        InputError: it cannot be opened, or its driver is not installed; names the ``field`` of the study file.
    """
    _check_driver(url, field)
    try:
        return optuna.storages.RDBStorage(url)
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise _not_opened(url, field, error) from None


def check_url(url: str, field: str) -> None:
    """Check that a database answers, without writing to it. Raises InputError as `open_url` does."""
    _check_driver(url, field)
    if url.startswith("sqlite"):  # connecting makes the file
        file = sqlalchemy.make_url(url).database
        if file and file != ":memory:" and not Path(file).parent.is_dir():
            raise InputError(f"{field} {masked_url(url)}: there is no folder {Path(file).parent}; make it first")
        return
    try:
        engine = sqlalchemy.create_engine(url)
        engine.connect().close()
        engine.dispose()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _not_opened(url, field, error) from None


def _check_driver(url: str, field: str) -> None:
    """Check that the package which talks to a database is installed, and that the URL can be read."""
    try:
        sqlalchemy.make_url(url).get_dialect().import_dbapi()
    except ImportError as error:
        name = error.name or str(error)
        raise InputError(
            f"{field} {masked_url(url)}: needs the package {name}, which is not installed: pip install "
            f"{_PACKAGES.get(name, name)}; or name another driver, like postgresql+psycopg2:// or mysql+pymysql://"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _not_opened(url, field, error) from None


def _not_opened(url: str, field: str, error: Exception) -> InputError:
    message = " ".join(str(getattr(error, "orig", None) or error).split())
    secret = sqlalchemy.make_url(url).password if is_url(url) else None
    message = message.replace(url, masked_url(url))
    message = message.replace(str(secret), "***") if secret else message
    return InputError(f"{field} {masked_url(url)}: the database cannot be opened: {message[:200]}")


def load_optuna_study(study: Study, folder: Path, read_only: bool = False) -> optuna.Study:
    """Load the Optuna study of a study folder, with the trials that were begun so far; see also `open_storage`.

    Raises:
        InputError: there is none yet, its database cannot be opened, or its file is damaged.
    """
    file = STORAGE_FILES.get(study.search.storage)
    try:
        if file and not (folder / file).is_file():
            raise KeyError(file)
        return optuna.load_study(study_name=study.name, storage=open_storage(study, folder, read_only))
    except KeyError:
        label = file or masked_url(storage_url(study, folder))
        raise InputError(f"{folder}: holds no trials yet: no Optuna study {study.name!r} in {label}") from None
    except (sqlalchemy.exc.SQLAlchemyError, ValueError, TypeError, AssertionError) as error:
        if file is None:
            raise
        what = " ".join(str(getattr(error, "orig", None) or error).split())[:160]
        raise InputError(
            f"{folder / file}: is damaged ({what}); hybridtune run with the study's --out builds it again"
        ) from None
