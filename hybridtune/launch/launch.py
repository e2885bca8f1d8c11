"""`hybridtune launch`: a study on a cluster that is started for it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.study import Study, dump_study
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import attach, kuberay, launcher, local_head, record, submit
from hybridtune.launch.cluster_file import ClusterFile
from hybridtune.launch.launcher_file import LOCAL_NODES
from hybridtune.launch.preview import describe_launch
from hybridtune.launch.record import Kind, Launch, make_key
from hybridtune.launch.submit import Options
from hybridtune.runtime.connect import SHAPE, dump_shape
from hybridtune.search.samplers import expected_trials
from hybridtune.storage.files import is_remote, local_path
from hybridtune.study.folder import make_folder, open_study_folder
from hybridtune.study.preflight import Preflight, run_preflight
from hybridtune.terminal.screen import Screen


@dataclass(frozen=True)
class Planned:
    """A launch whose input is known to be good; nothing of it exists.

    Attributes:
        cluster: the cluster file.
        kind: what runs it.
        preflight: the study, and how its trials lie on the cluster.
        staged: the study as it is sent.
        place: where the study writes.
        folder: on this machine.
    """

    cluster: ClusterFile
    kind: Kind
    preflight: Preflight
    staged: submit.Staged
    place: str
    folder: Path

    @property
    def study(self) -> Study:
        """As it will run."""
        return self.preflight.study


def plan_launch(cluster: ClusterFile, study: Study, options: Options) -> Planned:
    """Check a launch without starting or writing anything.

    Raises:
        InputError: the first thing that is wrong; a trial that fits on no node, with both numbers.
    """
    folder = submit.here_folder(study, options)
    before = record.find_launch(folder)
    out = options.out or (before.place if before else None)
    kind = _kind(cluster)
    if kind == "here":
        study = submit.at_home(study)
        place = _place_here(out, folder)
        staged = submit.Staged(study, (), ())
    else:
        place = submit.study_place(out)
        staged = submit.plan_stage(study, submit.shared_folder(place))
    if kind == "rayjob" and staged.uploads:
        raise InputError(
            f"{staged.uploads[0].source}: local files do not go with a RayJob; put the data on s3://, gs:// or a "
            "volume of the pods, or launch on a RayCluster"
        )
    preflight = run_preflight(study, searching=True, shape=cluster.shape)
    return Planned(cluster, kind, preflight, staged, place, folder)


def launch(planned: Planned, options: Options, screen: Screen) -> dict[str, Any]:
    """Start the cluster, run the study on it to its end, fetch it, and take the cluster down if that is wished.

    Returns:
        what `submit.told` tells.

    Raises:
        DetachedError: on Ctrl-C; the study goes on, and so does its cluster.
        HybridtuneError: the cluster did not come up, was lost, or the study failed.
    """
    make_key()  # before anything exists that could not be taken down again
    before = submit.not_running(planned.folder)
    _open_folder(planned)
    with attach.taken_down(options.down, planned.folder, screen) as started:
        begun = _start(planned, before, started, screen)
        if options.detach:
            screen.line(f"detached: hybridtune attach {planned.folder} follows it")
            return attach.summary(begun, planned.folder, "PENDING")
        return attach.see_through(begun, planned.folder, screen)


def describe(planned: Planned) -> dict[str, Any]:
    """Return the plan as plain values; what ``--dry-run --json`` prints."""
    uploads = [(upload.name, upload.size) for upload in planned.staged.uploads]
    told = describe_launch(
        planned.cluster,
        planned.study,
        planned.preflight.allocation,
        expected_trials(planned.study),
        uploads,
        planned.place,
        str(planned.folder),
    )
    told["notices"] += [*planned.preflight.allocation.notices, *submit.describe_secrets(planned.staged)]
    return told


def manifest(planned: Planned) -> str:
    """Return the RayJob of a launch as YAML; what ``kubectl create -f -`` takes."""
    return kuberay.manifest_text(_documents(planned, submit.job_name(planned.study)))


def _kind(cluster: ClusterFile) -> Kind:
    if cluster.kind != "launcher":
        return cluster.kind
    return "here" if cluster.tree["provider"].get("module") == LOCAL_NODES else "launcher"


def _place_here(out: str | None, folder: Path) -> str:
    """On this machine a study may write to any path; to the folder itself where none is given."""
    if out is not None and is_remote(out):
        return submit.study_place(out)
    return str((local_path(out) if out is not None else folder).absolute())


def _open_folder(planned: Planned) -> None:
    """Make the folder here; where it is also the study's own, this very study must be in it, or nothing."""
    if planned.place == str(planned.folder):
        open_study_folder(planned.study, planned.folder)
    else:
        make_folder(planned.folder)


def _start(planned: Planned, before: Launch | None, started: list[Launch], screen: Screen) -> Launch:
    """Start the cluster and the job on it; the record is kept as soon as there is anything to take down."""
    job, folder, file = submit.job_name(planned.study), planned.folder, planned.cluster.path.absolute()
    begun = Launch(planned.kind, planned.study.name, planned.place, job, str(file))
    if planned.kind == "rayjob":
        record.write_launch(begun, folder)
        started.append(begun)
        kuberay.create_job(_documents(planned, job))
        screen.line(f"RayJob {job} created; results go to {planned.place}")
        return begun
    if planned.kind == "here":
        begun = _head_here(planned, begun, before, screen)
    started.append(begun)
    record.write_launch(begun, folder)
    if planned.kind == "launcher":
        _up(begun, folder, screen)
    elif planned.kind == "raycluster":
        screen.line(f"kubectl apply -f {file}")
        kuberay.create_cluster(file)
    submit.send(begun, folder, planned.staged, {SHAPE: dump_shape(planned.cluster.shape)}, screen)
    return begun


def _head_here(planned: Planned, begun: Launch, before: Launch | None, screen: Screen) -> Launch:
    head = before.head if before is not None else None
    if head is None or not head.alive:
        if head is not None:
            local_head.stop_head(head)  # what it left
        screen.line("starting a head on this machine; nodes come when trials wait for them")
        head = local_head.start_head(planned.cluster.tree)
    screen.line(f"head {head.address}, dashboard {head.dashboard} (its token: {head.folder}/token)")
    return Launch(begun.kind, begun.study, begun.place, begun.job, begun.cluster, head=head)


def _up(begun: Launch, folder: Path, screen: Screen) -> None:
    """`ray up`, unless the head answers already: it would start Ray anew there, and end what runs."""
    log = folder / record.LOG
    if launcher.head_address(begun.file) is not None:
        with contextlib.suppress(HybridtuneError), record.reached(begun, folder) as connect:
            connect()
            screen.line("the cluster is up: used as it is (its file is applied anew after hybridtune down)")
            return
    screen.line(f"ray up {begun.file}: some minutes; what it says goes to {log}")
    launcher.up(begun.file, log)


def _documents(planned: Planned, name: str) -> list[dict[str, Any]]:
    command = submit.entrypoint(f"{kuberay.STUDY_AT}/study.yaml", planned.place)
    return kuberay.job_manifest(planned.cluster.documents, name, dump_study(planned.staged.study), command)
