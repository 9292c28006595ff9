"""results.jsonl as parquet."""

import json
from collections.abc import Set
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.folders import read_jsonl
from traces import replacing


def write_parquet(results: Path, path: Path, batch_rows: int = 1024) -> None:
    """results.jsonl as parquet, row group by row group; nested and mixed values become JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, set[type]] = {}
    for record in read_jsonl(results):
        for key, value in record.items():
            kinds.setdefault(key, set()).update(() if value is None else {_parquet_kind(value)})
    schema = pa.schema([(key, _type_of(found)) for key, found in kinds.items()])
    with replacing(path) as new, pq.ParquetWriter(new, schema) as writer:
        records = read_jsonl(results)
        while batch := list(islice(records, batch_rows)):
            cells = [[_parquet_value(record.get(column.name), column.type == pa.string()) for record in batch] for column in schema]
            arrays = [pa.array(values, kind) for values, kind in zip(cells, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _type_of(found: Set[type]) -> Any:
    """Arrow type of a column with values of these kinds; text for those that go together as nothing else."""
    import pyarrow as pa

    if found == {bool}:
        return pa.bool_()
    if found and found <= {int, LongInt}:
        return pa.int64()
    return pa.float64() if found and found <= {int, float} else pa.string()


class LongInt:
    """Kind of the whole numbers that a float cannot hold."""


def _parquet_kind(value: Any) -> type:
    """Type of a value that is not null; a whole number beyond 64 bits has to be text."""
    if isinstance(value, bool) or not isinstance(value, int):
        return type(value)
    return int if abs(value) <= 2**53 else LongInt if -(2**63) <= value < 2**63 else str


def _parquet_value(value: Any, as_text: bool) -> Any:
    """A JSON value as a parquet cell; lone surrogates, which parquet cannot hold, are replaced."""
    if value is None or not as_text:
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")
