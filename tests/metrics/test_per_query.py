import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.metrics.metrics import Ranked, per_query
from hybridtune.metrics.per_query import lowest_rankings, read_per_query, write_per_query
from hybridtune.metrics.topics import topic_numbers

ABOUT = {"model": "a model", "benchmark": "bench", "benchmark_digest": "0123"}


@pytest.fixture
def columns():
    ranked = Ranked(
        counts=np.array([[0, 0], [1, 3], [3, 1], [4, 1], [0, 1]]),
        query_index=np.array([0, 0, 1, 2, 3]),
        passage_language=np.array([0, 1, 0, 1, 0]),
        query_language=np.array([0, 0, 0, 1]),
        languages=["en", "de"],
        passages=np.array([10, 20]),
    )
    return per_query(ranked)


def test_the_lowest_rankings_are_those_of_the_whole_file(tmp_path, columns):
    path = tmp_path / "per_query.parquet"
    columns["AP"][np.flatnonzero(columns["setting"] == "multi")[0]] = np.nan
    write_per_query(path, columns, ["q0", "q1", "q2", "q3"], ["en", "de"], np.arange(4), ABOUT)
    whole = read_per_query(path)
    multi = np.flatnonzero(whole.setting == "multi")[1:]  # but for the one that is not defined
    expected = sorted(zip(whole.measures["AP"][multi], whole.query_id[multi], strict=True))
    found = lowest_rankings(path, "multi", 9)
    assert sorted((row["AP"], row["query_id"]) for row in found) == expected
    assert [row["AP"] for row in lowest_rankings(path, "multi", 2)] == [value for value, _ in expected[:2]]
    assert lowest_rankings(path, "multi", 2, "recall") == lowest_rankings(path, "other", 2) == []
    with pytest.raises(InputError, match="no such file"):
        lowest_rankings(tmp_path / "gone", "multi", 2)


def test_a_file_comes_back_exactly(tmp_path, columns):
    ids, languages = ["q0", "q1", "q2", "q3"], ["en", "de"]
    path = tmp_path / "study" / "trials" / "ratio=1" / "per_query.parquet"  # "=" must not make a column
    write_per_query(path, columns, ids, languages, np.array([5, 6, 7, 8]), ABOUT, ["x", "", "y", "x"])
    back = read_per_query(path)
    assert back.about == ABOUT
    assert back.setting.tolist() == columns["setting"].tolist()
    assert back.query_id.tolist() == [ids[query] for query in columns["query"]]
    assert back.topic.tolist() == (columns["query"] + 5).tolist()
    assert back.document.tolist() == [["x", "", "y", "x"][query] for query in columns["query"]]
    assert back.query_language.tolist() == [languages[code] for code in columns["query_language"]]
    assert back.pool_language.tolist() == [[*languages, "*"][code] for code in columns["pool_language"]]
    names = [key for key in columns if key not in ("setting", "query", "query_language", "pool_language")]
    assert list(back.measures) == names
    for name in names:  # to the bit, NaN included
        assert back.measures[name].tobytes() == columns[name].astype(np.float64).tobytes()
    assert np.isnan(back.measures["rank_distance"]).any()
    assert pq.ParquetFile(path).read()["rank_distance"].null_count == 0
    assert [file.name for file in path.parent.iterdir()] == ["per_query.parquet"]


def test_a_copy_by_another_writer_reads_the_same(tmp_path, columns):
    path = tmp_path / "per_query.parquet"
    write_per_query(path, columns, list("abcd"), ["en", "de"], np.arange(4), ABOUT)
    table = pq.ParquetFile(path).read()
    plain = pa.table({name: pa.array(table[name].to_pylist()) for name in table.column_names})
    pq.write_table(plain, tmp_path / "copy.parquet", row_group_size=3)
    one, other = read_per_query(path), read_per_query(tmp_path / "copy.parquet")
    assert one.document.tolist() == other.document.tolist() == [""] * len(one.topic)
    assert one.query_id.tolist() == other.query_id.tolist()
    assert one.pool_language.tolist() == other.pool_language.tolist()
    assert np.array_equal(one.measures["AP"], other.measures["AP"])


def test_a_file_without_documents_is_read_and_names_none(tmp_path, columns):
    path = tmp_path / "per_query.parquet"
    write_per_query(path, columns, list("abcd"), ["en", "de"], np.arange(4), ABOUT, list("xxyy"))
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["document"]), path)
    older = read_per_query(path)
    assert older.document is None
    assert older.part([0, 1]).document is None


def test_another_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file; write it anew with: hybridtune evaluate"):
        read_per_query(tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_per_query(tmp_path / "broken.parquet")
    pq.write_table(pa.table({"setting": ["mono"], "topic": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="no column query_id, query_language, pool_language"):
        read_per_query(tmp_path / "other.parquet")


def test_topics_by_hand():
    # queries 0 and 2 share {4, 7}; 1 has {4}; 3 has {7, 4} said twice; 4 and 5 have none.
    query = np.array([2, 0, 0, 1, 2, 3, 3, 3])
    passage = np.array([7, 4, 7, 4, 4, 7, 4, 4])
    assert topic_numbers(query, passage, 6).tolist() == [0, 1, 0, 0, 2, 3]
    assert topic_numbers(query[:0], passage[:0], 2).tolist() == [0, 1]
    assert topic_numbers(query[:0], passage[:0], 0).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20))
def test_topics_are_the_classes_of_equal_sets(pairs):
    query, passage = np.array([*pairs, (0, 0)], np.int64)[:-1].T
    topics = topic_numbers(query, passage, 6)
    sets = [frozenset(p for q, p in pairs if q == one) for one in range(6)]
    for x in range(6):
        for y in range(6):
            assert (topics[x] == topics[y]) == (x == y or (sets[x] == sets[y] and bool(sets[x])))
