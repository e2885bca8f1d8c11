import gzip
from dataclasses import replace

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from hybridtune.errors import InputError
from hybridtune.evaluate.relevance import Relevance
from hybridtune.evaluate.trec import rank_run, read_run, write_qrels, write_run
from hybridtune.metrics.metrics import per_query, score
from hybridtune.metrics.ties import tie_order

MEASURES = {
    "AP": "map",
    "AP@5": "map_cut_5",
    "RR": "recip_rank",
    "nDCG": "ndcg",
    "nDCG@10": "ndcg_cut_10",
    "R@5": "recall_5",
    "R@100": "recall_100",
    "Success@1": "success_1",
    "Success@5": "success_5",
}


def counted(run, query_ids, passage_ids, relevance):
    language = dict(zip(passage_ids, relevance.passage_language.tolist(), strict=True))
    sizes = np.bincount(relevance.passage_language, minlength=len(relevance.languages))
    return rank_run(run, replace(relevance, query_ids=tuple(query_ids)), passage_ids, language, sizes)


class Case:
    """A benchmark with graded relevance and a run over it, in which equal scores are common."""

    def __init__(self, seed, queries=8, passages=60, languages=3):
        self.random = random = np.random.default_rng(seed)
        self.query_ids = [f"q{number}:{'ab'[number % 2]}" for number in range(queries)]
        names = [*"éßñ中文ﬀ😀", "Z", "z", "10", "9", "-", "~"]
        self.passage_ids = [f"{names[n % len(names)]}{n}" for n in random.permutation(passages).tolist()]
        spoken, asked = random.integers(languages, size=passages), random.integers(languages, size=queries)
        grades = random.integers(1, 4, (queries, passages)) * (random.random((queries, passages)) < 0.12)
        grades[np.arange(queries), random.integers(passages, size=queries)] = 2
        index = grades.nonzero()
        self.relevance = Relevance(
            name="random",
            digest="",
            query_ids=(),
            languages=tuple("abc"[:languages]),
            query_language=asked,
            passage_language=spoken,
            order=tie_order(self.passage_ids),
            query_index=index[0],
            passage_index=index[1],
            grades=grades[index].astype(float),
        )
        self.scores = (random.integers(-6, 6, (queries, passages)) / 3).astype(np.float32)

    def rankings(self, depth):
        order = self.relevance.order
        for query in range(len(self.query_ids)):
            best = np.lexsort((order, -self.scores[query]))[: depth(query)]
            yield [self.passage_ids[p] for p in best], self.scores[query, best]

    def run(self, path, depth=lambda query: None):
        write_run(path, self.query_ids, self.rankings(depth), "tag")
        return read_run(path)

    def columns(self, run, measures=tuple(MEASURES)):
        ranked = counted(run, self.query_ids, self.passage_ids, self.relevance).ranked
        return ranked, per_query(ranked, measures)

    def by_pytrec_eval(self, run_file, query, pool):
        """trec_eval's values of one list over the passages of one pool; -1 is the multi pool."""
        judged = self.relevance
        inside = {p for p, spoken in enumerate(judged.passage_language) if pool in (-1, spoken)}
        name = self.query_ids[query]
        pairs = zip(judged.query_index, judged.passage_index, judged.grades, strict=True)
        qrels = {name: {self.passage_ids[p]: int(g) for q, p, g in pairs if q == query and p in inside}}
        with run_file.open() as lines:
            run = pytrec_eval.parse_run(lines)
        found = {id_: value for id_, value in run.get(name, {}).items() if self.passage_ids.index(id_) in inside}
        asked = {"map", "map_cut", "recip_rank", "ndcg", "ndcg_cut.5,10", "recall", "success"}
        values = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate({name: found})
        return values.get(name, dict.fromkeys(MEASURES.values(), 0.0))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("cut", ["full", "alike", "ragged"])
def test_every_list_equals_pytrec_eval_with_ties_grades_and_truncation(seed, cut, tmp_path):
    case = Case(seed)
    depths = case.random.integers(0, 25, len(case.query_ids))  # a depth of 0: the query is not in the run
    depth = {"full": lambda q: None, "alike": lambda q: 20, "ragged": lambda q: depths[q]}[cut]
    file = tmp_path / "run.txt"
    _, columns = case.columns(case.run(file, depth))
    for row, (query, pool) in enumerate(zip(columns["query"], columns["pool_language"], strict=True)):
        expected = case.by_pytrec_eval(file, int(query), int(pool))
        for ours, theirs in MEASURES.items():
            assert columns[ours][row] == pytest.approx(expected[theirs], abs=1e-9), (ours, query, pool)


@pytest.mark.parametrize("name", ["run.txt", "run.txt.gz"])
def test_a_run_comes_back_bit_for_bit_in_any_order_of_lines(tmp_path, name):
    case = Case(0)
    case.scores += case.random.standard_normal(case.scores.shape).astype(np.float32) * np.float32(1e-3)
    case.scores[0, :4] = [1e-45, -3e38, 1.1754944e-38, 0.1]
    run = case.run(tmp_path / name)
    back = np.empty_like(case.scores)
    back[run.query, [case.passage_ids.index(run.passage_ids[p]) for p in run.passage]] = run.scores
    assert (back == case.scores).all()
    text = gzip.open if name.endswith("gz") else open
    with text(tmp_path / name, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    assert lines[0].split()[3] == "1"
    case.random.shuffle(lines)
    (tmp_path / "shuffled").write_text("\n".join(line.strip().replace(" ", "\t ") for line in lines))
    shuffled, straight = case.columns(read_run(tmp_path / "shuffled"))[1], case.columns(run)[1]
    assert all(np.array_equal(shuffled[key], straight[key]) for key in ("setting", "query", "AP", "nDCG"))
    assert not list(tmp_path.glob(".*"))


def test_ir_measures_and_pytrec_eval_read_what_is_written(tmp_path):
    case = Case(3)
    run = case.run(tmp_path / "run")
    judged = case.relevance
    pairs = [case.query_ids[q] for q in judged.query_index], [case.passage_ids[p] for p in judged.passage_index]
    write_qrels(tmp_path / "qrels", *pairs, judged.grades.tolist())
    _, columns = case.columns(run)
    multi = columns["setting"] == "multi"
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels")))
    read = list(ir_measures.read_trec_run(str(tmp_path / "run")))
    means = ir_measures.calc_aggregate([ir_measures.AP, ir_measures.nDCG @ 10], qrels, read)
    assert columns["AP"][multi].mean() == pytest.approx(means[ir_measures.AP], abs=1e-9)
    assert columns["nDCG@10"][multi].mean() == pytest.approx(means[ir_measures.nDCG @ 10], abs=1e-9)
    with (tmp_path / "qrels").open() as file:
        assert len(pytrec_eval.parse_qrel(file)) == len(case.query_ids)


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def small(**change):
    """Queries q0 (a), q1 (b); passages p0, p1 (a), p2, p3 (b); p0 and p2 answer q0, p3 answers q1."""
    given = {
        "name": "small",
        "digest": "",
        "query_ids": ("q0", "q1"),
        "languages": ("a", "b"),
        "query_language": np.array([0, 1]),
        "passage_language": np.array([0, 0, 1, 1]),
        "order": tie_order(["p0", "p1", "p2", "p3"]),
        "query_index": np.array([0, 0, 1]),
        "passage_index": np.array([0, 2, 3]),
        "grades": np.ones(3),
    }
    return ["q0", "q1"], ["p0", "p1", "p2", "p3"], Relevance(**(given | change))


def test_known_counts_of_a_truncated_run(tmp_path):
    lines = ["q0 Q0 p1 7 0.5 t", "q0 Q0 p3 1 0.5 t", "q0 Q0 p0 2 0.25 t", "", "x Q0 nowhere 1 1 t"]
    seen = counted(read_run(write(tmp_path / "run", lines)), *small())
    # q0's list: p3 (of equal scores the greater id), p1, p0. p2 is not in it; q1 has none.
    assert seen.ranked.counts.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert seen.ranked.retrieved.tolist() == [True, False, False]
    assert seen.ranked.settings == ("mono", "cross", "multi")
    assert seen.depth == 3
    assert [note.split(" ")[0] for note in seen.notes] == ["1", "1", "the"]
    assert "not in the benchmark and left out (first: 'x')" in seen.notes[0]
    assert "1 of 2 benchmark queries are not in the run and score 0 (first: 'q1')" in seen.notes[1]
    assert "depth at most 3, of 4 passages; mono and cross are read off the same lists" in seen.notes[2]


def test_scores_are_compared_as_float32(tmp_path):
    # Equal as float32, so p3 stands first by its id; as float64 p0 would.
    lines = ["q0 Q0 p0 1 0.100000001 t", "q0 Q0 p3 2 0.1 t"]
    seen = counted(read_run(write(tmp_path / "run", lines)), *small())
    assert seen.ranked.counts[0].tolist() == [0, 1]


def test_lists_of_the_own_language_are_mono_alone(tmp_path):
    lines = ["q0 Q0 p0 1 2 t", "q0 Q0 p1 1 1 t", "q1 Q0 p3 1 1 t"]
    seen = counted(read_run(write(tmp_path / "run", lines)), *small())
    assert seen.ranked.settings == ("mono",)
    assert "only mono is shown" in seen.notes[0]
    assert "depth at most 2, of 2 passages" in seen.notes[1]  # q1's list lacks p2
    scores = score(seen.ranked, per_query(seen.ranked))
    assert scores.metrics["mono/AP"] == 1.0
    assert not [name for name in scores.metrics if not name.startswith("mono/")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["q0 Q0 p0 1 0.5 t", "q0 Q0 p1 1 0.5"], r"run:2: 5 columns; a TREC run has six"),
        (["q0 Q0 p0 1 0.5 t t"], r"run:1: 7 columns"),
        (["", "q0 Q0 p0 1 high t"], r"run:2: score 'high' is not a finite"),
        (["q0 Q0 p0 1 nan t"], r"run:1: score 'nan'"),
        (["q0 Q0 p0 1 1e39 t"], r"run:1: score '1e39'"),
        (["q0 Q0 p0 1 2 t", "q1 Q0 p0 1 2 t", "q0 Q0 p0 2 1 t"], r"'q0' has passage 'p0' more than once"),
        ([], "the run is empty"),
        ([""], "the run is empty"),
    ],
)
def test_lines_that_are_wrong_say_where(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_run(write(tmp_path / "run", lines))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        read_run(write(tmp_path / "plain.gz", ["q0 Q0 p0 1 1 t"]))
    with gzip.open(tmp_path / "cut.gz", "wb") as file:
        file.write(b"q0 Q0 p0 1 1 t\n" * 1000)
    whole = (tmp_path / "cut.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-12])
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "cut.gz")
    (tmp_path / "latin").write_bytes(b"q\xe9 Q0 p0 1 1 t\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_run(tmp_path / "latin")


def test_a_run_of_other_data_is_refused(tmp_path):
    unknown = write(tmp_path / "run", ["q0 Q0 p9 1 2 t", "q0 Q0 p8 1 1 t", "q1 Q0 p9 1 1 t"])
    with pytest.raises(InputError, match=r"2 of its passages are not in the benchmark \(first: 'p9'\)"):
        counted(read_run(unknown), *small())
    other = write(tmp_path / "run", ["1 Q0 p0 1 2 t"])
    with pytest.raises(InputError, match=r"none of its 1 queries is in the benchmark \(the run has '1', .* 'q0'\)"):
        counted(read_run(other), *small())


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    one = np.ones(1, np.float32)
    for query, passage, tag in (("a b", "p", "t"), ("q", "p\u00a0", "t"), ("q", "", "t"), ("q", "p", "a\tb")):
        with pytest.raises(InputError, match="white space"):
            write_run(tmp_path / "run", [query], [([passage], one)], tag)
        if tag == "t":
            with pytest.raises(InputError, match="white space"):
                write_qrels(tmp_path / "qrels", [query], [passage], [1])
    with pytest.raises(InputError, match="whole"):
        write_qrels(tmp_path / "qrels", ["q"], ["p"], [0.5])
    for scores in ([1, 2], [np.nan, 1]):
        with pytest.raises(ValueError, match="rise or are not finite"):
            write_run(tmp_path / "run", ["q"], [(["p", "r"], np.array(scores, np.float32))], "t")
    assert list(tmp_path.iterdir()) == []


def test_the_order_of_a_written_run_is_the_order_it_is_read_in(tmp_path):
    case = Case(5)
    run = case.run(tmp_path / "run")
    order = case.relevance.order[[case.passage_ids.index(name) for name in run.passage_ids]][run.passage]
    keys = list(zip(run.query.tolist(), (-run.scores).tolist(), order.tolist(), strict=True))
    assert keys == sorted(keys)
