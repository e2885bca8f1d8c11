"""The per-query values of one evaluation as a Parquet file: what a comparison of two models pairs.

`metrics.per_query` gives the columns, `significance` and the report read the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float64, Int64
from hybridtune.metrics.metrics import INDEX_COLUMNS, Columns

FILE = "per_query.parquet"
ALL = "*"  # the pool of all languages
_TEXT = ("setting", "query_id", "query_language", "pool_language")
WRITE_ANEW = "write it anew with: hybridtune evaluate MODEL --benchmark PATH --out FOLDER"


@dataclass(frozen=True, eq=False)
class PerQuery:
    """N scored rankings of one model, in columns of one length.

    ``topic`` is int64, see ``topic_numbers``; ``pool_language`` "*" is the pool of all languages; ``measures`` are
    float64, NaN where not defined; ``about`` has ``model``, ``benchmark`` and ``benchmark_digest`` of the file.
    ``document`` is the id of the query's document, empty where the benchmark names none; None: the file was written by
    a version that did not keep it.
    """

    setting: NDArray[Any]
    query_id: NDArray[Any]
    topic: Int64
    query_language: NDArray[Any]
    pool_language: NDArray[Any]
    measures: Mapping[str, Float64]
    about: Mapping[str, str] = field(default_factory=dict)
    document: NDArray[Any] | None = None

    def part(self, rows: Any) -> "PerQuery":
        """Return some rankings, by any numpy index."""
        columns = {name: getattr(self, name)[rows] for name in (*_TEXT, "topic")}
        columns["document"] = None if self.document is None else self.document[rows]
        return replace(self, measures={name: of[rows] for name, of in self.measures.items()}, **columns)


def write_per_query(
    path: Path,
    columns: Columns,
    query_ids: Sequence[str],
    languages: Sequence[str],
    topics: Int64,
    about: Mapping[str, str],
    documents: Sequence[str] | None = None,
) -> None:
    """Write ``metrics.per_query`` as Parquet, whole or not at all; its folder is made.

    The numbers of the columns are rows of ``query_ids`` and ``languages``; ``topics`` [Q] are `topic_numbers`,
    ``documents`` the Q ids of the queries' documents (None: the benchmark names none). ``about`` (``model``,
    ``benchmark``, ``benchmark_digest``) goes to the schema's metadata.
    """
    ids = documents if documents is not None else [""] * len(query_ids)
    names, document = np.unique(np.array(ids, np.str_), return_inverse=True)
    settings, setting = np.unique(columns["setting"], return_inverse=True)
    pools = columns["pool_language"]
    table: dict[str, Any] = {
        "setting": _named(setting, settings.tolist()),
        "query_id": _named(columns["query"], query_ids),
        "topic": pa.array(topics[columns["query"]], pa.int64()),
        "document": _named(document[columns["query"]], names.tolist()),
        "query_language": _named(columns["query_language"], languages),
        "pool_language": _named(np.where(pools < 0, len(languages), pools), [*languages, ALL]),
    }
    # from_pandas=False keeps NaN a value: null would be another one to every reader.
    measures = columns.keys() - set(INDEX_COLUMNS)
    table |= {name: pa.array(columns[name], pa.float64(), from_pandas=False) for name in columns if name in measures}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    pq.write_table(pa.table(table).replace_schema_metadata(dict(about)), temporary, compression="zstd")
    temporary.replace(path)


def read_per_query(path: Path) -> PerQuery:
    """Read what ``write_per_query`` wrote; values come back exactly.

    Raises:
        InputError: not there, not Parquet, or a column is missing.
    """
    table = _table(path)
    missing = [name for name in (*_TEXT, "topic") if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: not a file of per-query values: no column {', '.join(missing)}; {WRITE_ANEW}")
    text = {name: _strings(table[name]) for name in _TEXT}
    measures = {column.name: table[column.name].to_numpy() for column in table.schema if column.type == pa.float64()}
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    document = _strings(table["document"]) if "document" in table.column_names else None
    return PerQuery(topic=table["topic"].to_numpy(), measures=measures, about=about, document=document, **text)


def lowest_rankings(path: Path, setting: str, count: int, measure: str = "AP") -> list[dict[str, Any]]:
    """Return a setting's rankings with the lowest values of a measure, the lowest first, as rows of the file.

    Less is read than by ``read_per_query``: a report looks into hundreds of files. It is empty where the file has no
    such ranking or measure.

    Raises:
        InputError: see ``read_per_query``.
    """
    table = _table(path, [*_TEXT, measure, "RR"])
    if not {"setting", measure} <= {*table.column_names}:
        return []
    table = table.filter(pc.field("setting") == setting)
    values = table[measure].to_numpy()
    order = np.argsort(values, kind="stable")  # of equal ones in the order of the file; NaN comes last
    rows: list[dict[str, Any]] = table.take(order[:count]).to_pylist()
    return [row for row in rows if not np.isnan(row[measure])]


def align(a: PerQuery, b: PerQuery) -> tuple[Int64, Int64]:
    """Return the rows of A and the rows of B, int64 [N] each, of the rankings that both have.

    Raises:
        InputError: other benchmarks, no ranking in common, one that occurs twice, other topics.
    """
    digests = a.about.get("benchmark_digest"), b.about.get("benchmark_digest")
    if digests[0] != digests[1]:
        names = a.about.get("benchmark", "?"), b.about.get("benchmark", "?")
        raise InputError(
            f"A and B were scored on other benchmarks: {names[0]} (digest {digests[0]}) and {names[1]} "
            f"(digest {digests[1]}); evaluate both on the same one"
        )
    size = len(a.topic)
    key = np.zeros(size + len(b.topic), np.int64)
    for name in _TEXT:
        coded = pa.array(np.concatenate([getattr(a, name), getattr(b, name)])).dictionary_encode()
        key = key * max(1, len(coded.dictionary)) + coded.indices.to_numpy()
    for side, keys in (("A", key[:size]), ("B", key[size:])):
        if len(np.unique(keys)) < len(keys):
            raise InputError(f"{side}: a query and pool occur twice; query ids must differ")
    _, rows_a, rows_b = np.intersect1d(key[:size], key[size:], assume_unique=True, return_indices=True)
    if not len(rows_a):
        raise InputError("A and B have no ranking (setting, query, pool) in common")
    if not np.array_equal(a.topic[rows_a], b.topic[rows_b]):
        raise InputError("A and B number the topics of the same queries otherwise: their relevant passages differ")
    return rows_a, rows_b


def _table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read a file's columns, as far as it has them; None: all."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {WRITE_ANEW}")
    try:
        # ParquetFile, not read_table: a folder named "a=b" above the file must not become a column.
        return pq.ParquetFile(path).read(columns)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); {WRITE_ANEW}") from None


def _strings(column: Any) -> NDArray[Any]:
    strings: NDArray[Any] = column.cast(pa.string()).to_numpy().astype(np.str_)
    return strings


def _named(numbers: Int64, names: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(list(names), pa.string()))
