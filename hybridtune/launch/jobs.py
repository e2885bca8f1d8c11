"""Ray's job API: submit a job over HTTP, follow it through broken connections, tell how it stands, stop it."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
_ENDED = (DONE, FAILED, STOPPED)
_YET = "No available agent"  # what a dashboard says whose head is not all up


class LostError(HybridtuneError):
    """A cluster that does not answer any more, or that does not know a job: its head is gone or another one."""


@dataclass(frozen=True)
class Job:
    """What is to run on a cluster's head.

    Attributes:
        name: its submission id, which no other job of the cluster has.
        entrypoint: a shell command.
        working_dir: folder that is uploaded and in which the command and all its workers run; None: none.
        modules: Python packages (folders) that are uploaded.
        env: variables of the command and of all its workers; everybody who reaches the dashboard can read them.
        metadata: kept with the job.
    """

    name: str
    entrypoint: str
    working_dir: Path | None = None
    modules: Sequence[Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes:
        status: Ray's word: ``PENDING``, ``RUNNING``, or one of `DONE`, `FAILED`, `STOPPED`.
        message: what Ray says of it.
        exit_code: of the command, once it has ended; None where there is none.
    """

    status: str
    message: str
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Return whether it will not change any more."""
        return self.status in _ENDED


def connect(address: str, token: str | None = None) -> "JobSubmissionClient":
    """Return a client of the job API at an address.

    Args:
        address: ``http://HOST:PORT`` of the dashboard, or ``ray://HOST:PORT``.
        token: that the dashboard asks for; None: the environment's (``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``) or
            the user's own (``~/.ray/auth_token``), where there is one.

    Raises:
        InputError: nothing answers there, or it does not let us in.
    """
    from ray.job_submission import JobSubmissionClient

    keep_direct()
    for name in JOB_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    token = token if token is not None else _own_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    kept = {name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:  # these two variables would win over the address that was given
        return JobSubmissionClient(address, headers=headers)
    except Exception as error:  # Ray, requests and ray:// each have classes of their own
        raise InputError(_not_reached(address, error)) from None
    finally:
        os.environ.update(kept)


def submit(client: "JobSubmissionClient", job: Job, patience: float = 120.0) -> None:
    """Upload what a job needs, and start it on the head; a head that has just come up gets so many seconds for it.

    Raises:
        HybridtuneError: the cluster refused it.
    """
    runtime: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)} | dict(job.env)
    }
    runtime["excludes"] = ["__pycache__/"]
    if job.working_dir is not None:
        runtime["working_dir"] = str(job.working_dir)
    if job.modules:
        runtime["py_modules"] = [str(module) for module in job.modules]
    ended = time.monotonic() + patience
    while True:
        try:
            client.submit_job(
                entrypoint=job.entrypoint, submission_id=job.name, runtime_env=runtime, metadata=dict(job.metadata)
            )
            return
        except Exception as error:
            if _YET not in str(error) or time.monotonic() > ended:
                raise HybridtuneError(f"job {job.name}: the cluster did not take it: {_one_line(error)}") from None
        time.sleep(1.0)


def state(client: "JobSubmissionClient", name: str) -> JobState:
    """Return the state of a job.

    Raises:
        LostError: the cluster does not answer, or does not know the job.
    """
    try:
        told = client.get_job_info(name)
    except Exception as error:
        raise LostError(f"job {name}: {_one_line(error)}") from None
    return JobState(str(told.status.value), told.message or "", told.driver_exit_code)


def follow(
    reconnect: Callable[[], "JobSubmissionClient"], name: str, show: Callable[[str], None], patience: float = 300.0
) -> JobState:
    """Show what a job prints until it has ended; a connection that breaks is made anew.

    Args:
        reconnect: makes a client; called again after every break.
        name: of the job.
        show: takes text as it comes, from the job's first line on, each piece once.
        patience: seconds without an answer after which the cluster counts as lost.

    Raises:
        LostError: no answer for so long, or a head that does not know the job.
    """
    return asyncio.run(_follow(reconnect, name, show, patience))


def stop(client: "JobSubmissionClient", name: str, patience: float = STOP_SECONDS + 30.0) -> JobState:
    """Stop a job as Ctrl-C would, and wait for its end.

    Raises:
        LostError: the cluster does not answer, or does not know the job.
        HybridtuneError: it has not ended after so many seconds.
    """
    now = state(client, name)
    if not now.ended:
        try:
            client.stop_job(name)
        except Exception as error:
            raise LostError(f"job {name}: {_one_line(error)}") from None
        ended = time.monotonic() + patience
        while not (now := state(client, name)).ended:
            if time.monotonic() > ended:
                raise HybridtuneError(f"job {name}: was told to stop and still runs after {patience:.0f} s")
            time.sleep(0.5)
    return now


async def _follow(
    reconnect: Callable[[], "JobSubmissionClient"], name: str, show: Callable[[str], None], patience: float
) -> JobState:
    shown, pause, heard = 0, 0.2, time.monotonic()
    while True:
        try:
            client, came = reconnect(), 0
            async for text in client.tail_job_logs(name):  # from the job's first line, each time
                came += len(text)
                if came > shown:
                    show(text[-(came - shown) :])
                    shown, pause = came, 0.2
                heard = time.monotonic()
            now = state(client, name)
            heard = time.monotonic()
            if now.ended:
                return now
        except Exception as error:
            if "does not exist" in str(error):
                raise LostError(f"job {name}: the cluster does not know it; its head was started anew") from None
            if time.monotonic() - heard > patience:
                raise LostError(f"job {name}: no answer for {patience:.0f} s ({_one_line(error)})") from None
        await asyncio.sleep(pause)
        pause = min(2 * pause, 15.0)


def _own_token() -> str | None:
    """Return the token that Ray's tools would take, where the environment does not forbid or ask for one already."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "disabled":
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
