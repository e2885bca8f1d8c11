"""One Ray instance for the modules that use it in this process, and none while a test starts `hybridtune` itself."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Encoder, Resources, Tiny
from hybridtune.config.study import Study
from hybridtune.data import newsroom
from hybridtune.data.store import build_store, recipe
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.prepare import mining
from hybridtune.runtime.local import capacity, local_cluster
from hybridtune.study import encoded
from hybridtune.study import started as study_start
from hybridtune.study.run import run_study


def pytest_collection_modifyitems(items):
    """Mark what lies here, and have tests that start Ray by themselves come last: the others share one."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.ray)
    items.sort(key=lambda item: "no_ray" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def held():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def start_ray(held, tmp_path_factory):
    """Starts Ray in this process where none runs, and returns its address."""
    import ray

    def start():
        if not ray.is_initialized():
            noise = tmp_path_factory.mktemp("ray") / "ray.log"
            held.enter_context(local_cluster(capacity(Resources(workers=2)), noise, dashboard=False))
        return ray.get_runtime_context().gcs_address

    return start


@pytest.fixture(scope="module")
def ray_here(start_ray):
    """Ray in this process, started where the module before left none."""
    return start_ray()


@contextlib.contextmanager
def ray_of_this_process():
    with pytest.MonkeyPatch.context() as patch:
        for starts in (encoded, study_start, mining):
            patch.setattr(starts, "local_cluster", lambda *capacity, **options: contextlib.nullcontext(""))
        yield


@pytest.fixture(scope="module")
def shared_ray(ray_here):
    """Studies, evaluating and mining use the Ray of this process; the commands' tests have each start its own."""
    with ray_of_this_process():
        yield


@pytest.fixture(scope="module")
def no_ray(held):
    """No Ray in this process: a machine holds one instance at a time."""
    held.close()


@pytest.fixture(scope="session")
def newsroom_file(tmp_path_factory):
    """A part of the newsroom as a native file.

    A third of the groups have one or two hard negatives a language, and half of these groups their margins.
    """
    draw, groups = np.random.default_rng(1), list(newsroom.generate("train", stories=160))
    for place, group in enumerate(groups[::3]):
        other = groups[(3 * place + 1) % len(groups)]["passages"]
        group["negatives"] = {
            language: [" ".join(text.split()[::-1]), other.get(language, "") + text[len(text) // 2 :]][: 1 + place % 2]
            for language, text in group["passages"].items()
        }
        if draw.random() < 0.5:
            sizes = {language: len(texts) for language, texts in group["negatives"].items()}
            group["margins"] = {language: draw.normal(3, 2, size).tolist() for language, size in sizes.items()}
    return write_groups(tmp_path_factory.mktemp("data") / "train.jsonl", groups)


def write_groups(file: Path, groups) -> Path:
    file.write_text("".join(json.dumps(group, ensure_ascii=False) + "\n" for group in groups), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def small_tree(newsroom_file):
    """The tree of a study that trains in a second: the caller changes what it likes."""

    def tree(**parts):
        return {
            "name": "small",
            "seed": 3,
            "data": {"train": str(newsroom_file)},
            "encoder": {
                "query_length": 24,
                "passage_length": 40,
                "tiny": {"vocab_size": 500, "hidden_size": 32, "layers": 2, "heads": 2},
            },
            "benchmarks": {"dev": {"path": "newsroom:dev", "documents": [0, 5]}},
            "train": {"batch_size": 8, "max_steps": 12, "eval_steps": 4, "learning_rate": 1e-3},
        } | parts

    return tree


@pytest.fixture(scope="session")
def small_study(small_tree):
    return Study.model_validate(small_tree())


class Seen(StudyCallback):
    """Keeps all events of a study."""

    def __init__(self):
        self.messages, self.trials, self.scores, self.steps, self.phases, self.results = [], {}, {}, [], [], []

    def on_message(self, text):
        self.messages.append(text)

    def on_phase_end(self, phase, completed):
        self.phases.append((phase, completed))

    def on_trial(self, row, rows):
        self.trials.setdefault(row.id, []).append(row.status)

    def on_score(self, trial, step, metrics):
        self.scores.setdefault(trial, {})[step] = metrics["balanced/AP"]

    def on_step(self, trial, step, loss, pairs_per_second):
        self.steps.append((trial, step, loss, pairs_per_second))

    def on_study_end(self, result):
        self.results.append(result)


@pytest.fixture(scope="session")
def leaky_file(newsroom_file, tmp_path_factory):
    """The same part of the newsroom, of which a machine translated the Russian; and a group of the dev benchmark."""
    rows = [json.loads(line) for line in newsroom_file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        sides = {side: {"ru": "en"} for side in ("queries", "passages") if "ru" in row[side]}
        row |= {"translated": sides, "translation": {"model": "made"}}
    leaked = next(iter(newsroom.generate("dev")))
    return write_groups(tmp_path_factory.mktemp("leaky") / "train.jsonl", [*rows, {**leaked, "group_id": "leaked"}])


@pytest.fixture(scope="session")
def search_tree(small_tree, leaky_file):
    """The tree of a study of three trials that do not learn from each other, with six scores each.

    It drops a group that leaks, and holds a language pair out.
    """
    data = {"train": str(leaky_file), "on_leak": "drop", "unseen_pairs": ["en-de"]}
    tree = small_tree(data=data, search={"trials": 3, "arms": "none", "sampler": "random", "early_stopping": None})
    tree["search"]["space"] = {"mixing_ratio": {"uniform": [0.2, 0.8]}, "temperature": {"loguniform": [0.02, 0.2]}}
    tree["train"] |= {"max_steps": 24, "eval_steps": 4, "keep_checkpoints": 24}
    return tree


@pytest.fixture(scope="session")
def searched_here(start_ray, search_tree, tmp_path_factory):
    """Its result on this machine, from Python, and what a callback saw of it."""
    start_ray()
    one = {"concurrent_trials": 1, "evaluators": 1, "cpus_per_worker": 1}  # each process more imports torch for seconds
    seen = Seen()
    with ray_of_this_process():
        return run_study(Study(**search_tree, resources=one), tmp_path_factory.mktemp("out") / "s", [seen]), seen


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """Folder of an encoder of another tokenizer and width than the small study's."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = [text for row in list(newsroom.generate("dev"))[:60] for text in row["passages"].values()]
    encoder = Encoder(query_length=24, passage_length=40, tiny=Tiny(hidden_size=48, layers=1, heads=2))
    build_tiny(train_tokenizer(texts, 300).definition, encoder, 1, folder)
    return str(folder)


@pytest.fixture(scope="session")
def store_root(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def small_store(ray_here, small_study, store_root):
    return build_store(store_root, recipe(small_study.data, small_study.encoder))


@pytest.fixture(scope="module")
def tiny_source(small_study, small_store, tmp_path_factory):
    """Folder of the untrained encoder."""
    folder = tmp_path_factory.mktemp("encoder")
    build_tiny(small_store.tokenizer().definition, small_study.encoder, small_study.seed, folder)
    return str(folder)
