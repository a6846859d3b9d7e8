"""The activation store: stream activations to disk while a model runs, and read them back."""

from tierod._core import (
    CaptureSink,
    CrossMoments,
    FoldMoments,
    Labels,
    MergeReport,
    RecoverReport,
    SiteColumn,
    StorePlan,
    StoreStat,
    StreamSpec,
    VerifyReport,
    WriterStats,
    build_index,
    fold_of_group,
    get_labels,
    has_store,
    label_concepts,
)
from tierod.store.arrays import ROW_COLUMNS
from tierod.store.maintenance import (
    export_numpy,
    merge_stores,
    plan_store,
    recover_store,
    set_labels,
    stat_store,
    verify_store,
)
from tierod.store.reader import ActivationReader, Batch, Batches
from tierod.store.sinks import MomentsSink, StoreSink
from tierod.store.writer import ActivationWriter

__all__ = [
    "ROW_COLUMNS",
    "ActivationReader",
    "ActivationWriter",
    "Batch",
    "Batches",
    "CaptureSink",
    "CrossMoments",
    "FoldMoments",
    "Labels",
    "MergeReport",
    "MomentsSink",
    "RecoverReport",
    "SiteColumn",
    "StorePlan",
    "StoreSink",
    "StoreStat",
    "StreamSpec",
    "VerifyReport",
    "WriterStats",
    "build_index",
    "export_numpy",
    "fold_of_group",
    "get_labels",
    "has_store",
    "label_concepts",
    "merge_stores",
    "plan_store",
    "recover_store",
    "set_labels",
    "stat_store",
    "verify_store",
]
