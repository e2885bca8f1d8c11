"""`hybridtune dashboard`: a study's optuna-dashboard and TensorBoard, on loopback, until Ctrl-C.

Both serve from threads of this process, on ports that the system gives: nothing is started that could outlive it.
"""

import contextlib
import importlib.util
import logging
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hybridtune.errors import FitError, InputError
from hybridtune.launch.status import ray_address, read_study
from hybridtune.study.folder import RAY_TOKEN
from hybridtune.study.opened import of_dashboard, opened
from hybridtune.terminal.screen import Screen

if TYPE_CHECKING:
    from hybridtune.config.study import Study

HOST = "127.0.0.1"
SECONDS_TO_ANSWER = 60.0
_PACKAGES = {"optuna_dashboard": "optuna-dashboard", "tensorboard": "tensorboard"}


def dashboard(location: str | Path, screen: Screen, storage: str | None = None) -> None:
    """Serve the dashboards of a study, running or ended, print their addresses, and end at Ctrl-C or SIGTERM.

    Args:
        location: folder or URL of the study, maybe a stranger's; of a URL they show a copy of this moment.
        screen: for the addresses.
        storage: URL of the database with the study's trials; None: they are in the folder.

    Raises:
        InputError: the folder holds no search that has begun, a package is not installed, or the trials are in a
            database and its URL is not given.
        FitError: neither dashboard could be started.
    """
    with opened(location, of_dashboard) as folder:
        _serve(read_study(folder), folder, screen, storage)


def _serve(study: "Study", folder: Path, screen: Screen, storage: str | None) -> None:
    missing = [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f'{" and ".join(missing)} not installed: pip install "hybridtune[dashboard]"')
    if not (folder / "trials").is_dir():
        raise InputError(f"{folder}: no trial has begun there; give the folder of a search, once its first trial runs")
    with _until_interrupted() as ended, contextlib.ExitStack() as served:
        starts: dict[str, Callable[[], str]] = {
            "optuna-dashboard": lambda: served.enter_context(_optuna(study, folder, storage)),
            "TensorBoard": lambda: _tensorboard(folder),
        }
        up = [_start(name, start, screen) for name, start in starts.items()]
        if not any(up):
            raise FitError(f"no dashboard of {folder} could be started; the reasons are above")
        ray = ray_address(folder)
        if ray is None:
            ray = "not up: no run of this study is under way"
        elif (folder / RAY_TOKEN).exists():  # of a Ray on this machine; a cluster has its own
            ray += f" (its token: {folder / RAY_TOKEN})"
        screen.print(f"{'Ray dashboard':<18}{ray}")
        screen.print("Ctrl-C ends them")
        ended.wait()


@contextlib.contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM end the block without an error; gives an event that is never set, to wait for them."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield threading.Event()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(name: str, start: Callable[[], str], screen: Screen) -> bool:
    """Start one dashboard and print where it answers, or why it does not; one that fails leaves the other."""
    try:
        url = start()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
        direct.open(url, timeout=SECONDS_TO_ANSWER).close()
    except InputError:
        raise
    except Exception as error:
        screen.print(f"{name:<18}could not be started: {' '.join(str(error).split())[:300]}")
        return False
    screen.print(f"{name:<18}{url}")
    return True


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """No line a request."""


@contextlib.contextmanager
def _optuna(study: "Study", folder: Path, url: str | None) -> Iterator[str]:
    """Yield the address of the study's page in optuna-dashboard, served while the block runs."""
    import optuna_dashboard

    from hybridtune.storage.optuna_storage import load_optuna_study, open_storage, with_storage

    study = with_storage(study, url)
    name = load_optuna_study(study, folder).study_name
    storage = open_storage(study, folder)
    # From Python, not by its command line: a database's password would stand in the list of processes.
    server = make_server(HOST, 0, optuna_dashboard.wsgi(storage), server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        number = storage.get_study_id_from_name(name)
        yield f"http://{HOST}:{server.server_port}/dashboard/studies/{number}"
    finally:
        server.shutdown()
        server.server_close()


def _tensorboard(folder: Path) -> str:
    """Return the address of a TensorBoard of the trials; it ends with this process."""
    from tensorboard import default, program

    for name in ("tensorboard", "werkzeug"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # The projector shows any file of this machine that a file in the folder names.
    board = program.TensorBoard([one for one in default.get_plugins() if "projector" not in one.__module__])
    # The fast loader would be a process of its own.
    board.configure(logdir=str(folder / "trials"), host=HOST, port=0, load_fast="false")
    return str(board.launch())
