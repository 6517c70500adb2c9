"""The readers and writers that are wrapped, by the module that offers them."""

from __future__ import annotations

from dataclasses import dataclass

# names under which a path is passed
PLACES = (
    *("path", "filepath_or_buffer", "path_or_buf", "path_or_buffer", "io", "source", "fname", "file", "filepath"),
    *("where", "input_file", "input_stream", "file_glob", "path_or_paths", "excel_writer", "target", "workbook"),
    *("filename", "source_table", "filename_or_buffer", "path_or_dataset", "url", "uri"),
)


@dataclass(frozen=True, slots=True)
class Readers:
    """Functions of a module whose first argument after `skip` is what they read or write."""

    module: str
    owner: str  # a class of the module, or empty
    names: tuple[str, ...]
    context: str = "input"
    skip: int = 0


def _reads(module: str, names: str, *, owner: str = "") -> Readers:
    return Readers(module, owner, tuple(names.split()), "input", 1 if owner else 0)


def _writes(module: str, names: str, *, owner: str = "") -> Readers:
    return Readers(module, owner, tuple(names.split()), "output", 1)


READERS = (
    _reads("pandas", "read_csv read_table read_fwf read_excel read_json read_html read_xml read_hdf read_feather"),
    _reads("pandas", "read_parquet read_orc read_sas read_spss read_pickle read_stata"),
    _reads("pandas", "__init__", owner="ExcelFile"),
    _reads("pandas", "__init__", owner="HDFStore"),
    _writes("pandas", "to_csv to_excel to_json to_html to_xml to_hdf to_feather", owner="DataFrame"),
    _writes("pandas", "to_parquet to_orc to_pickle to_stata", owner="DataFrame"),
    _writes("pandas", "to_csv to_excel to_json to_hdf to_pickle", owner="Series"),
    _reads("polars", "read_csv read_csv_batched read_parquet read_json read_ndjson read_ipc read_ipc_stream"),
    _reads("polars", "read_excel read_ods read_avro read_delta read_lines"),
    _reads("polars", "scan_csv scan_parquet scan_ndjson scan_ipc scan_delta scan_iceberg scan_lines"),
    _writes("polars", "write_csv write_parquet write_json write_ndjson write_ipc write_ipc_stream", owner="DataFrame"),
    _writes("polars", "write_excel write_avro write_delta", owner="DataFrame"),
    _writes("polars", "sink_csv sink_parquet sink_ndjson sink_ipc", owner="LazyFrame"),
    _reads("pyarrow", "memory_map OSFile input_stream"),
    _reads("pyarrow.parquet", "read_table read_pandas read_metadata read_schema"),
    _reads("pyarrow.parquet", "__init__", owner="ParquetFile"),
    _reads("pyarrow.parquet", "__init__", owner="ParquetDataset"),
    _writes("pyarrow.parquet", "write_table"),
    _writes("pyarrow.parquet", "__init__", owner="ParquetWriter"),
    _reads("pyarrow.csv", "read_csv open_csv"),
    _writes("pyarrow.csv", "write_csv"),
    _reads("pyarrow.json", "read_json open_json"),
    _reads("pyarrow.feather", "read_table read_feather"),
    _writes("pyarrow.feather", "write_feather"),
    _reads("pyarrow.orc", "read_table"),
    _writes("pyarrow.orc", "write_table"),
    _reads("pyarrow.dataset", "dataset"),
    _writes("pyarrow.dataset", "write_dataset"),
    _reads("numpy", "load loadtxt genfromtxt fromfile"),
    _reads("duckdb", "read_csv read_parquet read_json from_csv_auto from_parquet"),
    _reads("duckdb", "read_csv read_parquet read_json from_csv_auto from_parquet", owner="DuckDBPyConnection"),
    _writes("duckdb", "write_csv write_parquet to_csv to_parquet", owner="DuckDBPyRelation"),
)
