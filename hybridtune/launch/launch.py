"""`hybridtune launch`: a study on a cluster that is started for it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study, dump_study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import attach, kuberay, launcher, local_head, record, submit
from hybridtune.launch.cluster_file import ClusterFile
from hybridtune.launch.launcher_file import LOCAL_NODES
from hybridtune.launch.machine import missing_here
from hybridtune.launch.preview import describe_launch
from hybridtune.launch.record import Kind, Launch, make_key
from hybridtune.runtime.connect import SHAPE, dump_shape
from hybridtune.search.arms import expected_trials
from hybridtune.storage.files import explain_error, is_remote, list_names, local_path
from hybridtune.storage.links import check_links
from hybridtune.storage.writer_lock import LAUNCH, WRITER, refuse_held
from hybridtune.study.folder import check_study_folder, make_folder, new_folder, open_study_folder
from hybridtune.study.one_writer import one_writer
from hybridtune.study.preflight import Preflight, run_preflight
from hybridtune.terminal.screen import Screen


@dataclass(frozen=True)
class Planned:
    """A launch whose input is known to be good; nothing of it exists.

    The study is as it will run in ``preflight``, and as it is sent in ``staged``; ``out`` is the location of its
    results, ``folder`` is on this machine.
    """

    cluster: ClusterFile
    kind: Kind
    preflight: Preflight
    staged: submit.Staged
    out: str
    folder: Path

    @property
    def study(self) -> Study:
        """As it will run."""
        return self.preflight.study


def plan_launch(cluster: ClusterFile, study: Study, out: str | None, fetch_to: Path | None) -> Planned:
    """Check a launch without starting or writing anything.

    Args:
        cluster: the cluster file.
        study: as read.
        out: location of the study's results, see `submit.check_out`; None: that of the launch before.
        fetch_to: folder on this machine for the record and the results; None: `study.folder.new_folder`.

    Raises:
        InputError: the first thing that is wrong; of a trial that fits on no node, with both sizes.
    """
    folder = new_folder(study) if fetch_to is None else fetch_to.absolute()
    check_links(folder, f"--fetch-to {folder}")
    before = record.find_launch(folder)
    out = out or (before.out if before else None)
    kind: Kind = cluster.kind
    if kind == "launcher" and cluster.tree["provider"].get("module") == LOCAL_NODES:
        # A study on this machine may write to any path; without one to the folder itself.
        kind, study = "here", submit.with_absolute_paths(study)
        staged = submit.Staged(study, (), ())
        local = out is None or not is_remote(out)
        out = str((local_path(out) if out else folder).absolute()) if local else submit.check_out(out)
    else:
        out = submit.check_out(out)
        staged = submit.plan_stage(study, submit.shared_folder(out))
    if kind == "rayjob" and staged.uploads:
        raise InputError(
            f"{staged.uploads[0].source}: local files do not go with a RayJob; put the data on s3://, gs:// or a "
            "volume of the pods, or launch on a RayCluster"
        )
    preflight = run_preflight(study, searching=True, shape=cluster.shape)
    return Planned(cluster, kind, preflight, staged, out, folder)


def check_machine(planned: Planned) -> None:
    """Raise InputError with what this machine lacks to start the cluster."""
    if missing := list(missing_here(planned.cluster)):
        raise InputError("\n".join(missing))


def launch(planned: Planned, screen: Screen, down: bool = False, detach: bool = False) -> dict[str, Any]:
    """Start the cluster, run the study on it to its end, and return its `attach.summary`.

    With ``down`` the cluster is taken down when the study has ended, well or not; ``detach`` leaves once the job is
    submitted.

    Raises:
        InputError: the folder's earlier job still runs, or another launch or run writes to the same place.
        DetachedError: on Ctrl-C; the study goes on, and so does its cluster.
        HybridtuneError: the cluster did not come up, was lost, or the study failed.
    """
    make_key()  # before anything exists that could not be taken down again
    folder = planned.folder
    before = record.find_launch(folder)  # its cluster may be gone: the study goes on on another
    if before is not None and record.still_runs(before, folder):
        raise InputError(f"{folder}: its job {before.job} still runs; hybridtune attach {folder}, or stop it first")
    if planned.out == str(folder):  # it is the study's own, and must hold this study or nothing
        check_study_folder(planned.study, folder)
    make_folder(folder)
    with _alone(planned, screen):
        if planned.out == str(folder):
            open_study_folder(planned.study, folder)
        with attach.taken_down(down, folder, screen) as started:
            begun = _start(planned, before, started, screen)
            if detach:
                screen.line(f"detached: hybridtune attach {folder} follows it")
                return attach.summary(begun, folder, "PENDING")
            return attach.see_through(begun, folder, screen)


@contextlib.contextmanager
def _alone(planned: Planned, screen: Screen) -> Iterator[None]:
    """Refuse a second launch from this folder or to this location while the block runs, and one that a run writes to.

    The run on the cluster has a lock of its own, which holds after this command has left.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(one_writer(str(planned.folder), screen.line, f"--fetch-to {planned.folder}", LAUNCH))
        if planned.out == str(planned.folder):
            refuse_held(planned.out, WRITER, f"--out {planned.out}")
        elif _is_seen(planned.out, screen):
            refuse_held(planned.out, WRITER, f"--out {planned.out}")
            held.enter_context(one_writer(planned.out, screen.line, name=LAUNCH))
        yield


def _is_seen(out: str, screen: Screen) -> bool:
    """Return whether this machine sees a location of results; a path may be the cluster's alone."""
    if not is_remote(out):
        shared = submit.shared_folder(out)
        if shared is not None and shared.is_dir():
            make_folder(Path(out))
        return Path(out).is_dir()
    try:
        list_names(out)
    except (OSError, ValueError) as error:
        screen.line(f"{out}: {explain_error(error)}; whether another study writes there shows on the cluster")
        return False
    return True


def describe(planned: Planned) -> dict[str, Any]:
    """Return the plan as plain values; what ``--dry-run --json`` prints."""
    plan = describe_launch(
        planned.cluster,
        planned.study,
        planned.preflight.allocation,
        expected_trials(planned.study),
        [(upload.name, upload.size) for upload in planned.staged.uploads],
        planned.out,
        str(planned.folder),
    )
    plan["notices"] += [*planned.preflight.allocation.notices, *planned.staged.notices]
    plan["notices"] += missing_here(planned.cluster)
    return plan


def manifest(planned: Planned) -> str:
    """Return the RayJob of a launch as YAML for ``kubectl create -f -``."""
    return kuberay.manifest_text(_documents(planned, submit.job_name(planned.study)))


def _start(planned: Planned, before: Launch | None, started: list[Launch], screen: Screen) -> Launch:
    """Start the cluster and the job on it; the record is written as soon as there is anything to take down."""
    job, folder, file = submit.job_name(planned.study), planned.folder, planned.cluster.path.absolute()
    begun = Launch(planned.kind, planned.study.name, planned.out, job, str(file))
    if planned.kind == "here":
        begun = dataclasses.replace(begun, head=_head_here(planned, before, screen))
    started.append(begun)
    record.write_launch(begun, folder)
    if planned.kind == "rayjob":
        kuberay.create_job(_documents(planned, job))
        screen.line(f"RayJob {job} created; results go to {planned.out}")
        return begun
    if planned.kind == "launcher":
        _up(begun, folder, screen)
    elif planned.kind == "raycluster":
        screen.line(f"kubectl apply -f {file}")
        kuberay.create_cluster(file)
    submit.send(begun, folder, planned.staged, {SHAPE: dump_shape(planned.cluster.shape)}, screen)
    return begun


def _head_here(planned: Planned, before: Launch | None, screen: Screen) -> local_head.Head:
    head = before.head if before is not None else None
    if head is None or not head.alive:
        if head is not None:
            local_head.stop_head(head)  # it may have left processes and files
        screen.line("starting a head on this machine; nodes come when trials wait for them")
        head = local_head.start_head(planned.cluster.tree)
    screen.line(f"head {head.address}, dashboard {head.dashboard} (its token: {head.folder}/token)")
    return head


def _up(begun: Launch, folder: Path, screen: Screen) -> None:
    """Run `ray up`, unless the head answers already: it would start Ray anew there, and end what runs."""
    log = folder / record.LOG
    if launcher.head_address(begun.file) is not None:
        with contextlib.suppress(HybridtuneError), record.reached(begun, folder) as connect:
            connect()
            screen.line("the cluster is up: used as it is (its file is applied anew after hybridtune down)")
            return
    screen.line(f"ray up {begun.file}: some minutes; what it says goes to {log}")
    launcher.up(begun.file, log)


def _documents(planned: Planned, name: str) -> list[dict[str, Any]]:
    command = submit.entrypoint(planned.study, f"{kuberay.STUDY_AT}/study.yaml", planned.out, kuberay.DRIVER)
    return kuberay.job_manifest(planned.cluster.documents, name, dump_study(planned.staged.study), command)
