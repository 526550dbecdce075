"""Results as tables, for pandas, polars and other data frames, none of which is a dependency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

Columns = Mapping[str, Sequence[Any]]


class Tabular:
    """A result that is also a table.

    ``polars.DataFrame(result)``, and any other reader of the Arrow PyCapsule interface, takes it
    directly, with undefined scores as null; this needs ``nanoarrow``. ``to_dataframe()`` needs
    pandas, ``columns()`` no package.
    """

    def columns(self) -> dict[str, list[Any]]:
        """The columns by name: strings, ints, bools, and floats with nan where undefined."""
        raise NotImplementedError

    def to_dataframe(self) -> pd.DataFrame:
        """The table as a pandas frame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "`to_dataframe` needs pandas: pip install pandas. For polars pass the result to "
                "`polars.DataFrame`."
            ) from error
        return pd.DataFrame(self.columns())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The table as an Arrow stream of one batch.

        Raises:
            ImportError: nanoarrow is not installed.
        """
        try:
            import nanoarrow  # type: ignore[import-untyped]
            from nanoarrow.c_array_stream import (  # type: ignore[import-untyped]
                CArrayStream,
            )
        except ImportError as error:
            raise ImportError(
                "a table in Arrow's format needs nanoarrow: pip install nanoarrow. Without it pass "
                "`.columns()` to the data frame."
            ) from error
        columns = self.columns()
        fields = {name: getattr(nanoarrow, _kind(column))() for name, column in columns.items()}
        children = [
            nanoarrow.c_array(_cells(column), fields[name]) for name, column in columns.items()
        ]
        schema = nanoarrow.c_schema(nanoarrow.struct(fields, nullable=False))
        rows = len(next(iter(columns.values())))
        batch = nanoarrow.c_array_from_buffers(schema, rows, [None], children=children)
        stream = CArrayStream.from_c_arrays([batch], schema)
        return stream.__arrow_c_stream__(requested_schema)


class Table(Tabular):
    """Named columns of equal length.

    Raises:
        ValueError: no columns, or columns of several lengths.

    Example:
        >>> Table({"class": ["road", "car"], "iou": [0.9, 0.4]}).columns()
        {'class': ['road', 'car'], 'iou': [0.9, 0.4]}
        >>> print(Table({"class": ["road", "car"], "iou": [0.9, 0.4]}))
        class    iou
        road   0.900
        car    0.400
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = {name: list(column) for name, column in columns.items()}
        if len({len(column) for column in self._columns.values()}) != 1:
            lengths = ", ".join(f"{name} {len(c)}" for name, c in self._columns.items())
            raise ValueError(f"`columns` must have one length, got {lengths or 'none'}.")

    def columns(self) -> dict[str, list[Any]]:
        """The columns by name."""
        return dict(self._columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __str__(self) -> str:
        return layout(
            {name: [as_text(cell) for cell in column] for name, column in self._columns.items()},
            {name for name, column in self._columns.items() if _kind(column) != "string"},
        )

    __repr__ = __str__


def as_text(cell: object) -> str:
    """A cell as text: scores with three digits, – for undefined ones."""
    if isinstance(cell, float):
        return f"{cell:.3f}" if cell == cell else "–"
    return "–" if cell is None else str(cell)


def layout(columns: Mapping[str, Sequence[str]], right: Iterable[str] = ()) -> str:
    """Columns of text under their names; those in ``right`` are right-aligned."""
    right = set(right)
    laid_out = []
    for name, cells in columns.items():
        width = max(len(text) for text in (name, *cells))
        laid_out.append(
            [text.rjust(width) if name in right else text.ljust(width) for text in (name, *cells)]
        )
    return "\n".join("  ".join(row).rstrip() for row in zip(*laid_out, strict=True))


def read_columns(table: object) -> dict[str, list[Any]] | None:
    """The columns of a data frame, with its index if that has a name; None for other objects.

    Columns of pandas, polars and pyarrow are read directly, others through Arrow.
    """
    names = getattr(table, "column_names", None) or getattr(table, "columns", None)
    if names is not None and not callable(names) and hasattr(table, "__getitem__"):
        columns = {str(name): list(table[name]) for name in names}
        index: Any = getattr(table, "index", None)
        if getattr(index, "name", None) is not None:
            columns = {str(index.name): list(index), **columns}
        return {name: [native(cell) for cell in column] for name, column in columns.items()}
    if not hasattr(table, "__arrow_c_stream__") or isinstance(table, Sequence):
        return None
    try:
        import nanoarrow
    except ImportError as error:
        raise ImportError(
            f"a {type(table).__name__} is read through nanoarrow: pip install nanoarrow."
        ) from error
    array = nanoarrow.Array(table)
    if array.schema.type != nanoarrow.Type.STRUCT:
        return {"group": array.to_pylist()}
    return {
        field.name: array.child(place).to_pylist()
        for place, field in enumerate(array.schema.fields)
    }


def native(cell: Any) -> Any:
    """A scalar of NumPy, torch or pyarrow as a Python one; nan and missing values as None."""
    for name in ("item", "as_py"):
        if hasattr(cell, name):
            cell = getattr(cell, name)()
            break
    try:
        return cell if cell == cell else None  # nan and NaT
    except TypeError:  # pandas.NA is neither
        return None


def _kind(column: Sequence[Any]) -> str:
    """The Arrow type of a column of Python values."""
    kinds = {type(cell) for cell in column if cell is not None}
    if kinds <= {bool} and kinds:
        return "bool_"
    if kinds <= {int} and kinds:
        return "int64"
    return "float64" if kinds <= {int, float} else "string"


def _cells(column: Sequence[Any]) -> list[Any]:
    """The cells of a column for Arrow, undefined ones as null."""
    cells = [None if cell != cell else cell for cell in column]
    if _kind(column) == "string":
        return [None if cell is None else str(cell) for cell in cells]
    return cells
