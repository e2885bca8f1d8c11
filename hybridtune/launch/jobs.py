"""Ray's job API: submit a job over HTTP, follow it through broken connections, read its state, stop it.

`follow_log` and `stop_and_wait` also serve the RayJobs of `hybridtune.launch.kuberay`.
"""

import asyncio
import contextlib
import io
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.runtime.loopback import keep_direct
from hybridtune.runtime.ray_private import JOB_LOGGERS

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGE_LIMIT = 100 * 2**20  # bytes of one upload that a Ray dashboard takes (its client_max_size)
STOP_SECONDS = 120  # a job that is stopped may write for so long before it is killed
DONE, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
RETRYING = "RETRYING"
STOP_VARIABLES = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}  # stop as by Ctrl-C
_PATIENCE_TO_STOP = STOP_SECONDS + 30.0
_YET = "No available agent"  # the answer of a dashboard while its head comes up


class LostError(HybridtuneError):
    """A cluster that does not answer any more, or that does not know a job: its head is gone or another one."""


@dataclass(frozen=True)
class JobState:
    """The state of a job: ``PENDING``, ``RUNNING``, or `DONE`, `FAILED`, `STOPPED` with the command's exit code.

    A RayJob may also be `RETRYING`: it failed, and KubeRay starts it again on a new cluster.
    """

    status: str
    message: str
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Return whether it will not change any more."""
        return self.status in (DONE, FAILED, STOPPED)


def connect(address: str, token: str | None = None) -> "JobSubmissionClient":
    """Return a client of the job API at an address.

    Args:
        address: ``http://HOST:PORT`` of the dashboard, or ``ray://HOST:PORT``.
        token: of the dashboard; None: the environment's (``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``) or the user's
            own (``~/.ray/auth_token``), if any.

    Raises:
        InputError: nothing answers there, or it refuses the token.
    """
    from ray.job_submission import JobSubmissionClient

    keep_direct()
    for name in JOB_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    token = token if token is not None else _own_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    hidden = {name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:  # these two variables would win over the address that was given
        # On its way by ray://, Ray's client prints what it does, and what the head's Ray logs of it.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return JobSubmissionClient(address, headers=headers)
    except Exception as error:  # Ray, requests and ray:// each have classes of their own
        raise InputError(_not_reached(address, error)) from None
    finally:
        os.environ.update(hidden)


def submit(
    client: "JobSubmissionClient",
    name: str,
    entrypoint: str,
    working_dir: Path,
    modules: Sequence[Path],
    env: Mapping[str, str],
    metadata: Mapping[str, str],
    patience: float = 120.0,
) -> None:
    """Upload the files of a job, and start it on the head.

    Args:
        client: of `connect`.
        name: its submission id, which no other job of the cluster has.
        entrypoint: a shell command, which runs in the working folder, as do all its workers.
        working_dir: uploaded.
        modules: folders of Python packages, uploaded.
        env: of the command and all its workers; everybody who reaches the dashboard can read it.
        metadata: stored with the job.
        patience: seconds for a head that is still coming up.

    Raises:
        HybridtuneError: the cluster refused it.
    """
    runtime: dict[str, Any] = {
        "env_vars": STOP_VARIABLES | dict(env),
        "excludes": ["__pycache__/"],
        "working_dir": str(working_dir),
        "py_modules": [str(module) for module in modules],
    }
    end = time.monotonic() + patience
    while True:
        try:
            client.submit_job(entrypoint=entrypoint, submission_id=name, runtime_env=runtime, metadata=dict(metadata))
            return
        except Exception as error:
            if _YET not in str(error) or time.monotonic() > end:
                raise HybridtuneError(f"job {name}: the cluster did not take it: {_one_line(error)}") from None
        time.sleep(1.0)


def state(client: "JobSubmissionClient", name: str) -> JobState:
    """Return the state of a job. Raises LostError where the cluster does not answer, or does not know it."""
    with _lost(name):
        info = client.get_job_info(name)
    return JobState(str(info.status.value), info.message or "", info.driver_exit_code)


def follow(
    reconnect: Callable[[], "JobSubmissionClient"], name: str, show: Callable[[str], None], patience: float = 300.0
) -> JobState:
    """Show what a job prints until it has ended, see `follow_log`; every break needs a new client."""

    def attempt() -> tuple[str, AsyncIterator[str], Callable[[], JobState]]:
        client = reconnect()
        return name, client.tail_job_logs(name), lambda: state(client, name)

    return asyncio.run(follow_log(f"job {name}", attempt, show, patience))


def stop(client: "JobSubmissionClient", name: str, patience: float = _PATIENCE_TO_STOP) -> JobState:
    """Stop a job as Ctrl-C would, and wait for its end; see `stop_and_wait`."""

    def request() -> None:
        with _lost(name):
            client.stop_job(name)

    return stop_and_wait(f"job {name}", lambda: state(client, name), request, patience)


async def follow_log(
    name: str,
    attempt: Callable[[], tuple[str, AsyncIterator[str], Callable[[], JobState]]],
    show: Callable[[str], None],
    patience: float = 300.0,
) -> JobState:
    """Show what a job prints until it has ended, each piece once, whatever breaks in between.

    Args:
        name: of the job, for messages.
        attempt: returns the id of the job's driver, the driver's log, which begins with its first line each time, and
            how to ask for the job's state.
        show: takes text as it comes.
        patience: seconds without an answer after which the cluster counts as lost.

    Raises:
        LostError: no answer for so long, or a head that does not know the job.
    """
    shown, pause, heard, driver = 0, 0.2, time.monotonic(), ""
    while True:
        try:
            (current, log, state), received = attempt(), 0
            if current != driver:  # its log begins anew
                shown, driver = 0, current
            async for text in log:
                received += len(text)
                if received > shown:
                    show(text[-(received - shown) :])
                    shown, pause = received, 0.2
                heard = time.monotonic()
            now = state()
            heard = time.monotonic()
            if now.ended:
                return now
        except Exception as error:
            if "does not exist" in str(error):
                raise LostError(f"{name}: the cluster does not know it; its head was started anew") from None
            if time.monotonic() - heard > patience:
                raise LostError(f"{name}: no answer for {patience:.0f} s ({_one_line(error)})") from None
        await asyncio.sleep(pause)
        pause = min(2 * pause, 15.0)


def stop_and_wait(
    name: str, state: Callable[[], JobState], stop: Callable[[], None], patience: float = _PATIENCE_TO_STOP
) -> JobState:
    """Stop a job that has not ended, and wait for its end.

    Raises:
        LostError: the cluster does not answer, or does not know the job.
        HybridtuneError: it has not ended after so many seconds.
    """
    now = state()
    if now.ended:
        return now
    stop()
    end = time.monotonic() + patience
    while not (now := state()).ended:
        if time.monotonic() > end:
            raise HybridtuneError(f"{name}: did not stop; it still runs after {patience:.0f} s")
        time.sleep(0.5)
    return now


@contextlib.contextmanager
def _lost(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise LostError(f"job {name}: {_one_line(error)}") from None


def _own_token() -> str | None:
    """Return the token that Ray's tools would take, unless the environment forbids one."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return None
    given = os.environ.get("RAY_AUTH_TOKEN")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return given or file.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _not_reached(address: str, error: Exception) -> str:
    text = _one_line(error)
    if any(word in text.lower() for word in ("401", "403", "token", "unauthorized", "forbidden")):
        return (
            f"--address {address}: the cluster asks for its token; put it in ~/.ray/auth_token or name the file by "
            f"RAY_AUTH_TOKEN_PATH ({text[:160]})"
        )
    return f"--address {address}: no Ray dashboard answers there; give the head's, like http://HOST:8265 ({text[:160]})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
