"""Evaluation side by side with sentence-transformers' InformationRetrievalEvaluator; prints ratios from one run.

    python benchmarks/evaluate.py                                      # embeddings given, an XQuAD-R sized benchmark
    python benchmarks/evaluate.py --model FOLDER --benchmark XQUAD_R   # the same on real vectors, and end to end

The peer scores every mono and cross pool and the multi pool one after the other, as it must, with its usual cutoffs
(MAP@100); ours gives all of them at full depth. The harder peer is a dozen lines of torch that give the same at full
depth too, but for ties and float32's rounding. Needs `pip install sentence-transformers`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.evaluate.relevance import Relevance
from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.metrics.ranks import RankCounter
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.ties import tie_order

LANGUAGES, QUESTIONS, PASSAGES, WIDTH = 11, 1190, 13014, 384
BATCH_TOKENS = 4096


def made_up(seed, languages=LANGUAGES):
    """Unit vectors and relevance with a language bias: as many texts as XQuAD-R has, in any number of languages."""
    rng = np.random.default_rng(seed)
    questions = LANGUAGES * QUESTIONS // languages
    topics, accents = rng.normal(size=(questions, WIDTH)), rng.normal(size=(languages, WIDTH))
    query_language = np.repeat(np.arange(languages), questions)
    passage_language = np.arange(PASSAGES) % languages
    topic = np.arange(PASSAGES) // languages  # the first questions * languages passages answer

    def vectors(of_topic, language):
        raw = of_topic + 0.5 * accents[language] + 2.0 * rng.normal(size=of_topic.shape)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    answers = min(PASSAGES, questions * languages)
    spare = rng.normal(size=(max(1, PASSAGES // languages + 1), WIDTH))
    queries = vectors(np.tile(topics, (languages, 1)), query_language)
    passages = vectors(
        np.where((topic < questions)[:, None], topics[topic % questions], spare[topic]), passage_language
    )
    order = tie_order([f"p{p}" for p in range(PASSAGES)])
    pairs = [
        (q, p)
        for q in range(len(queries))
        for p in range(q % questions * languages, (q % questions + 1) * languages)
        if p < answers
    ]
    query_index, passage_index = np.array(pairs).T
    names = tuple(f"l{x:02d}" for x in range(languages))
    judged = (query_index, passage_index, np.ones(len(pairs)))
    return queries, passages, Relevance("made up", "", (), names, query_language, passage_language, order, *judged)


def ours(queries, passages, r):
    """All settings from one sweep, per query and in the mean; also the seconds of the metrics alone."""
    began = time.perf_counter()
    q, p = torch.from_numpy(queries), torch.from_numpy(passages)
    pairs, relevant = torch.from_numpy(r.query_index), torch.from_numpy(r.passage_index)
    order, language = torch.from_numpy(r.order), torch.from_numpy(r.passage_language)
    counter = RankCounter(pairs, pair_scores(q, p, pairs, relevant), order[relevant], len(r.languages))
    counter.add(q, p, order, language)
    return measured(counter.counts, r, began)


def plain_torch(queries, passages, r):
    """The same by a float32 product a block of queries, and a sort and a search for each language's pool."""
    began = time.perf_counter()
    q, p = torch.from_numpy(queries), torch.from_numpy(passages)
    pairs, relevant = torch.from_numpy(r.query_index), torch.from_numpy(r.passage_index)
    pools = [torch.from_numpy(np.flatnonzero(r.passage_language == y)) for y in range(len(r.languages))]
    counts = torch.empty(len(pairs), len(pools), dtype=torch.int64)
    sizes = pairs.bincount(minlength=len(q))
    nth = torch.arange(len(pairs)) - (sizes.cumsum(0) - sizes)[pairs]
    for first in range(0, len(q), 256):
        scores = q[first : first + 256] @ p.T
        here = ((pairs >= first) & (pairs < first + 256)).nonzero()[:, 0]
        row = pairs[here] - first
        wanted = torch.full((len(scores), int(sizes.max())), torch.inf)
        wanted[row, nth[here]] = scores[row, relevant[here]]
        for y, pool in enumerate(pools):
            ordered = scores[:, pool].sort(1).values
            below = torch.searchsorted(ordered, wanted, right=True)
            counts[here, y] = len(pool) - below[row, nth[here]]
    return measured(counts, r, began)


def measured(counts, r, began):
    """The metrics of counts, and the seconds since ``began`` and of the metrics alone."""
    swept = time.perf_counter()
    ranked = Ranked(
        counts.numpy(),
        r.query_index,
        r.passage_language[r.passage_index],
        r.query_language,
        r.languages,
        np.bincount(r.passage_language, minlength=len(r.languages)),
        r.grades,
    )
    columns = per_query(ranked)
    scores = score(ranked, columns)
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "metrics": ended - swept,
        "rankings": len(columns["query"]),
        "scores": scores.metrics,
    }


def pools(r):
    """(setting, query language or -1, rows of queries, rows of passages) of every evaluation the peer makes."""
    every = range(len(r.languages))
    for x in every:
        for y in every:
            asked, pool = np.flatnonzero(r.query_language == x), np.flatnonzero(r.passage_language == y)
            if len(asked) and len(pool):
                yield ("mono" if x == y else "cross"), asked, pool
    yield "multi", np.arange(len(r.query_language)), np.arange(len(r.passage_language))


def peer(queries, passages, r):
    """The same figures by sentence-transformers, one evaluator a pool."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    class Given(InformationRetrievalEvaluator):
        """Embeddings given: nothing is encoded."""

        def embed_inputs(self, model, sentences, **kwargs):
            return torch.from_numpy(queries[[int(text) for text in sentences]])

    relevant = {}
    for q, p in zip(r.query_index.tolist(), r.passage_index.tolist(), strict=True):
        relevant.setdefault(q, set()).add(p)
    began = time.perf_counter()
    found = {}
    for setting, asked, pool in pools(r):
        inside = set(pool.tolist())
        answers = {f"q{q}": {f"p{p}" for p in relevant.get(q, ()) if p in inside} for q in asked.tolist()}
        evaluator = Given(
            {f"q{q}": str(q) for q in asked.tolist()},
            {f"p{p}": "" for p in pool.tolist()},
            answers,
            precision_recall_at_k=[1, 10, 100],
            accuracy_at_k=[1],
            write_csv=False,
            score_functions={"cosine": lambda a, b: a @ b.T},
        )
        got = evaluator.compute_all_metrics(None, corpus_embeddings=torch.from_numpy(passages[pool]))
        found.setdefault(setting, []).append(got["cosine"]["map@k"][100])
    scores = {f"{setting}/AP@100": statistics.fmean(values) for setting, values in found.items()}
    return {"seconds": time.perf_counter() - began, "scores": scores, "pools": sum(map(len, found.values()))}


def peer_end_to_end(model, path):
    """Texts in, figures out, in a process of its own: each text encoded once, then every pool scored."""
    from sentence_transformers import SentenceTransformer

    from hybridtune.config.fields import Encoder
    from hybridtune.model.folder import with_folder_settings

    benchmark = load_benchmark(path)
    settings = with_folder_settings(Encoder(name=model))
    encoder = SentenceTransformer(model, device="cpu")
    vectors = []
    for texts, prefix, length in (
        (benchmark.queries, settings.query_prefix, settings.query_length),
        (benchmark.passages, settings.passage_prefix, settings.passage_length),
    ):
        encoder.max_seq_length = length
        sentences = [prefix + text.text for text in texts]
        tokens = statistics.fmean(len(ids) for ids in encoder.tokenizer(sentences[::10])["input_ids"])
        batch = max(1, int(BATCH_TOKENS / min(tokens, length)))
        vectors.append(encoder.encode(sentences, batch_size=batch, normalize_embeddings=True))
    return peer(*vectors, benchmark.relevance)


def timed(command):
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return time.perf_counter() - began, json.loads(done.stdout.splitlines()[-1])


def float32_peak():
    """FLOP/s of the best of 20 products of torch."""
    left, right = torch.randn(2048, WIDTH), torch.randn(WIDTH, 2048)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2 * 2048 * 2048 * WIDTH / min(seconds)


def side_by_side(queries, passages, relevance, title):
    theirs = peer(queries, passages, relevance)
    both = [(plain_torch(queries, passages, relevance), ours(queries, passages, relevance)) for _ in range(3)]
    plain, mine = zip(*both, strict=True)
    plain_seconds, seconds = (statistics.median(one["seconds"] for one in of) for of in (plain, mine))
    metrics = statistics.median(one["metrics"] for one in mine)
    print(f"\n{title}: {len(queries):,} queries, {len(passages):,} passages, embeddings given")
    print(f"  sentence-transformers  {theirs['seconds']:8.1f} s   {theirs['pools']} pools, cut off at 100")
    print(f"  a dozen lines of torch {plain_seconds:8.1f} s   all pools at full depth (median of 3)")
    print(f"  hybridtune             {seconds:8.1f} s   all pools at full depth (median of 3, alternating)")
    print(f"  ratios                 {theirs['seconds'] / seconds:8.1f} and {plain_seconds / seconds:.1f}")
    product, peak = 2 * queries.size * len(passages), float32_peak()
    swept = min(one["seconds"] - one["metrics"] for one in mine)
    print(f"  ranking                {product / swept / peak:8.0%}   of float32's peak ({peak / 1e9:.0f} GFLOP/s)")
    print(
        f"  metrics alone          {mine[0]['rankings'] / metrics:8,.0f} rankings/s with per-query values "
        f"({len(queries) / metrics:,.0f} queries/s)"
    )
    for setting in ("mono", "cross", "multi"):
        print(
            f"  {setting:6} AP@100 theirs {theirs['scores'][f'{setting}/AP@100']:.4f}   "
            f"AP (full depth) of torch {plain[0]['scores'][f'{setting}/AP']:.4f}   "
            f"AP (full depth) ours {mine[0]['scores'][f'{setting}/AP']:.4f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model folder; with --benchmark: also end to end")
    parser.add_argument("--benchmark", help="benchmark to encode, like an XQuAD-R folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if given.peer:
        print(json.dumps(peer_end_to_end(given.model, given.benchmark)))
        return
    print(", ".join(f"{name} {version(name)}" for name in ("hybridtune", "sentence-transformers", "torch", "ray")))
    print(f"python {sys.version.split()[0]}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    side_by_side(*made_up(given.seed), "made up, of the size of XQuAD-R")
    if given.model and given.benchmark:
        script = [sys.executable, str(Path(__file__)), "--model", given.model, "--benchmark", given.benchmark, "--peer"]
        tool = [
            str(Path(sys.executable).with_name("hybridtune")),
            "evaluate",
            given.model,
            "--benchmark",
            given.benchmark,
            "--json",
        ]
        print("\nend to end, texts to figures, each in a process of its own (A B A B)")
        rounds = [(timed(script), timed(tool)) for _ in range(2)]
        for (theirs, found), (mine, got) in rounds:
            print(
                f"  sentence-transformers {theirs:7.1f} s, hybridtune {mine:7.1f} s, ratio {theirs / mine:.2f}   "
                + ", ".join(
                    f"{s} {found['scores'][f'{s}/AP@100']:.4f} / {got['metrics'][f'{s}/AP']:.4f}"
                    for s in ("mono", "cross", "multi")
                )
            )
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
