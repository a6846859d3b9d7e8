"""What the tables of concepts and of real targets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from tierod import _core

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Row = TypeVar("Row")

# the last columns of either table
LAST_COLUMNS = (
    "upper",
    "equivalence_p",
    "p",
    "p_max_t",
    "p_method",
    "setting",
    "condition",
    "encoded",
    "note",
)


class _Core(Protocol[Row]):
    """What the C++ tables have in common."""

    @property
    def probe(self) -> str: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def rows(self) -> list[Row]: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def summary(self) -> Sequence[Any]: ...
    @property
    def units(self) -> int: ...
    @property
    def level(self) -> str: ...
    def at(self, site: str, column: str, /) -> Row: ...


class EvaluationTable(Generic[Row]):
    """A cell a site and a column, which is a concept or a target."""

    core: _Core[Row]
    _key: ClassVar[str]  # what a column is
    _columns: ClassVar[tuple[str, ...]]  # of `table`, beside the site and the key
    _score: ClassVar[str]  # what "best" goes by
    _absent: ClassVar[str]  # what is claimed of a column whose `upper` is below the margin

    def __init__(self, core: _Core[Row]) -> None:
        self.core = core

    @property
    def probe(self) -> str:
        return self.core.probe

    @property
    def sites(self) -> list[str]:
        return self.core.sites

    @property
    def rows(self) -> list[Row]:
        """The cells, site by site."""
        return self.core.rows

    @property
    def notes(self) -> list[str]:
        """What the reader must know of all of it."""
        return self.core.notes

    def at(self, site: str, column: str) -> Row:
        """Return one cell.

        Raises:
            InvalidArgument: there is no such site or column; the nearest names are listed.
        """
        return self.core.at(site, column)

    @property
    def table(self) -> pd.DataFrame:
        """A row a cell; an interval is three columns: x, x_low, x_high."""
        import pandas as pd

        records = []
        cells: Sequence[Any] = self.core.rows
        for cell in cells:
            record: dict[str, Any] = {
                "site": cell.site,
                self._key: getattr(cell, f"{self._key}_name"),
            }
            for name in self._columns:
                value = getattr(cell, name)
                if isinstance(value, _core.Interval):
                    record[name] = value.estimate
                    record[f"{name}_low"], record[f"{name}_high"] = value.low, value.high
                else:
                    record[name] = value
            records.append(record)
        return pd.DataFrame.from_records(records)

    @property
    def summary(self) -> pd.DataFrame:
        """A row a column: best site, p over the sites, q over the columns, bound of absence."""
        import pandas as pd

        names = (
            "best_site", f"best_{self._score}", "p_max_t", "q", "encoded_sites", "upper", self._absent,
        )  # fmt: skip
        return pd.DataFrame.from_records(
            [
                {
                    self._key: getattr(s, f"{self._key}_name"),
                    **{name: getattr(s, name) for name in names},
                }
                for s in self.core.summary
            ]
        )

    def plot(
        self, value: str | None = None, *, ax: Axes | None = None, annotate: bool | None = None
    ) -> Axes:
        """Draw a heat map of a column of `table`, else of the score; a dot marks encoded cells.

        AUROCs are shown around .5, differences around 0, so that no colour means nothing.
        """
        from tierod.probe.plots import heat_map

        return heat_map(self, value or self._score, ax=ax, annotate=annotate)

    def __repr__(self) -> str:
        return repr(self.core)
