"""A benchmark through the stream: exact against a naive count, whatever the actors, and resumable after a death."""

import numpy as np
import pytest
import torch

from hybridtune.data.newsroom import generate
from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, TextList
from hybridtune.evaluate.blocks import finished_blocks
from hybridtune.evaluate.corpus_scan import scan_corpus
from hybridtune.evaluate.encode import Actors, Side, encode_sides
from hybridtune.evaluate.sweep import query_vectors, rank_pool
from hybridtune.metrics.metrics import per_query, score
from hybridtune.metrics.scores import pair_scores

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
PART = 15  # passages in a part, so that there are many blocks


@pytest.fixture(scope="module")
def rows():
    """Some of the newsroom as a benchmark in many parts, with passages that answer nothing and equal texts."""
    groups = list(generate("dev"))[:40]
    queries = [Text(f"{g['group_id']}:{x}", x, g["queries"][x]) for g in groups[:25] for x in sorted(g["queries"])]
    passages = [Text(f"{g['group_id']}:{x}", x, t) for g in groups for x, t in sorted(g["passages"].items())]
    passages += [passage._replace(text_id=f"{passage.text_id}:again") for passage in passages[::5]]
    ids = {passage.text_id for passage in passages}
    judged = [
        Judgement(q, f"{query.text_id.rsplit(':', 1)[0]}:{language}", 1)
        for q, query in enumerate(queries)
        for language in ("de", "en", "es", "ru", "sw")
        if f"{query.text_id.rsplit(':', 1)[0]}:{language}" in ids
    ]
    parts = [TextList(f"part {i}", passages[i : i + PART]) for i in range(0, len(passages), PART)]
    return BenchmarkRows("newsroom", queries, parts, judged, [])


def sides(rows, scan, folder, encoder):
    queries = [Text(str(place), query.language, query.text) for place, query in enumerate(rows.queries)]
    return [
        Side([TextList("queries", queries)], "query: ", encoder.query_length, folder / "queries", [], len(queries)),
        Side(
            rows.corpus,
            "passage: ",
            encoder.passage_length,
            folder / "passages",
            scan.relevant,
            sum(scan.passages.values()),
        ),
    ]


@pytest.fixture(scope="module")
def encode(ray_here, rows, tiny_source, small_study, small_store, tmp_path_factory):
    """Encodes the benchmark into a folder, with so many actors; the scan and what was encoded."""
    scan = scan_corpus(rows, tmp_path_factory.mktemp("scan"))

    def run(folder, actors, progress=lambda done, total: None):
        return encode_sides(
            sides(rows, scan, folder, small_study.encoder),
            tiny_source,
            small_study.encoder,
            small_store.tokenizer(),
            Actors(1, actors),
            progress,
        )

    return scan, run


@pytest.fixture(scope="module")
def whole(rows, encode, tmp_path_factory):
    """Encoded in one go by one actor."""
    folder = tmp_path_factory.mktemp("whole")
    scan, run = encode
    assert run(folder, 1) == sum(scan.passages.values()) + len(rows.queries)
    return folder


def contents(folder):
    return {
        block.path.name: (*block.read()[:2], block.read()[2].tobytes(), block.order().tobytes())
        for side in ("queries", "passages")
        for block in finished_blocks(folder / side)
    }


def test_the_counts_are_those_of_a_naive_sweep(rows, encode, whole):
    scan, _ = encode
    ranked = rank_pool(whole, rows, scan, Actors(1, 1))
    judged = scan.relevance(rows)
    ids, spoken, vectors = [], [], []
    for block in finished_blocks(whole / "passages"):
        language, names, of_block = block.read()
        ids += names
        spoken += [language] * len(names)
        vectors.append(of_block)
    pool = torch.tensor(np.concatenate(vectors))
    queries = torch.tensor(query_vectors(whole, len(rows.queries)))
    every = torch.arange(len(ids))
    languages = scan.languages(rows)
    for pair, (q, r) in enumerate(zip(judged.query_index, judged.passage_index, strict=True)):
        scores = pair_scores(queries, pool, torch.full_like(every, int(q)), every).tolist()
        own = ids.index(scan.relevant[r])
        above = [p for p in range(len(ids)) if (scores[p], ids[p]) > (scores[own], ids[own])]
        naive = [sum(spoken[p] == language for p in above) for language in languages]
        assert ranked.counts[pair].tolist() == naive
    metrics = score(ranked, per_query(ranked)).metrics
    assert 0 < metrics["multi/AP"] < 1


def test_a_death_costs_what_was_under_way_and_changes_no_figure(rows, encode, whole, tmp_path):
    scan, run = encode
    total = sum(scan.passages.values()) + len(rows.queries)

    def die_at_60_percent(done, total):
        if done >= 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 2, die_at_60_percent)
    kept = sum(len(block) for side in ("queries", "passages") for block in finished_blocks(tmp_path / side))
    assert kept >= 0.6 * total
    again = run(tmp_path, 2)
    assert again <= 0.4 * total  # what the actors finished after the death is kept too
    assert run(tmp_path, 2) == 0
    assert contents(tmp_path) == contents(whole)
    one, other = (rank_pool(folder, rows, scan, Actors(1, 2)) for folder in (whole, tmp_path))
    assert (one.counts == other.counts).all()


def test_lost_counts_are_counted_again(rows, encode, whole):
    scan, _ = encode
    before = rank_pool(whole, rows, scan, Actors(1, 1)).counts
    files = sorted((whole / "counts").iterdir())
    for file in files[::3]:
        file.unlink()
    swept = []
    after = rank_pool(whole, rows, scan, Actors(1, 1), lambda done, total: swept.append(done))
    assert (after.counts == before).all()
    assert 0 < swept[0] < swept[-1] == sum(scan.passages.values())
