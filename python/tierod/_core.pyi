"""
C++ side of tierod; import tierod instead.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing
import torch

__all__: list[str] = [
    "AblationCheck",
    "Activation",
    "ActivationCache",
    "ActivationReader",
    "ActivationWriter",
    "Agent",
    "Alternative",
    "AuditOutcome",
    "Batch",
    "BatchField",
    "BatchSpec",
    "Batches",
    "BlockInput",
    "BlockModel",
    "BlockOutput",
    "BootstrapMethod",
    "BootstrapOptions",
    "BootstrapResult",
    "BranchScope",
    "Calibration",
    "CalibrationBin",
    "CallbackPart",
    "CaptureSink",
    "ClassSums",
    "ClusterDesign",
    "Completeness",
    "ConceptAgreement",
    "ConceptClaim",
    "ConceptControls",
    "ConceptDirections",
    "ConceptEffect",
    "ConceptSummary",
    "Conclusion",
    "ControlClaim",
    "ControlFunctional",
    "CotMention",
    "CotParser",
    "CotVocabulary",
    "CounterRandom",
    "Coupling",
    "CrossMoments",
    "CrossValidation",
    "Decision",
    "Direction",
    "DirectionEdit",
    "DoseResponse",
    "DrivingModel",
    "EditRows",
    "EffectGate",
    "Equivalence",
    "Eraser",
    "ErasureCheck",
    "ErasureEdit",
    "Error",
    "Evaluation",
    "EvaluationOptions",
    "EvaluationRow",
    "Event",
    "FitReport",
    "FoldMoments",
    "FoldStatistics",
    "GateResults",
    "GrammarParser",
    "GroupPermutation",
    "GroupPlan",
    "GuardReport",
    "HookAborted",
    "Influence",
    "InputCut",
    "InteractionGate",
    "Interchange",
    "Interval",
    "Intervention",
    "InterventionEdit",
    "InvalidArgument",
    "IoError",
    "JointErasure",
    "Knockout",
    "Labels",
    "Lane",
    "LdaFitter",
    "LeaceFitter",
    "LexiconParser",
    "LinearFits",
    "LinearFitter",
    "LogisticFits",
    "LogisticFitter",
    "ManifoldCheck",
    "MatchedDonors",
    "MaxT",
    "MeanDifferenceFitter",
    "Mediation",
    "MergeReport",
    "Metric",
    "MlpFitter",
    "MlpModel",
    "MlpOptions",
    "Model",
    "ModelDescription",
    "ModuleHook",
    "Moments",
    "MomentsSink",
    "MomentsValidation",
    "NaturalLimits",
    "NoiseFloor",
    "Nuisance",
    "NuisanceKind",
    "NullSiteControl",
    "NumericalError",
    "OffManifold",
    "OracleEraser",
    "OutOfRange",
    "Over",
    "ParsedCot",
    "ParserAgreement",
    "PathShare",
    "PathShares",
    "PermutationOptions",
    "PermutationResult",
    "PermutationUnit",
    "PhaseScope",
    "PlanEntry",
    "Plausible",
    "PositionEffects",
    "Precision",
    "ProbeDataset",
    "ProcessSession",
    "ProxyGate",
    "RankingMeasure",
    "RankingMethod",
    "RankingOptions",
    "ReaderControl",
    "RecordDifference",
    "RecoverReport",
    "RefitInterval",
    "ResampledWords",
    "ResidualFit",
    "ResidualFits",
    "Restoration",
    "RidgeFitter",
    "Rollout",
    "RolloutOptions",
    "RotaryPairs",
    "RowFitter",
    "SamplePlan",
    "SceneConfig",
    "SceneNuisance",
    "SceneSource",
    "Scenes",
    "Session",
    "ShamControl",
    "Site",
    "SiteColumn",
    "SiteError",
    "SiteMaxT",
    "SitePattern",
    "SiteTable",
    "Span",
    "Spec",
    "Splits",
    "StagedModel",
    "StandardisedFitter",
    "StateError",
    "Status",
    "StorePlan",
    "StoreSink",
    "StoreStat",
    "Stratification",
    "StratumGate",
    "StreamSpec",
    "Suspend",
    "SweepPlan",
    "SweepStrategy",
    "TargetEvaluation",
    "TargetRow",
    "TargetSummary",
    "Targets",
    "Thought",
    "TrainLog",
    "TrainOptions",
    "Trainer",
    "TrainingStatistics",
    "Trend",
    "TrendMethod",
    "Truth",
    "UnicycleActions",
    "UnrelatedControl",
    "VerifyReport",
    "Words",
    "WritePattern",
    "WriterStats",
    "audit_plan",
    "audit_protocol",
    "audit_protocol_sha256",
    "audit_run",
    "auprc",
    "auroc",
    "auroc_influence",
    "balanced_influence",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bootstrap_weights",
    "buffer_pool_idle_bytes",
    "build_index",
    "calibration",
    "callback_part",
    "check_options",
    "check_selection",
    "check_truth",
    "cluster_bootstrap",
    "cluster_design",
    "cluster_mean_sd",
    "cluster_t_interval",
    "cluster_tost",
    "common_scale",
    "concatenate_rollouts",
    "conclude_record",
    "control_labels",
    "control_targets",
    "cot_cut",
    "cot_vocabulary",
    "cross_validate",
    "cross_validate_moments",
    "decide",
    "decode_cot",
    "default_layout",
    "delete_group_refits",
    "delete_group_variance",
    "encode_cot",
    "energy_distance",
    "energy_distance_test",
    "equivalence_power",
    "fit_linear",
    "fold_auroc",
    "fold_of_group",
    "framing_names",
    "get_labels",
    "groups_for_effect",
    "groups_for_equivalence",
    "has_store",
    "held_out_scores",
    "holm",
    "hook_point",
    "influence_interval",
    "influence_variance",
    "jackknife_blocks",
    "jackknife_interval",
    "label_concepts",
    "language_tokens",
    "lateral_offset",
    "law_actions",
    "least_lane_margin",
    "least_time_to_collision",
    "logit_difference",
    "mahalanobis_directions",
    "matched_directions",
    "max_t",
    "mean_acceleration",
    "mean_curvature",
    "mean_influence",
    "merge_stores",
    "nearest_names",
    "normal_cdf",
    "normal_quantile",
    "open_session_count",
    "page_trend",
    "parser_agreement",
    "participation_ratio",
    "permutation_test",
    "permutations_needed",
    "philox4x32",
    "plan_sample",
    "plan_store",
    "pooled_copy",
    "probe_direction",
    "proportion_interval",
    "ranking_difference",
    "ranking_interval",
    "ratio_of_sums",
    "recover_store",
    "refit_interval",
    "ridge_direction",
    "rollout_scenes",
    "row_table_bytes",
    "run_completed",
    "run_started",
    "set_buffer_pool_limit",
    "sha256_hex",
    "site_alias",
    "site_max_t",
    "speed_change",
    "stat_store",
    "stopping_distance",
    "student_t_cdf",
    "student_t_quantile",
    "student_t_sf",
    "suspend_depth",
    "t_interval",
    "t_test",
    "t_test_power",
    "tost",
    "tost_between",
    "training_statistics",
    "truthful_cot",
    "unicycle",
    "unicycle_inverse",
    "unicycle_speed",
    "verify_erasure",
    "verify_record",
    "verify_store",
    "version",
    "zoo_concepts",
]

class Error(Exception): ...
class HookAborted(Error, RuntimeError): ...
class InvalidArgument(Error, ValueError): ...
class IoError(Error, OSError): ...
class NumericalError(Error, ArithmeticError): ...
class SiteError(Error, LookupError): ...
class StateError(Error, RuntimeError): ...
class OutOfRange(Error, IndexError): ...

class Site:
    """
    A named place in a model; interned.
    """
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __init__(self, name: str, layout: str = "") -> None: ...
    def __repr__(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def name(self) -> str: ...

class SitePattern:
    """
    A pattern of site names: *, **, {0..5}, {q,k,v}.
    """
    def __init__(self, pattern: str) -> None: ...
    def matches(self, name: str) -> bool: ...
    @property
    def is_exact(self) -> bool: ...
    @property
    def text(self) -> str: ...

class Event:
    """
    The address of one firing of a site.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    @property
    def branch(self) -> str: ...
    @property
    def call(self) -> int: ...
    @property
    def phase(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def step(self) -> int: ...

class CounterRandom:
    """
    Random numbers that depend on (seed, purpose, scene, sample, position) alone.
    """
    def __init__(self, seed: typing.SupportsInt | typing.SupportsIndex, purpose: str) -> None: ...
    def below(
        self,
        bound: typing.SupportsInt | typing.SupportsIndex,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> int: ...
    def bits(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> int: ...
    def gumbel(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...
    def normal(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...
    def uniform(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...

class Moments:
    """
    Count, mean and (co)variance of rows in one pass, in f64 (Chan, Golub & LeVeque 1979).
    """
    def __init__(self, covariance: bool = False) -> None: ...
    def __repr__(self) -> str: ...
    def covariance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the covariance [d, d], f64.
        """
    def mean(self) -> torch.Tensor:
        """
        Return the mean [d], f64.
        """
    def merge(self, other: Moments) -> None:
        """
        Add all that other has seen.
        """
    def update(self, rows: torch.Tensor) -> None:
        """
        Add rows [n, d].
        """
    def variance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the variances [d], f64.
        """
    @property
    def count(self) -> int: ...
    @property
    def has_covariance(self) -> bool: ...
    @property
    def width(self) -> int: ...

class CrossMoments:
    """
    Cross-covariance of rows with labels.
    """
    def __init__(self) -> None: ...
    def count(self) -> torch.Tensor:
        """
        Return the rows with a known label, int64 [k].
        """
    def cross_covariance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the cross-covariance, f64 [k, d].
        """
    def label_variance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the variance of the labels, f64 [k].
        """
    def mean_labels(self) -> torch.Tensor:
        """
        Return the mean label, f64 [k].
        """
    def mean_rows(self) -> torch.Tensor:
        """
        Return their mean, f64 [k, d].
        """
    def merge(self, other: CrossMoments) -> None:
        """
        Add all that other has seen.
        """
    def update(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        """
        Add rows [n, d] and labels [n, k].
        """
    @property
    def concepts(self) -> int: ...
    @property
    def empty(self) -> bool: ...
    @property
    def width(self) -> int: ...

class Interval:
    """
    An estimate with its two-sided confidence interval.
    """
    def __repr__(self) -> str: ...
    def excludes(self, value: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        Tell whether value lies outside of [low, high].
        """
    def inside(
        self,
        lower: typing.SupportsFloat | typing.SupportsIndex,
        upper: typing.SupportsFloat | typing.SupportsIndex,
    ) -> bool:
        """
        Tell whether the whole interval lies inside of (lower, upper).
        """
    @property
    def clusters(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def df(self) -> float: ...
    @property
    def estimate(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def method(self) -> str: ...
    @property
    def standard_error(self) -> float: ...

class Influence:
    """
    An estimate and what each cluster contributes to it.
    """
    def __init__(
        self,
        estimate: typing.SupportsFloat | typing.SupportsIndex,
        contributions: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    @property
    def contributions(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def estimate(self) -> float: ...

class Equivalence:
    """
    Two one-sided tests within margins.
    """
    def __repr__(self) -> str: ...
    @property
    def alpha(self) -> float: ...
    @property
    def equivalent(self) -> bool: ...
    @property
    def interval(self) -> Interval: ...
    @property
    def lower(self) -> float: ...
    @property
    def p(self) -> float: ...
    @property
    def p_lower(self) -> float: ...
    @property
    def p_upper(self) -> float: ...
    @property
    def upper(self) -> float: ...

class ClusterDesign:
    """
    How much rows of one cluster repeat each other.
    """
    def __repr__(self) -> str: ...
    @property
    def between_variance(self) -> float: ...
    @property
    def clusters(self) -> int: ...
    @property
    def design_effect(self) -> float: ...
    @property
    def effective_rows(self) -> float: ...
    @property
    def icc(self) -> float: ...
    @property
    def mean_cluster_rows(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def within_variance(self) -> float: ...

class GroupPlan:
    """
    How many groups a claim needs.
    """
    def __repr__(self) -> str: ...
    @property
    def groups(self) -> int: ...
    @property
    def power(self) -> float: ...

class RankingMeasure:
    """
    Members:

      auroc

      auprc
    """

    __members__: typing.ClassVar[dict[str, RankingMeasure]]
    auprc: typing.ClassVar[RankingMeasure]
    auroc: typing.ClassVar[RankingMeasure]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class RankingMethod:
    """
    Members:

      automatic

      influence

      jackknife

      percentile

      bca
    """

    __members__: typing.ClassVar[dict[str, RankingMethod]]
    automatic: typing.ClassVar[RankingMethod]
    bca: typing.ClassVar[RankingMethod]
    influence: typing.ClassVar[RankingMethod]
    jackknife: typing.ClassVar[RankingMethod]
    percentile: typing.ClassVar[RankingMethod]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class RankingOptions:
    def __init__(
        self,
        measure: RankingMeasure,
        method: RankingMethod,
        confidence: typing.SupportsFloat | typing.SupportsIndex,
        replicates: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
        max_undefined: typing.SupportsFloat | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...

class CalibrationBin:
    """
    One bin of a reliability diagram.
    """
    @property
    def frequency(self) -> float: ...
    @property
    def mean_probability(self) -> float: ...
    @property
    def rows(self) -> int: ...

class Calibration:
    """
    How well probabilities fit labels.
    """
    @property
    def bins(self) -> list[CalibrationBin]: ...
    @property
    def brier(self) -> float: ...
    @property
    def ece(self) -> float: ...
    @property
    def log_loss(self) -> float: ...

class TrendMethod:
    """
    Members:

      automatic

      exact

      normal
    """

    __members__: typing.ClassVar[dict[str, TrendMethod]]
    automatic: typing.ClassVar[TrendMethod]
    exact: typing.ClassVar[TrendMethod]
    normal: typing.ClassVar[TrendMethod]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Trend:
    """
    Page's test of a rising trend.
    """
    @property
    def exact(self) -> bool: ...
    @property
    def p(self) -> float: ...
    @property
    def statistic(self) -> float: ...

class RefitInterval:
    """
    The interval of an effect along a direction that was estimated.
    """
    @property
    def interval(self) -> Interval: ...
    @property
    def refit_variance(self) -> float: ...
    @property
    def refits(self) -> int: ...
    @property
    def test_variance(self) -> float: ...

class BootstrapMethod:
    """
    Members:

      percentile

      bca

      studentised
    """

    __members__: typing.ClassVar[dict[str, BootstrapMethod]]
    bca: typing.ClassVar[BootstrapMethod]
    percentile: typing.ClassVar[BootstrapMethod]
    studentised: typing.ClassVar[BootstrapMethod]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class BootstrapOptions:
    def __init__(
        self,
        method: BootstrapMethod,
        replicates: typing.SupportsInt | typing.SupportsIndex,
        confidence: typing.SupportsFloat | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
        batch: typing.SupportsInt | typing.SupportsIndex,
        max_undefined: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...

class BootstrapResult:
    """
    A bootstrap interval and its replicates.
    """
    @property
    def acceleration(self) -> float: ...
    @property
    def bias_correction(self) -> float: ...
    @property
    def interval(self) -> Interval: ...
    @property
    def note(self) -> str: ...
    @property
    def replicates(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def undefined(self) -> int: ...

class ClassSums:
    """
    Sums and counts of rows by cluster and class: every resampled mean-difference direction follows from them.
    """
    def __init__(
        self,
        rows: torch.Tensor,
        labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    ) -> None: ...
    def bootstrap(
        self,
        replicates: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        first: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> torch.Tensor:
        """
        Return the directions [R, d] of bootstrap replicates.
        """
    def counts(self) -> torch.Tensor:
        """
        Return the numbers of rows [2, G], f64.
        """
    def jackknife(
        self,
        blocks: typing.SupportsInt | typing.SupportsIndex = 20,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> torch.Tensor:
        """
        Return the directions [K, d] of the delete-group jackknife.
        """
    def mean_differences(self, weights: torch.Tensor) -> torch.Tensor:
        """
        Return the directions [R, d] for weights of the clusters [R, G].
        """
    def sums(self) -> torch.Tensor:
        """
        Return the sums [2, G, d], f64.
        """
    @property
    def clusters(self) -> int: ...
    @property
    def groups(self) -> numpy.typing.NDArray[numpy.int64]: ...
    @property
    def width(self) -> int: ...

class PermutationUnit:
    """
    Members:

      group

      track
    """

    __members__: typing.ClassVar[dict[str, PermutationUnit]]
    group: typing.ClassVar[PermutationUnit]
    track: typing.ClassVar[PermutationUnit]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Alternative:
    """
    Members:

      greater

      less

      two_sided
    """

    __members__: typing.ClassVar[dict[str, Alternative]]
    greater: typing.ClassVar[Alternative]
    less: typing.ClassVar[Alternative]
    two_sided: typing.ClassVar[Alternative]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class PermutationOptions:
    def __init__(
        self,
        permutations: typing.SupportsInt | typing.SupportsIndex,
        alternative: Alternative,
        unit: PermutationUnit,
        seed: typing.SupportsInt | typing.SupportsIndex,
        alpha: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...

class GroupPermutation:
    """
    Permutations of labels between groups, within strata.
    """
    def __init__(
        self,
        labels: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        strata: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        unit: PermutationUnit,
    ) -> None: ...
    def permute(
        self,
        replicate: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> numpy.typing.NDArray[numpy.float64]:
        """
        Return the labels of one permutation.
        """
    def smallest_p(self, permutations: typing.SupportsInt | typing.SupportsIndex) -> float:
        """
        Return the smallest p that so many permutations can give.
        """
    @property
    def clusters(self) -> int: ...
    @property
    def log10_arrangements(self) -> float: ...
    @property
    def movable_clusters(self) -> int: ...
    @property
    def rows(self) -> int: ...

class PermutationResult:
    """
    A permutation test.
    """
    @property
    def exceeding(self) -> int: ...
    @property
    def log10_arrangements(self) -> float: ...
    @property
    def note(self) -> str: ...
    @property
    def null(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def p(self) -> float: ...
    @property
    def permutations(self) -> int: ...
    @property
    def smallest_p(self) -> float: ...
    @property
    def statistic(self) -> float: ...

class MaxT:
    """
    p values adjusted for the search over sites.
    """
    @property
    def note(self) -> str: ...
    @property
    def p(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def permutations(self) -> int: ...
    @property
    def single_step(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def smallest_p(self) -> float: ...
    @property
    def step_down(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def threshold(self) -> float: ...

class SiteMaxT:
    """
    A map sites x concepts with adjusted p values.
    """
    @property
    def concepts(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def p(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def permutations(self) -> int: ...
    @property
    def single_step(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def sites(self) -> int: ...
    @property
    def smallest_p(self) -> float: ...
    @property
    def statistic(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def step_down(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def threshold(self) -> numpy.typing.NDArray[numpy.float64]: ...

class FitReport:
    """
    How well conditioned a fit was, and whether it is one.
    """
    def __repr__(self) -> str: ...
    @property
    def condition(self) -> float: ...
    @property
    def converged(self) -> bool: ...
    @property
    def excess(self) -> float: ...
    @property
    def iterations(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def separated(self) -> bool: ...
    @property
    def shrinkage(self) -> float: ...

class Precision:
    """
    Members:

      automatic

      f32

      f64
    """

    __members__: typing.ClassVar[dict[str, Precision]]
    automatic: typing.ClassVar[Precision]
    f32: typing.ClassVar[Precision]
    f64: typing.ClassVar[Precision]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Targets:
    """
    Members:

      labels

      reals
    """

    __members__: typing.ClassVar[dict[str, Targets]]
    labels: typing.ClassVar[Targets]
    reals: typing.ClassVar[Targets]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class TrainingStatistics:
    """
    What linear probes of some targets need of their training rows.
    """
    @property
    def concepts(self) -> int: ...
    @property
    def cross(self) -> torch.Tensor: ...
    @property
    def has_labels(self) -> bool: ...
    @property
    def mean(self) -> torch.Tensor: ...
    @property
    def means(self) -> torch.Tensor: ...
    @property
    def ones(self) -> torch.Tensor: ...
    @property
    def rounding(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def scatter(self) -> torch.Tensor: ...
    @property
    def target_mean(self) -> torch.Tensor: ...
    @property
    def which(self) -> list[int]: ...
    @property
    def width(self) -> int: ...

class FoldStatistics:
    """
    Statistics of one pass over rows, from which every linear probe follows for every held-out fold.
    """
    def __init__(
        self,
        concepts: typing.SupportsInt | typing.SupportsIndex,
        folds: typing.SupportsInt | typing.SupportsIndex,
        targets: Targets = Targets.labels,
        precision: Precision = Precision.automatic,
    ) -> None: ...
    def known(
        self,
        fold: typing.SupportsInt | typing.SupportsIndex,
        concept_index: typing.SupportsInt | typing.SupportsIndex,
    ) -> int:
        """
        Return the number of its rows with a known label.
        """
    def merge(self, other: FoldStatistics) -> None:
        """
        Add all that other has seen.
        """
    def rows(self, fold: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        Return the number of rows of a fold.
        """
    def training(
        self, held_out: typing.SupportsInt | typing.SupportsIndex | None = None
    ) -> TrainingStatistics:
        """
        Return the statistics of all folds but held_out, or of all.
        """
    def training_sets(
        self, held_out: typing.SupportsInt | typing.SupportsIndex | None = None
    ) -> list[TrainingStatistics]:
        """
        Return the same by sets of concepts that have the same training rows.
        """
    def update(self, rows: torch.Tensor, labels: torch.Tensor, folds: torch.Tensor) -> None:
        """
        Add rows [n, d], their labels or real targets [n, C], and folds [n].
        """
    @property
    def concepts(self) -> int: ...
    @property
    def folds(self) -> int: ...
    @property
    def targets(self) -> Targets: ...
    @property
    def width(self) -> int: ...

class LinearFits:
    """
    Linear probes of C concepts under P settings.
    """
    def report(
        self,
        setting: typing.SupportsInt | typing.SupportsIndex,
        concept_index: typing.SupportsInt | typing.SupportsIndex,
    ) -> FitReport:
        """
        Return the report of one fit.
        """
    def scores(self, rows: torch.Tensor) -> torch.Tensor:
        """
        Return the scores [P, C, n] of rows [n, d].
        """
    @property
    def concepts(self) -> int: ...
    @property
    def intercepts(self) -> torch.Tensor: ...
    @property
    def reports(self) -> list[FitReport]: ...
    @property
    def settings(self) -> int: ...
    @property
    def weights(self) -> torch.Tensor: ...
    @property
    def width(self) -> int: ...

class LinearFitter:
    """
    Fits linear probes from sufficient statistics.
    """
    def fit(self, training: TrainingStatistics) -> LinearFits:
        """
        Fit all concepts under all settings.
        """
    @property
    def name(self) -> str: ...

class RidgeFitter(LinearFitter):
    """
    Ridge regression of labels.
    """
    def __init__(
        self, penalties: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...

class LdaFitter(LinearFitter):
    """
    Linear discriminant analysis.
    """
    def __init__(
        self, shrinkages: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...

class MeanDifferenceFitter(LinearFitter):
    """
    The direction between class means.
    """
    def __init__(self) -> None: ...

class CrossValidation:
    """
    Fits without each fold, and their scores.
    """
    @property
    def auroc(self) -> torch.Tensor: ...
    @property
    def fits(self) -> list[LinearFits]: ...
    @property
    def scores(self) -> torch.Tensor: ...

class LogisticFits:
    """
    Fits on all rows and without each fold.
    """
    @property
    def all(self) -> LinearFits: ...
    @property
    def without(self) -> list[LinearFits]: ...

class LogisticFitter:
    """
    Logistic regression of many concepts at once.
    """
    def __init__(
        self,
        penalties: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
        tolerance: typing.SupportsFloat | typing.SupportsIndex = 1e-07,
        max_iterations: typing.SupportsInt | typing.SupportsIndex = 100,
        precision: Precision = Precision.automatic,
        refit: bool = True,
    ) -> None: ...
    def fit(self, rows: torch.Tensor, labels: torch.Tensor) -> LinearFits:
        """
        Fit labels [n, C] on all rows [n, d].
        """
    def fit_folds(
        self,
        rows: torch.Tensor,
        labels: torch.Tensor,
        folds: torch.Tensor,
        fold_count: typing.SupportsInt | typing.SupportsIndex,
    ) -> LogisticFits:
        """
        Fit on all rows, and without each fold.
        """
    @property
    def penalties(self) -> list[float]: ...

class Direction:
    """
    A direction with separate read and write vectors, read' write = 1.
    """
    def __init__(
        self,
        site: str,
        read: torch.Tensor,
        write: torch.Tensor,
        mean: torch.Tensor,
        sd: typing.SupportsFloat | typing.SupportsIndex,
        low: typing.SupportsFloat | typing.SupportsIndex,
        high: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def ablate(self, rows: torch.Tensor) -> torch.Tensor:
        """
        Return rows moved to position 0.
        """
    def add(
        self, rows: torch.Tensor, dose: typing.SupportsFloat | typing.SupportsIndex
    ) -> torch.Tensor:
        """
        Return rows moved by dose standard deviations.
        """
    def position(self, rows: torch.Tensor) -> torch.Tensor:
        """
        Return read'(h - mean) [n].
        """
    def swap(self, rows: torch.Tensor, to_high: bool) -> torch.Tensor:
        """
        Return rows moved to the position of the other class.
        """
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def mean(self) -> torch.Tensor: ...
    @property
    def read(self) -> torch.Tensor: ...
    @property
    def sd(self) -> float: ...
    @property
    def site(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def write(self) -> torch.Tensor: ...

class Eraser:
    """
    An affine map after which no linear function reads a concept.
    """
    def __repr__(self) -> str: ...
    def apply(self, rows: torch.Tensor) -> torch.Tensor:
        """
        Return erased rows [n, d].
        """
    @property
    def left(self) -> torch.Tensor: ...
    @property
    def mean(self) -> torch.Tensor: ...
    @property
    def rank(self) -> int: ...
    @property
    def report(self) -> FitReport: ...
    @property
    def right(self) -> torch.Tensor: ...
    @property
    def width(self) -> int: ...

class OracleEraser:
    """
    Removes concepts that are given along with rows.
    """
    def apply(self, rows: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """
        Return erased rows [n, d], given their concepts z [n, k].
        """
    @property
    def mean(self) -> torch.Tensor: ...
    @property
    def report(self) -> FitReport: ...
    @property
    def slope(self) -> torch.Tensor: ...
    @property
    def width(self) -> int: ...

class LeaceFitter:
    """
    Fits least-squares concept erasure.
    """
    def __init__(self, precision: Precision = Precision.automatic) -> None: ...
    def finish(
        self,
        shrinkage: typing.SupportsFloat | typing.SupportsIndex = -1.0,
        tolerance: typing.SupportsFloat | typing.SupportsIndex = 1e-06,
        columns: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
    ) -> Eraser:
        """
        Return the eraser of some columns of z (all); shrinkage below 0 is estimated.
        """
    def finish_oracle(
        self,
        tolerance: typing.SupportsFloat | typing.SupportsIndex = 1e-06,
        columns: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
    ) -> OracleEraser:
        """
        Return the eraser that is given z along with x.
        """
    def merge(self, other: LeaceFitter) -> None:
        """
        Add all that other has seen.
        """
    def update(self, x: torch.Tensor, z: torch.Tensor) -> None:
        """
        Add rows x [n, d] and concepts z [n, k].
        """
    @property
    def rows(self) -> int: ...

class ErasureCheck:
    """
    What fresh probes still read after erasure.
    """
    @property
    def after(self) -> Interval: ...
    @property
    def before(self) -> Interval: ...
    @property
    def passed(self) -> bool: ...
    @property
    def penalty(self) -> float: ...
    @property
    def positive_units(self) -> int: ...
    @property
    def positives(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def upper(self) -> float: ...

class PhaseScope:
    """
    Say in which phase and step the model is.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(
        self,
        phase: str,
        step: typing.SupportsInt | typing.SupportsIndex = -1,
        position_offset: typing.SupportsInt | typing.SupportsIndex | None = None,
    ) -> None: ...

class BranchScope:
    """
    Name a parallel pass of the same phase.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(self, branch: str) -> None: ...

class Suspend:
    """
    Hide every session from this thread's hook points.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(self) -> None: ...

class CallbackPart:
    """
    Which part of an activation a callback was given.
    """
    @property
    def rows(self) -> list[int]:
        """
        Row of the batch of each entry of the part's first axis.
        """
    @property
    def tokens_first(self) -> bool:
        """
        Spans lie differently in the rows: tokens come before the other axes.
        """

class Activation:
    """
    One captured tensor and where it came from.
    """
    def __repr__(self) -> str: ...
    @property
    def event(self) -> Event: ...
    @property
    def gradient(self) -> bool: ...
    @property
    def layout(self) -> str: ...
    @property
    def reduce(self) -> str: ...
    @property
    def selection(self) -> str: ...
    @property
    def site_shape(self) -> list[int]: ...
    @property
    def tensor(self) -> torch.Tensor: ...
    @property
    def when(self) -> str: ...

class ActivationCache:
    """
    Captured activations, by site and event.
    """
    def __contains__(self, arg0: str) -> bool: ...
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def _at(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> torch.Tensor: ...
    def _concat_tokens(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> torch.Tensor: ...
    def _find(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> list[Activation]: ...
    def clear(self) -> None: ...
    def entries(self) -> list[Activation]: ...
    def sites(self) -> list[str]: ...
    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ActivationCache:
        """
        Return a cache on device and in dtype.
        """

class Intervention:
    """
    An edit as data: replace, affine or gather_rows.
    """
    @staticmethod
    def ablate(read: torch.Tensor, write: torch.Tensor, mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    def add(
        write: torch.Tensor, dose: typing.SupportsFloat | typing.SupportsIndex
    ) -> Intervention: ...
    @staticmethod
    def affine(
        write: torch.Tensor,
        read: torch.Tensor | None = None,
        target: torch.Tensor | None = None,
        mean: torch.Tensor | None = None,
        scale: typing.SupportsFloat | typing.SupportsIndex = 1.0,
    ) -> Intervention:
        """
        Return h + W (t - a R'(h - mu)).
        """
    @staticmethod
    def erase(read: torch.Tensor, write: torch.Tensor, mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    def from_json(json: str, tensor_dir: str | None = None) -> Intervention: ...
    @staticmethod
    def gather_rows(
        permutation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> Intervention: ...
    @staticmethod
    def mean_ablate(mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    @typing.overload
    def replace(source: torch.Tensor, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    @typing.overload
    def replace(donors: ActivationCache, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    @typing.overload
    def replace(donors: typing.Any, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def replace_broadcast(source: torch.Tensor, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def resample(
        permutation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> Intervention: ...
    @staticmethod
    @typing.overload
    def restore(clean: ActivationCache) -> Intervention: ...
    @staticmethod
    @typing.overload
    def restore(clean: typing.Any) -> Intervention: ...
    @staticmethod
    def swap(read: torch.Tensor, write: torch.Tensor, target: torch.Tensor) -> Intervention: ...
    @staticmethod
    def zero() -> Intervention: ...
    def to_json(self, tensor_dir: str | None = None) -> str: ...

class CaptureSink:
    """
    Receives what a session captures while the model runs.
    """

class SiteTable:
    """
    The sites that a model declares.
    """
    @typing.overload
    def __init__(
        self,
        sites: collections.abc.Sequence[
            tuple[
                Site,
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsInt | typing.SupportsIndex,
                str,
            ]
        ],
    ) -> None:
        """
        Declare (site, min, max, read_only_reason) firings a run; max < 0: at least once.
        """
    @typing.overload
    def __init__(
        self,
        sites: collections.abc.Sequence[
            tuple[
                Site,
                collections.abc.Mapping[
                    str,
                    tuple[
                        typing.SupportsInt | typing.SupportsIndex,
                        typing.SupportsInt | typing.SupportsIndex,
                    ],
                ],
            ]
        ],
    ) -> None:
        """
        Declare (site, {phase: (min, max)}) firings a run.
        """
    def match(self, pattern: str) -> list[str]: ...
    def names(self) -> list[str]: ...

class Session:
    """
    Captures and edits while it is open.
    """
    @typing.overload
    def __init__(self) -> None: ...
    @typing.overload
    def __init__(self, table: SiteTable) -> None: ...
    def _abort(self) -> None: ...
    def _cache(self) -> ActivationCache: ...
    def _callback(
        self,
        arg0: str,
        arg1: collections.abc.Callable[..., typing.Any],
        arg2: str,
        arg3: bool,
        arg4: bool,
        arg5: bool,
    ) -> None: ...
    def _capture(
        self,
        arg0: str,
        arg1: str,
        arg2: str,
        arg3: str,
        arg4: torch.dtype | None,
        arg5: torch.device | None,
        arg6: bool,
        arg7: bool,
        arg8: bool,
        arg9: CaptureSink | None,
    ) -> None: ...
    def _close(self) -> None: ...
    def _configure(self, json: str, tensor_dir: str | None = None) -> None: ...
    def _drop_edits(self, count: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def _edit_count(self) -> int: ...
    def _intervene(self, arg0: str, arg1: Intervention, arg2: str, arg3: bool) -> None: ...
    def _open(self) -> None: ...
    def _recomputations(self) -> int: ...
    def _see_only_model(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def _set_spans(
        self,
        arg0: collections.abc.Sequence[
            collections.abc.Sequence[
                tuple[
                    str,
                    typing.SupportsInt | typing.SupportsIndex,
                    typing.SupportsInt | typing.SupportsIndex,
                ]
            ]
        ],
    ) -> None: ...
    def fired(self) -> list[Event]:
        """
        Return an Event for each address that fired; its call is the number of firings.
        """
    def moments(self, site: str) -> Moments:
        """
        Return the Moments kept at a site by reduce='moments' or 'covariance'.
        """
    def sites_seen(self) -> list[str]: ...
    def to_json(self, tensor_dir: str | None = None) -> str: ...
    @property
    def failed(self) -> bool: ...
    @property
    def is_open(self) -> bool: ...

class ProcessSession(Session):
    """
    A session that every thread sees.
    """
    @typing.overload
    def __init__(self) -> None: ...
    @typing.overload
    def __init__(self, table: SiteTable) -> None: ...

class ModuleHook:
    """
    What instrument() registers on a module.
    """
    def __init__(
        self,
        site: Site,
        model: typing.SupportsInt | typing.SupportsIndex = 0,
        index: typing.SupportsInt | typing.SupportsIndex | None = None,
        key: str | None = None,
        columns: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ]
        | None = None,
        heads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    @property
    def on_input(
        self,
    ) -> collections.abc.Callable[[typing.Any, typing.Any, typing.Any], typing.Any]:
        """
        A forward pre-hook: (module, args, kwargs) -> None or (args, kwargs).
        """
    @property
    def on_output(
        self,
    ) -> collections.abc.Callable[[typing.Any, typing.Any, typing.Any], typing.Any]:
        """
        A forward hook: (module, args, output) -> None or the output to go on with.
        """

class SiteColumn:
    """
    One site of a stream: [rows, width].
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(
        self, site: str, width: typing.SupportsInt | typing.SupportsIndex, dtype: torch.dtype
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def site(self) -> str: ...
    @property
    def width(self) -> int: ...

class StreamSpec:
    """
    The sites that share one row table.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(self, name: str, sites: collections.abc.Sequence[SiteColumn]) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def sites(self) -> list[SiteColumn]: ...

class PlanEntry:
    """
    What one site will cost; no site: the row table.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def site(self) -> str: ...
    @property
    def stream(self) -> str: ...

class StorePlan:
    """
    What a capture will cost.
    """
    def __str__(self) -> str: ...
    def check(self) -> None:
        """
        Raise, with advice, if it does not fit.
        """
    @property
    def entries(self) -> list[PlanEntry]: ...
    @property
    def fits(self) -> bool: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def memory_limit_bytes(self) -> int: ...
    @property
    def needed_memory_bytes(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...

class WriterStats:
    """
    What a writer did.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def ring_bytes(self) -> int: ...
    @property
    def ring_peak_bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def rows_committed(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def waits(self) -> int: ...

class ActivationWriter:
    """
    Appends activations to a store.
    """
    @staticmethod
    def _open(
        arg0: str,
        arg1: collections.abc.Sequence[StreamSpec],
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex,
        arg4: bool,
        arg5: bool,
        arg6: collections.abc.Mapping[str, str],
        arg7: str,
        arg8: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
        arg9: bool,
    ) -> ActivationWriter: ...
    def _add_site(self, arg0: str, arg1: SiteColumn) -> None: ...
    def _append(
        self,
        arg0: str,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: collections.abc.Mapping[str, torch.Tensor],
        arg3: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
        arg4: collections.abc.Sequence[torch.Tensor],
    ) -> None: ...
    def _append_rows(
        self,
        arg0: str,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: collections.abc.Mapping[str, torch.Tensor],
        arg3: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def _append_site(self, arg0: str, arg1: str, arg2: torch.Tensor) -> None: ...
    def branch(self, name: str) -> int:
        """
        Return the number of a branch's name, for the column 'branch'.
        """
    def close(self) -> None:
        """
        Commit everything, build the index and let go of the lock.
        """
    def flush(self) -> None:
        """
        Close the open shard and wait until everything is committed.
        """
    def stats(self) -> WriterStats:
        """
        Return what was written so far.
        """
    @property
    def is_open(self) -> bool: ...
    @property
    def path(self) -> str: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class Batches:
    """
    Walks through rows of a stream in batches.
    """
    def __len__(self) -> int: ...
    def next(self) -> tuple[torch.Tensor, list[torch.Tensor]] | None: ...

class ActivationReader:
    """
    Reads a store.
    """
    @staticmethod
    def _open(arg0: str, arg1: bool) -> ActivationReader: ...
    def _batches(
        self,
        arg0: str,
        arg1: collections.abc.Sequence[str],
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex | None,
        arg4: typing.SupportsInt | typing.SupportsIndex,
        arg5: typing.SupportsInt | typing.SupportsIndex,
        arg6: typing.SupportsInt | typing.SupportsIndex,
        arg7: bool,
        arg8: torch.Tensor | None,
    ) -> Batches: ...
    def _column(self, arg0: str, arg1: str) -> torch.Tensor: ...
    def _gather(self, arg0: str, arg1: str, arg2: torch.Tensor) -> torch.Tensor: ...
    def _read(
        self,
        arg0: str,
        arg1: str,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> torch.Tensor: ...
    def _row_labels(self, arg0: str, arg1: str) -> torch.Tensor: ...
    def _select(
        self,
        arg0: str,
        arg1: collections.abc.Sequence[str] | None,
        arg2: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg3: collections.abc.Sequence[str] | None,
        arg4: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg5: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg6: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg7: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg8: torch.Tensor | None,
        arg9: str,
        arg10: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> torch.Tensor: ...
    def refresh(self) -> int:
        """
        Look for shards that were committed since; return how many there are.
        """
    def row_count(self, stream: str) -> int: ...
    @property
    def _configuration(self) -> str: ...
    @property
    def branches(self) -> list[str]: ...
    @property
    def path(self) -> str: ...
    @property
    def provenance(self) -> dict[str, str]: ...
    @property
    def shard_count(self) -> int: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class StoreSink(CaptureSink):
    """
    Writes what a session captures into a store.
    """
    def __init__(
        self,
        writer: ActivationWriter,
        rules: collections.abc.Sequence[tuple[str, str | None, str]] = [],
    ) -> None: ...
    def _begin_batch(
        self,
        arg0: torch.Tensor,
        arg1: torch.Tensor | None,
        arg2: torch.Tensor | None,
        arg3: torch.Tensor | None,
        arg4: torch.Tensor | None,
    ) -> None: ...
    def finish(self) -> None:
        """
        Check that every site has every row.
        """

class FoldMoments:
    """
    Moments of sites by fold, with labels.
    """
    def cross(self, site: str, fold: typing.SupportsInt | typing.SupportsIndex) -> CrossMoments: ...
    def cross_without(
        self, site: str, fold: typing.SupportsInt | typing.SupportsIndex
    ) -> CrossMoments:
        """
        Return what all folds but one saw; -1: all folds.
        """
    def merge(self, other: FoldMoments) -> None: ...
    def moments(self, site: str, fold: typing.SupportsInt | typing.SupportsIndex) -> Moments: ...
    def moments_without(
        self, site: str, fold: typing.SupportsInt | typing.SupportsIndex
    ) -> Moments:
        """
        Return what all folds but one saw; -1: all folds.
        """
    def sites(self) -> list[str]: ...

class MomentsSink(CaptureSink):
    """
    Accumulates moments by fold of what a session captures.
    """
    def __init__(
        self,
        folds: typing.SupportsInt | typing.SupportsIndex = 5,
        covariance: bool = True,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def _begin_batch(
        self,
        arg0: torch.Tensor,
        arg1: torch.Tensor | None,
        arg2: torch.Tensor | None,
        arg3: torch.Tensor | None,
    ) -> None: ...
    def result(self) -> FoldMoments: ...

class Labels:
    """
    One version of a concept's labels; 255 is missing.
    """
    def at(self, sample: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        Return the label of a sample.
        """
    @property
    def note(self) -> str: ...
    @property
    def samples(self) -> list[int]: ...
    @property
    def values(self) -> list[int]: ...
    @property
    def version(self) -> int: ...

class StoreStat:
    """
    What a store's manifest says.
    """
    @property
    def being_written(self) -> bool: ...
    @property
    def bytes(self) -> int: ...
    @property
    def concepts(self) -> list[str]: ...
    @property
    def format(self) -> str: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def provenance(self) -> dict[str, str]: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def shards(self) -> int: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class VerifyReport:
    """
    What verifying a store saw.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def complete(self) -> bool: ...
    @property
    def errors(self) -> list[tuple[str, str]]: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def notes(self) -> list[tuple[str, str]]: ...
    @property
    def ok(self) -> bool: ...
    @property
    def rows(self) -> int: ...
    @property
    def shards(self) -> int: ...

class RecoverReport:
    """
    What recovering a store did.
    """
    @property
    def actions(self) -> list[tuple[str, str]]: ...
    @property
    def manifest_rebuilt(self) -> bool: ...
    @property
    def rows_kept(self) -> dict[str, int]: ...
    @property
    def rows_lost(self) -> dict[str, int]: ...
    @property
    def shards_kept(self) -> int: ...

class MergeReport:
    """
    What merging stores did.
    """
    @property
    def linked(self) -> int: ...
    @property
    def referenced(self) -> int: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def shards(self) -> int: ...

class NuisanceKind:
    """
    Members:

      numeric

      binned

      categorical
    """

    __members__: typing.ClassVar[dict[str, NuisanceKind]]
    binned: typing.ClassVar[NuisanceKind]
    categorical: typing.ClassVar[NuisanceKind]
    numeric: typing.ClassVar[NuisanceKind]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Nuisance:
    """
    What goes together with concepts without being one.
    """
    @property
    def cell_count(self) -> int: ...
    @property
    def kind(self) -> NuisanceKind: ...
    @property
    def name(self) -> str: ...
    @property
    def values(self) -> numpy.typing.NDArray[numpy.float64]: ...

class Splits:
    """
    The assignment of rows to A, B and C.
    """
    def __repr__(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def of_row(self) -> numpy.typing.NDArray[numpy.uint8]:
        """
        0, 1, 2 for A, B, C [n].
        """
    @property
    def units(self) -> tuple[int, int, int]: ...

class ProbeDataset:
    """
    Activations by site with labels and groups.
    """
    @staticmethod
    def _from_store(
        reader: typing.Any,
        stream: str,
        sites: collections.abc.Sequence[str],
        concepts: collections.abc.Sequence[str],
        rows: torch.Tensor | None,
    ) -> ProbeDataset: ...
    def __init__(self, groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None: ...
    def add_concept(
        self, name: str, labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]
    ) -> None:
        """
        Add labels [n] 0, 1 or 255.
        """
    def add_level(
        self, name: str, ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]
    ) -> None:
        """
        Add a level above those there.
        """
    def add_nuisance(
        self,
        name: str,
        values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        kind: NuisanceKind,
        bins: typing.SupportsInt | typing.SupportsIndex = 4,
    ) -> None:
        """
        Add a nuisance [n].
        """
    def add_site(self, name: str, rows: torch.Tensor) -> None:
        """
        Add activations [n, d]; they are not copied.
        """
    def add_target(
        self, name: str, values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]
    ) -> None:
        """
        Add a real target [n]; NaN is unknown.
        """
    def check_split(self, of_row: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]) -> None:
        """
        Refuse a split (0, 1, 2 a row) that parts a group or twins.
        """
    def companions(self, concept_name: str, with_concepts: bool = True) -> list[str]:
        """
        Return the names of what may go with a concept.
        """
    def design(self, names: collections.abc.Sequence[str]) -> torch.Tensor:
        """
        Return the columns [n, q] of nuisances and concepts.
        """
    def folds(
        self,
        folds: typing.SupportsInt | typing.SupportsIndex = 5,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        level: str = "group",
    ) -> numpy.typing.NDArray[numpy.int64]:
        """
        Return the fold [n] of each row.
        """
    def labels(self, concept_name: str) -> numpy.typing.NDArray[numpy.uint8]:
        """
        Return the labels [n]; 255 is unknown.
        """
    def level(self, least: typing.SupportsInt | typing.SupportsIndex = 40) -> str:
        """
        Return the highest level with so many units.
        """
    def set_strata(self, strata: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
        """
        Let permuted labels move only within strata.
        """
    def set_twins(self, twins: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
        """
        Join rows of one twin number; -1 has none.
        """
    def set_types(self, types: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
        """
        Set the type that control labels are keyed on.
        """
    def site(self, name: str) -> torch.Tensor:
        """
        Return the rows [n, d] of a site.
        """
    def split(
        self,
        a: typing.SupportsFloat | typing.SupportsIndex = 0.5,
        b: typing.SupportsFloat | typing.SupportsIndex = 0.2,
        c: typing.SupportsFloat | typing.SupportsIndex = 0.3,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        least_units: typing.SupportsInt | typing.SupportsIndex = 40,
        least_test_units: typing.SupportsInt | typing.SupportsIndex = 12,
    ) -> Splits:
        """
        Split units at random into A, B and C.
        """
    def subset(self, rows: torch.Tensor) -> ProbeDataset:
        """
        Return the dataset of some rows.
        """
    def target(self, name: str) -> numpy.typing.NDArray[numpy.float64]:
        """
        Return the values [n] of a target; NaN is unknown.
        """
    def types(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Return the type [n] of each row; empty where there is none.
        """
    def units(self, level: str = "group") -> numpy.typing.NDArray[numpy.int64]:
        """
        Return the unit [n] of each row.
        """
    @property
    def concepts(self) -> list[str]: ...
    @property
    def groups(self) -> numpy.typing.NDArray[numpy.int64]: ...
    @property
    def levels(self) -> list[str]: ...
    @property
    def nuisances(self) -> list[Nuisance]: ...
    @property
    def rows(self) -> int: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def targets(self) -> list[str]: ...

class EvaluationRow:
    """
    What was found of one concept at one site.
    """
    def __repr__(self) -> str: ...
    @property
    def above_best(self) -> Interval: ...
    @property
    def above_control(self) -> Interval: ...
    @property
    def above_group_control(self) -> Interval: ...
    @property
    def above_nuisance(self) -> Interval: ...
    @property
    def auprc(self) -> Interval: ...
    @property
    def auroc(self) -> Interval: ...
    @property
    def balanced_accuracy(self) -> float: ...
    @property
    def brier(self) -> float: ...
    @property
    def concept_name(self) -> str: ...
    @property
    def condition(self) -> float: ...
    @property
    def control_auroc(self) -> float: ...
    @property
    def control_recurrence(self) -> float: ...
    @property
    def ece(self) -> float: ...
    @property
    def encoded(self) -> bool: ...
    @property
    def equivalence_p(self) -> float: ...
    @property
    def group_control_auroc(self) -> float: ...
    @property
    def learned(self) -> Interval: ...
    @property
    def log_loss(self) -> float: ...
    @property
    def memorisation_auroc(self) -> float: ...
    @property
    def note(self) -> str: ...
    @property
    def nuisance_auroc(self) -> float: ...
    @property
    def p(self) -> float: ...
    @property
    def p_max_t(self) -> float: ...
    @property
    def p_method(self) -> str: ...
    @property
    def positive_units(self) -> int: ...
    @property
    def positives(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def setting(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def units(self) -> int: ...
    @property
    def upper(self) -> float: ...

class ConceptSummary:
    """
    What all sites say of one concept.
    """
    @property
    def best_auroc(self) -> float: ...
    @property
    def best_site(self) -> str: ...
    @property
    def concept_name(self) -> str: ...
    @property
    def encoded_sites(self) -> int: ...
    @property
    def not_encoded(self) -> bool: ...
    @property
    def p_max_t(self) -> float: ...
    @property
    def q(self) -> float: ...
    @property
    def upper(self) -> float: ...

class Conclusion:
    """
    Whether a concept is encoded, in words.
    """
    def __repr__(self) -> str: ...
    @property
    def concept_name(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def sentence(self) -> str: ...

class Evaluation:
    """
    A table of sites and concepts.
    """
    def __repr__(self) -> str: ...
    def at(self, site: str, concept_name: str) -> EvaluationRow:
        """
        Return one cell.
        """
    @property
    def alpha(self) -> float: ...
    @property
    def complete(self) -> bool: ...
    @property
    def concepts(self) -> list[str]: ...
    @property
    def level(self) -> str: ...
    @property
    def margin(self) -> float: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def probe(self) -> str: ...
    @property
    def rows(self) -> list[EvaluationRow]: ...
    @property
    def scores(self) -> torch.Tensor | None: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def summary(self) -> list[ConceptSummary]: ...
    @property
    def units(self) -> int: ...

class StandardisedFitter(LinearFitter):
    """
    Fits on columns of variance 1.
    """
    def __init__(self, inner: typing.Any) -> None: ...

class WritePattern:
    """
    Members:

      mean_difference

      covariance
    """

    __members__: typing.ClassVar[dict[str, WritePattern]]
    covariance: typing.ClassVar[WritePattern]
    mean_difference: typing.ClassVar[WritePattern]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class ResidualFit:
    """
    The direction of one fit.
    """
    @property
    def direction(self) -> Direction: ...
    @property
    def effect(self) -> torch.Tensor: ...
    @property
    def report(self) -> FitReport: ...
    @property
    def vif(self) -> float: ...

class ResidualFits:
    """
    A residualised direction and its refits.
    """
    @property
    def folds(self) -> numpy.typing.NDArray[numpy.int64]: ...
    @property
    def full(self) -> ResidualFit: ...
    @property
    def held_out(self) -> list[ResidualFit]: ...
    @property
    def note(self) -> str: ...
    @property
    def positions(self) -> torch.Tensor: ...

class SamplePlan:
    """
    How many independent units a direction needs.
    """
    def __str__(self) -> str: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def expected_erased_auroc(self) -> float: ...
    @property
    def most_columns(self) -> int: ...
    @property
    def needed_units(self) -> int: ...
    @property
    def sentences(self) -> list[str]: ...

class EvaluationOptions:
    """
    How to evaluate.
    """

    concepts_as_nuisances: bool
    interval: RankingMethod
    keep_scores: bool
    memorisation: bool
    def __init__(self) -> None: ...
    @property
    def alpha(self) -> float: ...
    @alpha.setter
    def alpha(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def confidence(self) -> float: ...
    @confidence.setter
    def confidence(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def control_draws(self) -> int: ...
    @control_draws.setter
    def control_draws(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def folds(self) -> int: ...
    @folds.setter
    def folds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def least_units(self) -> int: ...
    @least_units.setter
    def least_units(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def margin(self) -> float: ...
    @margin.setter
    def margin(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def permutations(self) -> int: ...
    @permutations.setter
    def permutations(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def replicates(self) -> int: ...
    @replicates.setter
    def replicates(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def threads(self) -> int: ...
    @threads.setter
    def threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class RowFitter:
    """
    Fits a probe that needs the rows themselves.
    """
    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> int: ...

class _PythonFitter(RowFitter):
    """
    A probe that Python fits.
    """
    def __init__(
        self, name: str, settings: typing.SupportsInt | typing.SupportsIndex, fit: typing.Any
    ) -> None: ...

class MlpOptions:
    """
    How to fit the multi-layer probe.
    """
    def __init__(self) -> None: ...
    @property
    def batch(self) -> int: ...
    @batch.setter
    def batch(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def epochs(self) -> int: ...
    @epochs.setter
    def epochs(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def held_out(self) -> float: ...
    @held_out.setter
    def held_out(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def hidden(self) -> int: ...
    @hidden.setter
    def hidden(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def learning_rate(self) -> float: ...
    @learning_rate.setter
    def learning_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def patience(self) -> int: ...
    @patience.setter
    def patience(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def weight_decays(self) -> list[float]: ...
    @weight_decays.setter
    def weight_decays(
        self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...

class MlpModel:
    """
    A fitted multi-layer probe.
    """
    def __init__(self, state: collections.abc.Mapping[str, torch.Tensor]) -> None: ...
    def scores(self, rows: torch.Tensor) -> torch.Tensor:
        """
        Return the log odds [m] of rows [m, d].
        """
    def state(self) -> dict[str, torch.Tensor]:
        """
        Return the weights by name.
        """
    @property
    def epochs(self) -> int: ...

class MlpFitter(RowFitter):
    """
    A probe with one hidden layer.
    """
    def __init__(self, options: MlpOptions = ...) -> None: ...
    def fit_model(
        self,
        rows: torch.Tensor,
        labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        setting: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> MlpModel:
        """
        Fit on rows [n, d] with labels [n] and groups [n].
        """

class CotVocabulary:
    """
    What a chain of thought can speak of: id -> phrases.
    """
    def __init__(
        self,
        concepts: dict[str, typing.Any],
        decisions: dict[str, typing.Any] = {},
        sides: dict[str, typing.Any] = {},
        distances: dict[str, typing.Any] = {},
    ) -> None: ...
    @property
    def concepts(self) -> dict[str, typing.Any]: ...
    @property
    def decisions(self) -> dict[str, typing.Any]: ...
    @property
    def distances(self) -> dict[str, typing.Any]: ...
    @property
    def sides(self) -> dict[str, typing.Any]: ...

class CotMention:
    """
    One reason of a chain of thought.
    """
    def __init__(
        self,
        concept_id: str,
        negated: bool = False,
        side: str = "",
        distance: str = "",
        begin: typing.SupportsInt | typing.SupportsIndex = 0,
        end: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def begin(self) -> int: ...
    @property
    def concept_id(self) -> str: ...
    @property
    def distance(self) -> str: ...
    @property
    def end(self) -> int: ...
    @property
    def negated(self) -> bool: ...
    @property
    def side(self) -> str: ...

class ParsedCot:
    """
    What a parser read: reasons and decision.
    """
    def __init__(
        self,
        mentions: collections.abc.Sequence[CotMention] = [],
        decision: str | None = None,
        decision_begin: typing.SupportsInt | typing.SupportsIndex = 0,
        decision_end: typing.SupportsInt | typing.SupportsIndex = 0,
        problem: str = "",
    ) -> None: ...
    def states(self, concept_id: str) -> bool:
        """
        Tell whether the concept is said to be present.
        """
    @property
    def decision(self) -> str | None: ...
    @property
    def decision_begin(self) -> int: ...
    @property
    def decision_end(self) -> int: ...
    @property
    def mentions(self) -> list[CotMention]: ...
    @property
    def problem(self) -> str: ...
    @property
    def understood(self) -> bool: ...

class CotParser:
    """
    Reads reasons and decision out of chains of thought; subclass it.
    """
    def __init__(self) -> None: ...
    def parse(self, texts: collections.abc.Sequence[str]) -> list[ParsedCot]: ...

class GrammarParser(CotParser):
    """
    Reads sentences that follow a grammar, and refuses all others.
    """
    def __init__(self, vocabulary: CotVocabulary) -> None: ...

class LexiconParser(CotParser):
    """
    Looks phrases up anywhere in a text, with negation.
    """
    def __init__(self, vocabulary: CotVocabulary) -> None: ...

class ConceptAgreement:
    """
    How two parsers judge one concept.
    """
    @property
    def both(self) -> int: ...
    @property
    def concept_id(self) -> str: ...
    @property
    def first_only(self) -> int: ...
    @property
    def neither(self) -> int: ...
    @property
    def second_only(self) -> int: ...

class ParserAgreement:
    """
    How far two parsers agree.
    """
    def concept_share(self) -> float: ...
    def decision_share(self) -> float: ...
    @property
    def concepts(self) -> list[ConceptAgreement]: ...
    @property
    def differing(self) -> list[int]: ...
    @property
    def same_decision(self) -> int: ...
    @property
    def texts(self) -> int: ...
    @property
    def understood_by_both(self) -> int: ...
    @property
    def understood_by_first(self) -> int: ...
    @property
    def understood_by_second(self) -> int: ...

class Batch:
    """
    The inputs of several scenes, by name, and the scenes' ids.
    """
    def __getitem__(self, name: str) -> torch.Tensor: ...
    def __init__(
        self,
        tensors: collections.abc.Mapping[str, torch.Tensor],
        ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def __repr__(self) -> str: ...
    def at(self, name: str) -> torch.Tensor:
        """
        Return the tensor called name.
        """
    def select(
        self, index: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> Batch:
        """
        Return the rows at index.
        """
    @property
    def ids(self) -> tuple[typing.Any, ...]:
        """
        Read-only; assign a new list.
        """
    @ids.setter
    def ids(
        self, arg1: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def tensors(self) -> typing.Any:
        """
        By name, read-only; assign a new dict.
        """
    @tensors.setter
    def tensors(self, arg1: collections.abc.Mapping[str, torch.Tensor]) -> None: ...

class BatchField:
    """
    One tensor that a model reads.
    """
    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
        description: str = "",
    ) -> None: ...
    @property
    def description(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> list[int]:
        """
        Sizes after the row axis; -1 is free.
        """

class BatchSpec:
    """
    The batches that a model takes.
    """
    def __init__(self, fields: collections.abc.Sequence[BatchField]) -> None: ...
    def check(self, batch: Batch) -> None:
        """
        Raise unless the batch fits.
        """
    @property
    def fields(self) -> list[BatchField]: ...

class Knockout:
    """
    Hide the keys and values of one span from another's queries.
    """
    def __init__(
        self,
        columns: str,
        readers: str = "action",
        layers: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
        heads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
    ) -> None: ...
    @property
    def columns(self) -> str: ...
    @property
    def heads(self) -> list[int]: ...
    @property
    def layers(self) -> list[int]: ...
    @property
    def readers(self) -> str: ...

class RolloutOptions:
    """
    How a rollout is to be done.
    """

    cot_tokens: torch.Tensor | None
    differentiable: bool
    framing: str
    noise: torch.Tensor | None
    pin_action_positions: bool
    def __init__(
        self,
        *,
        num_samples: typing.SupportsInt | typing.SupportsIndex = 1,
        cot_tokens: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        temperature: typing.SupportsFloat | typing.SupportsIndex = 1.0,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        framing: str = "",
        knockouts: collections.abc.Sequence[Knockout] = [],
        cot_length: typing.SupportsInt | typing.SupportsIndex | None = None,
        pin_action_positions: bool = False,
        differentiable: bool = False,
    ) -> None: ...
    def check(self, scenes: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Raise unless the options agree with each other and with so many scenes.
        """
    @property
    def cot_length(self) -> int | None: ...
    @cot_length.setter
    def cot_length(self, arg0: typing.SupportsInt | typing.SupportsIndex | None) -> None: ...
    @property
    def knockouts(self) -> tuple[typing.Any, ...]:
        """
        Read-only; assign a new list.
        """
    @knockouts.setter
    def knockouts(self, arg1: collections.abc.Sequence[Knockout]) -> None: ...
    @property
    def num_samples(self) -> int: ...
    @num_samples.setter
    def num_samples(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def temperature(self) -> float: ...
    @temperature.setter
    def temperature(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...

class Span:
    """
    A named half-open range of absolute token positions.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(
        self,
        name: str,
        begin: typing.SupportsInt | typing.SupportsIndex,
        end: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def name(self) -> str: ...

class Rollout:
    """
    What a model said and would do; row b * num_samples + j.
    """
    def __init__(
        self,
        *,
        actions: torch.Tensor,
        initial_speed: torch.Tensor,
        dt_s: typing.SupportsFloat | typing.SupportsIndex,
        num_samples: typing.SupportsInt | typing.SupportsIndex = 1,
        trajectory: torch.Tensor | None = None,
        cot_tokens: torch.Tensor | None = None,
        cot_lengths: torch.Tensor | None = None,
        cot_text: collections.abc.Sequence[str] = [],
        spans: collections.abc.Sequence[collections.abc.Sequence[Span]] = [],
    ) -> None:
        """
        The trajectory is the unicycle's where none is given.
        """
    def __repr__(self) -> str: ...
    def check(self) -> None:
        """
        Raise unless shapes agree and numbers are finite.
        """
    @property
    def actions(self) -> torch.Tensor: ...
    @property
    def cot_lengths(self) -> torch.Tensor: ...
    @property
    def cot_text(self) -> list[str]: ...
    @property
    def cot_tokens(self) -> torch.Tensor: ...
    @property
    def dt_s(self) -> float: ...
    @property
    def horizon_s(self) -> float: ...
    @property
    def initial_speed(self) -> torch.Tensor: ...
    @property
    def num_samples(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def sample_index(self) -> torch.Tensor: ...
    @property
    def spans(self) -> list[list[Span]]: ...
    @property
    def trajectory(self) -> torch.Tensor: ...
    @property
    def waypoints(self) -> int: ...

class Agent:
    """
    Another road user at the moment of the picture, ego frame.
    """
    def __init__(
        self,
        kind: str = "",
        x_m: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        y_m: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        vx_m_s: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        vy_m_s: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        radius_m: typing.SupportsFloat | typing.SupportsIndex = 0.5,
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def radius_m(self) -> float: ...
    @property
    def vx_m_s(self) -> float: ...
    @property
    def vy_m_s(self) -> float: ...
    @property
    def x_m(self) -> float: ...
    @property
    def y_m(self) -> float: ...

class Lane:
    """
    The ego lane: centre line [points, 2] in m, ego frame, and width.
    """
    def __init__(
        self, centre: torch.Tensor, width_m: typing.SupportsFloat | typing.SupportsIndex = 3.5
    ) -> None: ...
    @property
    def centre(self) -> torch.Tensor: ...
    @property
    def width_m(self) -> float: ...

class SceneNuisance:
    """
    What a probe might read instead of the concept.
    """
    def __init__(
        self,
        name: str,
        values: torch.Tensor,
        categorical: bool = False,
        categories: collections.abc.Sequence[str] = [],
    ) -> None: ...
    @property
    def categorical(self) -> bool: ...
    @property
    def categories(self) -> list[str]: ...
    @property
    def name(self) -> str: ...
    @property
    def values(self) -> torch.Tensor: ...

class Stratification:
    """
    A division of the scenes by which results are told apart.
    """
    def __init__(
        self, name: str, names: collections.abc.Sequence[str], of_scene: torch.Tensor
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def of_scene(self) -> torch.Tensor: ...

class ConceptClaim:
    """
    What is claimed of a concept: what counts as present, and what it does to control.
    """
    def __init__(
        self,
        id: str,
        definition: str = "",
        functional: str = "mean_acceleration",
        sign: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    @property
    def definition(self) -> str: ...
    @property
    def functional(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def sign(self) -> int:
        """
        -1: it is claimed to lower the functional, +1: to raise it, 0: nothing.
        """

class ControlClaim:
    """
    A nuisance that surely moves a functional.
    """
    def __init__(self, nuisance: str, functional: str) -> None: ...
    @property
    def functional(self) -> str: ...
    @property
    def nuisance(self) -> str: ...

class SceneSource:
    """
    Gives the scenes that a model drives through; subclass it.
    """
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def agents(
        self,
        ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        twin_by: str = "",
    ) -> list[list[Agent]]: ...
    def batch(
        self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> Batch:
        """
        Return the inputs of the scenes ids.
        """
    def claims(self) -> list[ConceptClaim]:
        """
        Return what is claimed of each concept.
        """
    def concepts(self) -> list[str]: ...
    def control_claims(self) -> list[ControlClaim]:
        """
        Return what surely drives control, for positive controls.
        """
    def framings(self) -> list[str]: ...
    def group(
        self, level: str, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> list[int]: ...
    def group_levels(self) -> list[str]:
        """
        Return the levels, the highest first.
        """
    def image(
        self, id: typing.SupportsInt | typing.SupportsIndex, twin_by: str = ""
    ) -> torch.Tensor:
        """
        Return the picture, uint8 [3, height, width].
        """
    def labels(self, name: str) -> torch.Tensor:
        """
        Return uint8 [size]: 0, 1, 255 missing.
        """
    def lane(
        self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> list[Lane]: ...
    def nuisances(self) -> list[SceneNuisance]: ...
    def size(self) -> int: ...
    def strata(self) -> list[Stratification]: ...
    def twin(
        self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], name: str
    ) -> Batch | None:
        """
        Return the inputs with the concept toggled, or None where there are no twins.
        """
    def vocabulary(self) -> CotVocabulary:
        """
        Return the words by which chains of thought name concepts and decisions.
        """

class Coupling:
    """
    How a control head reads the language model.

    Members:

      kv_cache

      features

      same_stream

      none
    """

    __members__: typing.ClassVar[dict[str, Coupling]]
    features: typing.ClassVar[Coupling]
    kv_cache: typing.ClassVar[Coupling]
    none: typing.ClassVar[Coupling]
    same_stream: typing.ClassVar[Coupling]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class InputCut:
    """
    A complete cut through a model before it says anything: sites through which all goes that some inputs tell.
    """
    def __init__(
        self,
        name: str,
        sites: collections.abc.Sequence[str],
        spans: collections.abc.Sequence[str] = [],
        fields: collections.abc.Sequence[str] = [],
    ) -> None: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def name(self) -> str: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def spans(self) -> list[str]: ...

class ModelDescription:
    """
    What a model says of itself.
    """
    def __init__(
        self,
        *,
        name: str,
        waypoints: typing.SupportsInt | typing.SupportsIndex,
        dt_s: typing.SupportsFloat | typing.SupportsIndex,
        coupling: Coupling = ...,
        sites: SiteTable = ...,
        widths: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex] = {},
        head_inputs: collections.abc.Sequence[str] = [],
        null_sites: collections.abc.Sequence[str] = [],
        options: collections.abc.Sequence[str] = [],
        weights_sha256: str = "",
        dtype: str = "float32",
        input_cuts: collections.abc.Sequence[InputCut] = [],
    ) -> None: ...
    @property
    def coupling(self) -> Coupling: ...
    @property
    def dt_s(self) -> float: ...
    @property
    def dtype(self) -> str: ...
    @property
    def head_inputs(self) -> list[str]: ...
    @property
    def input_cuts(self) -> list[InputCut]: ...
    @property
    def name(self) -> str: ...
    @property
    def null_sites(self) -> list[str]: ...
    @property
    def options(self) -> list[str]: ...
    @property
    def sites(self) -> SiteTable: ...
    @property
    def waypoints(self) -> int: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def widths(self) -> dict[str, int]: ...

class Model:
    """
    Turns a batch of scenes into what the model says and would do; subclass it.
    """
    def __init__(self) -> None: ...
    def batch_spec(self) -> BatchSpec: ...
    def describe(self) -> ModelDescription: ...
    def rollout(self, batch: Batch, options: RolloutOptions = ...) -> Rollout:
        """
        Return rows b * num_samples + j.
        """

class Thought:
    """
    What a model has read and said before it acts; subclass it, and keep in it what the control head reads.
    """
    def __init__(self) -> None: ...
    def bytes(self) -> int:
        """
        Return the memory that it holds.
        """

class StagedModel(Model):
    """
    Thinks, then acts: many actions can be had of one thought, so that an experiment on the control head and its
    inputs runs no layer of the language model again. A rollout is both, to the last bit. Neither opens a
    RunScope; `rollout` brackets both.
    """
    def __init__(self) -> None: ...
    def act(self, thought: Thought, knockouts: collections.abc.Sequence[Knockout] = []) -> Rollout:
        """
        Act on a thought, with its options; `knockouts` are more of what the control head reads.
        """
    def think(self, batch: Batch, options: RolloutOptions = ...) -> Thought:
        """
        Read the scenes and write the chain of thought.
        """

class BlockInput:
    """
    The residual stream of some positions, for a block.
    """
    def __init__(
        self,
        hidden: torch.Tensor,
        begin: typing.SupportsInt | typing.SupportsIndex = 0,
        past_key: torch.Tensor | None = None,
        past_value: torch.Tensor | None = None,
        outputs: typing.SupportsInt | typing.SupportsIndex = -1,
    ) -> None: ...
    @property
    def begin(self) -> int: ...
    @property
    def hidden(self) -> torch.Tensor: ...
    @property
    def outputs(self) -> int: ...
    @property
    def past_key(self) -> torch.Tensor: ...
    @property
    def past_value(self) -> torch.Tensor: ...

class BlockOutput:
    """
    What a block returns.
    """
    def __init__(self, hidden: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None: ...
    @property
    def hidden(self) -> torch.Tensor: ...
    @property
    def key(self) -> torch.Tensor: ...
    @property
    def value(self) -> torch.Tensor: ...

class BlockModel:
    """
    Runs a causal transformer block by block; subclass it.
    """
    def __init__(self) -> None: ...
    def block(
        self, index: typing.SupportsInt | typing.SupportsIndex, input: BlockInput
    ) -> BlockOutput: ...
    def blocks(self) -> int: ...
    def embed(self, batch: Batch) -> torch.Tensor: ...
    def finish(self, hidden: torch.Tensor) -> torch.Tensor: ...
    def finish_columns(
        self,
        hidden: torch.Tensor,
        columns: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> torch.Tensor:
        """
        Return the outputs `columns` alone; worth writing where there are many.
        """
    def positions(self, batch: Batch) -> int: ...

class UnicycleActions:
    """
    What unicycle_inverse returns.
    """
    @property
    def actions(self) -> torch.Tensor: ...
    @property
    def beside_m(self) -> torch.Tensor: ...
    @property
    def speed(self) -> torch.Tensor: ...

class ControlFunctional:
    """
    What an effect on control is measured in.
    """
    @staticmethod
    def names() -> list[str]: ...
    def __call__(
        self,
        rollout: Rollout,
        source: SceneSource,
        ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        twin_by: str = "",
    ) -> torch.Tensor: ...
    def __init__(self, name: str) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def positive_means(self) -> str: ...
    @property
    def sesoi(self) -> float | None: ...
    @property
    def unit(self) -> str: ...

class SceneConfig:
    """
    How scenes are drawn; keys as in its JSON.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    @staticmethod
    def from_json(json: str) -> SceneConfig: ...
    def __eq__(self, other: object) -> bool: ...
    def __init__(self, **kwargs: typing.Any) -> None: ...
    def __repr__(self) -> str: ...
    def to_dict(self) -> dict[str, typing.Any]: ...
    def to_json(self) -> str: ...

class Spec:
    """
    What a model of the zoo says and does, and in which world.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    @staticmethod
    def from_json(json: str) -> Spec: ...
    @staticmethod
    def named(name: str) -> Spec: ...
    @staticmethod
    def names() -> list[str]: ...
    def __eq__(self, other: object) -> bool: ...
    def __init__(self, fields: dict[str, typing.Any]) -> None: ...
    def __repr__(self) -> str: ...
    def to_dict(self) -> dict[str, typing.Any]: ...
    def to_json(self) -> str: ...
    @property
    def framing_sensitive(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> dict[str, str]: ...
    @property
    def scenes(self) -> SceneConfig: ...

class Scenes(SceneSource):
    """
    The scenes of a configuration.
    """
    def __init__(self, config: SceneConfig = ...) -> None: ...
    def set_threads(self, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Draw on so many threads; 0: as many as the machine has.
        """
    def weights(self) -> torch.Tensor:
        """
        Return what brings an enriched draw back, f64 [size].
        """
    @property
    def config(self) -> SceneConfig: ...

class DrivingModel(StagedModel):
    """
    A vision-language-action network whose truth is known.
    """
    @staticmethod
    def folder() -> str:
        """
        Return the folder of the models that ship.
        """
    @staticmethod
    def fresh(spec: Spec, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> DrivingModel:
        """
        Make a model with fresh weights, the same on every machine.
        """
    @staticmethod
    def load(path: str) -> DrivingModel:
        """
        Read a model that save wrote.
        """
    @staticmethod
    def named(name: str) -> DrivingModel:
        """
        Return one of the models that ship.
        """
    @staticmethod
    def names() -> list[str]:
        """
        Return the names of the models that ship.
        """
    def __repr__(self) -> str: ...
    def language_model(self) -> BlockModel:
        """
        Return the language model block by block.
        """
    def save(self, path: str) -> None:
        """
        Write weights, specification and log as one HDF5 file.
        """
    @property
    def denoise_steps(self) -> int: ...
    @property
    def parameter_count(self) -> int: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def training_log(self) -> list[typing.Any]:
        """
        Averages of the losses, one dict a stretch of training.
        """

class TrainOptions:
    """
    How a model is trained; keys as in its JSON.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(self, **kwargs: typing.Any) -> None: ...
    def __repr__(self) -> str: ...
    def to_json(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def flipped_rows(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def log_every(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def warm_up_steps(self) -> int: ...

class TrainLog:
    """
    Averages over the last steps before `step`.
    """
    @property
    def auxiliary(self) -> float: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def cross_entropy(self) -> float:
        """
        Of the next word, nats.
        """
    @property
    def flow(self) -> float:
        """
        Mean square error, in units of the actions' spread.
        """
    @property
    def step(self) -> int: ...

class Trainer:
    """
    Trains a model of the zoo on scenes drawn as needed.
    """
    @staticmethod
    def resume(path: str) -> Trainer:
        """
        Go on where save was called.
        """
    def __init__(
        self, spec: Spec, options: TrainOptions = ..., trunk: DrivingModel | None = None
    ) -> None: ...
    def log(self) -> list[TrainLog]: ...
    def model(self) -> DrivingModel:
        """
        Return the model with the averaged weights.
        """
    def run(
        self, steps: typing.SupportsInt | typing.SupportsIndex = -1, progress: typing.Any = None
    ) -> bool:
        """
        Make up to so many steps; False where progress(done, total, what) asked to stop.
        """
    def save(self, path: str) -> None:
        """
        Write a checkpoint, in one move.
        """
    @property
    def finished(self) -> bool: ...
    @property
    def options(self) -> TrainOptions: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def step(self) -> int: ...

class Truth:
    """
    A model beside its specification.
    """
    def __repr__(self) -> str: ...
    def to_dict(self) -> dict[str, typing.Any]:
        """
        Rows with their intervals, and the demands.
        """
    def to_json(self) -> str: ...
    @property
    def complete(self) -> bool:
        """
        False where it was asked to stop.
        """
    @property
    def error_median_m(self) -> float: ...
    @property
    def error_p95_m(self) -> float: ...
    @property
    def met(self) -> bool:
        """
        Whether every demand is met.
        """
    @property
    def model(self) -> str: ...
    @property
    def weights_sha256(self) -> str: ...

class TargetRow:
    """
    What was found of one real target at one site.
    """
    def __repr__(self) -> str: ...
    @property
    def above_best(self) -> Interval: ...
    @property
    def above_control(self) -> Interval: ...
    @property
    def above_group_control(self) -> Interval: ...
    @property
    def above_nuisance(self) -> Interval: ...
    @property
    def condition(self) -> float: ...
    @property
    def control_r2(self) -> float: ...
    @property
    def control_recurrence(self) -> float: ...
    @property
    def encoded(self) -> bool: ...
    @property
    def equivalence_p(self) -> float: ...
    @property
    def group_control_r2(self) -> float: ...
    @property
    def learned(self) -> Interval: ...
    @property
    def mae(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def memorisation_r2(self) -> float: ...
    @property
    def note(self) -> str: ...
    @property
    def nuisance_r2(self) -> float: ...
    @property
    def p(self) -> float: ...
    @property
    def p_max_t(self) -> float: ...
    @property
    def p_method(self) -> str: ...
    @property
    def pearson(self) -> Interval: ...
    @property
    def r2(self) -> Interval: ...
    @property
    def rmse(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def sd(self) -> float: ...
    @property
    def setting(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def spearman(self) -> Interval: ...
    @property
    def target_name(self) -> str: ...
    @property
    def units(self) -> int: ...
    @property
    def upper(self) -> float: ...

class TargetSummary:
    """
    What all sites say of one target.
    """
    @property
    def best_r2(self) -> float: ...
    @property
    def best_site(self) -> str: ...
    @property
    def encoded_sites(self) -> int: ...
    @property
    def not_linearly_encoded(self) -> bool: ...
    @property
    def p_max_t(self) -> float: ...
    @property
    def q(self) -> float: ...
    @property
    def target_name(self) -> str: ...
    @property
    def upper(self) -> float: ...

class TargetEvaluation:
    """
    A table of sites and targets.
    """
    def __repr__(self) -> str: ...
    def at(self, site: str, target_name: str) -> TargetRow:
        """
        Return one cell.
        """
    @property
    def complete(self) -> bool: ...
    @property
    def level(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def predictions(self) -> torch.Tensor | None: ...
    @property
    def probe(self) -> str: ...
    @property
    def rows(self) -> list[TargetRow]: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def summary(self) -> list[TargetSummary]: ...
    @property
    def targets(self) -> list[str]: ...
    @property
    def units(self) -> int: ...

class MomentsValidation:
    """
    What held-out moments say of linear probes.
    """
    @property
    def correlation(self) -> torch.Tensor:
        """
        Of score and label [K, P, C].
        """
    @property
    def fits(self) -> list[LinearFits]:
        """
        The fit without each fold.
        """
    @property
    def normal_auroc(self) -> torch.Tensor:
        """
        The AUROC of normal scores of this d' [K, P, C].
        """
    @property
    def separation(self) -> torch.Tensor:
        """
        d' [K, P, C].
        """

class Metric:
    """
    Turns outputs [rows, tokens, columns] into one number a row: value(outputs) -> [rows].

    It reads the last `tokens` positions, and the outputs `columns` (empty: all); a sweep computes no others.
    """
    def __call__(self, outputs: torch.Tensor) -> torch.Tensor: ...
    def __init__(
        self,
        value: collections.abc.Callable[..., typing.Any],
        tokens: typing.SupportsInt | typing.SupportsIndex = 1,
        columns: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
        name: str = "metric",
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def columns(self) -> list[int]: ...
    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> int: ...

class SweepStrategy:
    """
    How a sweep computes its cells.

    Members:

      automatic

      naive

      batched

      restart

      suffix
    """

    __members__: typing.ClassVar[dict[str, SweepStrategy]]
    automatic: typing.ClassVar[SweepStrategy]
    batched: typing.ClassVar[SweepStrategy]
    naive: typing.ClassVar[SweepStrategy]
    restart: typing.ClassVar[SweepStrategy]
    suffix: typing.ClassVar[SweepStrategy]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class SweepPlan:
    """
    What a sweep will do.
    """
    def __init__(
        self,
        strategy: SweepStrategy,
        why: str,
        cells: typing.SupportsInt | typing.SupportsIndex,
        rows_at_once: typing.SupportsInt | typing.SupportsIndex,
        predicted_peak: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def block_calls(self) -> int:
        """
        Of all cells; base and source runs come on top.
        """
    @property
    def block_tokens(self) -> int:
        """
        Rows x positions through a block, summed over the calls.
        """
    @property
    def cells(self) -> int: ...
    @property
    def predicted_peak(self) -> int:
        """
        Bytes.
        """
    @property
    def rows_at_once(self) -> int:
        """
        Of the largest call.
        """
    @property
    def strategy(self) -> SweepStrategy: ...
    @property
    def why(self) -> str: ...

class _SweepResult:
    """
    The metric of every cell.
    """

    base: torch.Tensor
    complete: bool
    metric: str
    plan: SweepPlan
    source: torch.Tensor
    values: torch.Tensor
    def __init__(self) -> None: ...
    @property
    def layers(self) -> list[int]: ...
    @layers.setter
    def layers(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def notes(self) -> list[str]: ...
    @notes.setter
    def notes(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def peak_bytes(self) -> int: ...
    @peak_bytes.setter
    def peak_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def recheck_difference(self) -> float: ...
    @recheck_difference.setter
    def recheck_difference(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def rechecked(self) -> int: ...
    @rechecked.setter
    def rechecked(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def resumed(self) -> int: ...
    @resumed.setter
    def resumed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def sources(self) -> list[str]: ...
    @sources.setter
    def sources(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def spans(self) -> list[Span]: ...
    @spans.setter
    def spans(self, arg0: collections.abc.Sequence[Span]) -> None: ...

class _MemoryMeter:
    """
    What tensors allocate on this thread.
    """
    def __init__(self) -> None: ...
    @property
    def current(self) -> int: ...
    @property
    def peak(self) -> int: ...

class _PatchSource:
    def __init__(
        self, name: str, batch: Batch | None, residuals: torch.Tensor | None, edit: typing.Any
    ) -> None: ...

class _SweepRequest:
    def __init__(
        self,
        base: Batch,
        sources: collections.abc.Sequence[_PatchSource],
        metric: Metric,
        layers: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        spans: collections.abc.Sequence[Span],
        differing: collections.abc.Sequence[Span] | None,
    ) -> None: ...

class _SweepOptions:
    def __init__(
        self,
        strategy: SweepStrategy,
        memory_limit: typing.SupportsInt | typing.SupportsIndex,
        recheck: typing.SupportsInt | typing.SupportsIndex,
        tolerance: typing.SupportsFloat | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
        call_cost: typing.SupportsFloat | typing.SupportsIndex,
        file: str,
        progress: typing.Any,
    ) -> None: ...

class EditRows:
    """
    Of which scenes the rows of a batch are.
    """
    @property
    def numbers(self) -> list[int]:
        """
        Its place among the scenes of the run, of each row.
        """
    @property
    def scenes(self) -> list[int]:
        """
        Id of the scene of each row.
        """
    @property
    def spans(self) -> list[list[Span]]:
        """
        Spans of each row; empty where there are none.
        """

class _Edit:
    def __init__(self) -> None: ...
    def name(self) -> str: ...

class Over:
    """
    What a direction is a direction of.

    Members:

      each

      pooled

      concatenated
    """

    __members__: typing.ClassVar[dict[str, Over]]
    concatenated: typing.ClassVar[Over]
    each: typing.ClassVar[Over]
    pooled: typing.ClassVar[Over]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Words:
    """
    What an edited run says.

    Members:

      held

      regenerated
    """

    __members__: typing.ClassVar[dict[str, Words]]
    held: typing.ClassVar[Words]
    regenerated: typing.ClassVar[Words]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class _DirectionPlace:
    def __init__(
        self,
        site: str,
        direction: Direction,
        selection: str,
        over: Over,
        written: torch.Tensor | None,
    ) -> None: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def over(self) -> Over: ...
    @property
    def site(self) -> str: ...

class DirectionEdit(_Edit):
    """
    Moves activations along directions, all places in the same run.
    """
    @staticmethod
    def _ablate(places: collections.abc.Sequence[_DirectionPlace]) -> DirectionEdit: ...
    @staticmethod
    def _add(
        places: collections.abc.Sequence[_DirectionPlace],
        dose: typing.SupportsFloat | typing.SupportsIndex,
    ) -> DirectionEdit: ...
    @staticmethod
    def _swap(
        places: collections.abc.Sequence[_DirectionPlace],
        to_high: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> DirectionEdit: ...
    @staticmethod
    def _to(
        places: collections.abc.Sequence[_DirectionPlace], targets: torch.Tensor
    ) -> DirectionEdit: ...
    @property
    def places(self) -> list[_DirectionPlace]: ...

class InterventionEdit(_Edit):
    """
    Puts an intervention of the hook layer at some sites.
    """
    def __init__(
        self,
        name: str,
        sites: collections.abc.Sequence[str],
        intervention: Intervention,
        selection: str,
    ) -> None: ...

class _ErasurePlace:
    def __init__(self, site: str, eraser: Eraser, selection: str, over: Over) -> None: ...

class ErasureEdit(_Edit):
    """
    Erases a concept at all places in the same run.
    """
    def __init__(self, places: collections.abc.Sequence[_ErasurePlace]) -> None: ...

class _Donor:
    def __init__(
        self,
        scenes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        twin_by: str,
        fields: collections.abc.Sequence[str],
        words: Rollout | None,
    ) -> None: ...

class ResampledWords:
    """
    Other words of the same length for the rows of a run.
    """
    @property
    def changed(self) -> torch.Tensor:
        """
        bool [rows]: where others of the same length were found.
        """
    @property
    def words(self) -> Rollout:
        """
        The base run, with these words.
        """

class NoiseFloor:
    """
    What differs between runs without an edit.
    """
    @property
    def deterministic(self) -> bool:
        """
        Words and actions are equal to the last bit.
        """
    @property
    def other_seeds(self) -> list[float]:
        """
        Mean absolute change with each other seed.
        """
    @property
    def same_seed(self) -> float:
        """
        Largest change of the functional with the same seed: must be 0.
        """

class _PairedRun:
    def __init__(
        self,
        model: Model,
        source: SceneSource,
        scenes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        rollout: RolloutOptions,
        batch_size: typing.SupportsInt | typing.SupportsIndex,
        thought_memory: typing.SupportsInt | typing.SupportsIndex,
        progress: typing.Any,
    ) -> None: ...
    def activations(
        self,
        sites: collections.abc.Sequence[str],
        selection: str,
        reduce: str,
        words: Words,
        twin_by: str,
    ) -> dict[str, torch.Tensor]: ...
    def again(self, words: Words) -> Rollout: ...
    def base(self) -> Rollout: ...
    def can(self, option: str) -> bool: ...
    def derivative(
        self,
        edit: DirectionEdit,
        others: collections.abc.Sequence[collections.abc.Sequence[_DirectionPlace]],
        functional: ControlFunctional,
    ) -> torch.Tensor: ...
    def direct(self, edit: _Edit, functional: ControlFunctional) -> torch.Tensor: ...
    def edited(self, edit: _Edit, words: Words, twin_by: str) -> Rollout: ...
    def effect(
        self, rollout: Rollout, functional: ControlFunctional, twin_by: str
    ) -> torch.Tensor: ...
    def head_inputs(self) -> list[str]: ...
    def knocked_out(
        self, knockouts: collections.abc.Sequence[Knockout], words: Words
    ) -> Rollout: ...
    def noise_floor(
        self,
        functional: ControlFunctional,
        seeds: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> NoiseFloor: ...
    def positions(
        self, places: collections.abc.Sequence[_DirectionPlace], words: Words
    ) -> torch.Tensor: ...
    def resampled_words(
        self,
        seed: typing.SupportsInt | typing.SupportsIndex,
        attempts: typing.SupportsInt | typing.SupportsIndex,
    ) -> ResampledWords: ...
    def reseeded(self, seed: typing.SupportsInt | typing.SupportsIndex) -> Rollout: ...
    def rows_at(
        self,
        places: collections.abc.Sequence[_DirectionPlace],
        whole: bool,
        words: Words,
        edit: _Edit,
    ) -> list[torch.Tensor]: ...
    def text(self, edit: _Edit, functional: ControlFunctional) -> torch.Tensor: ...
    def total(self, edit: _Edit, functional: ControlFunctional) -> torch.Tensor: ...
    def transplanted(
        self,
        donor: _Donor,
        sites: collections.abc.Sequence[str],
        selection: str,
        words: Words,
        into_twins_by: str,
    ) -> Rollout: ...
    def twins(self, by: str, words: Words) -> Rollout: ...
    def values(
        self, rollout: Rollout, functional: ControlFunctional, twin_by: str
    ) -> torch.Tensor: ...
    def with_words(self, other: Rollout) -> Rollout: ...
    @property
    def rows(self) -> int: ...
    @property
    def scenes(self) -> list[int]: ...

class ConceptDirections:
    """
    The directions of a concept at all places of an edit, and their delete-group refits.
    """
    def __init__(
        self,
        places: collections.abc.Sequence[_DirectionPlace] = [],
        refits: collections.abc.Sequence[collections.abc.Sequence[_DirectionPlace]] = [],
    ) -> None: ...
    def _add(self, site: str, fits: ResidualFits, selection: str, over: Over) -> None: ...
    @property
    def notes(self) -> list[str]:
        """
        What the fits had to say, such as how many scenes they lack.
        """
    @property
    def places(self) -> list[_DirectionPlace]: ...
    @property
    def refits(self) -> list[list[_DirectionPlace]]: ...

class ConceptEffect:
    """
    What a concept's presence adds to control.
    """
    def __repr__(self) -> str: ...
    @property
    def addition(self) -> Interval: ...
    @property
    def derivative_error(self) -> float: ...
    @property
    def functional(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def refit_variance(self) -> float:
        """
        V_A, the direction's own estimation error.
        """
    @property
    def refits(self) -> list[float]: ...
    @property
    def removal(self) -> Interval: ...
    @property
    def reruns(self) -> int: ...
    @property
    def scenes(self) -> torch.Tensor:
        """
        f64 [scenes], on - off of each.
        """
    @property
    def test_variance(self) -> float:
        """
        V_C, the spread over the test scenes.
        """
    @property
    def theta(self) -> Interval:
        """
        The mean of removal and addition, theta +- t sqrt(V_A + V_C).
        """
    @property
    def words(self) -> Words: ...

class Mediation:
    """
    How much of an input effect an edit takes away.
    """
    @property
    def edited_effect(self) -> float: ...
    @property
    def note(self) -> str: ...
    @property
    def share(self) -> Interval:
        """
        1 - sum D|edited / sum D, with its bootstrap interval.
        """
    @property
    def twin_effect(self) -> float: ...

class NaturalLimits:
    """
    The natural limits of norm and distances.
    """
    @property
    def mahalanobis_high(self) -> float: ...
    @property
    def neighbour_high(self) -> float: ...
    @property
    def norm_high(self) -> float: ...
    @property
    def norm_low(self) -> float: ...

class ManifoldCheck:
    """
    Where rows lie among natural ones: percentiles in [0, 1], f64 [m].
    """
    def __repr__(self) -> str: ...
    @property
    def mahalanobis(self) -> torch.Tensor: ...
    @property
    def mahalanobis_share(self) -> float: ...
    @property
    def neighbour(self) -> torch.Tensor: ...
    @property
    def neighbour_share(self) -> float: ...
    @property
    def norm(self) -> torch.Tensor: ...
    @property
    def norm_share(self) -> float:
        """
        Share of the rows outside by the norm.
        """
    @property
    def off(self) -> torch.Tensor:
        """
        bool [m], any of the three outside its limits.
        """
    @property
    def off_share(self) -> float: ...

class _Manifold:
    @staticmethod
    def fit(
        rows: torch.Tensor,
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        low: typing.SupportsFloat | typing.SupportsIndex,
        high: typing.SupportsFloat | typing.SupportsIndex,
        shrinkage: typing.SupportsFloat | typing.SupportsIndex,
        neighbours: typing.SupportsInt | typing.SupportsIndex,
        rows_per_dimension: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
    ) -> _Manifold: ...
    def check(self, rows: torch.Tensor) -> ManifoldCheck: ...
    @property
    def fitted_rows(self) -> int: ...
    @property
    def limits(self) -> NaturalLimits: ...
    @property
    def natural_off_share(self) -> float: ...
    @property
    def natural_rows(self) -> int: ...
    @property
    def shrinkage(self) -> float: ...
    @property
    def width(self) -> int: ...

class Plausible:
    """
    What a car can do: sizes of acceleration in m/s^2, jerk in m/s^3, curvature in 1/m and lateral acceleration
    in m/s^2.

    The defaults are physical limits on a dry road: friction .8 g; full braking after .2 s, the build-up time
    of hydraulic brakes; an axle's middle on a radius of 5 m, tighter than cars turn. For
    the comfort of nuPlan (2403.04133) use 4.05, 4.13, and 4.89 sideways.
    """
    def __init__(
        self,
        *,
        max_acceleration: typing.SupportsFloat | typing.SupportsIndex = 8.0,
        max_jerk: typing.SupportsFloat | typing.SupportsIndex = 40.0,
        max_curvature: typing.SupportsFloat | typing.SupportsIndex = 0.2,
        max_lateral_acceleration: typing.SupportsFloat | typing.SupportsIndex = 8.0,
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def max_acceleration(self) -> float: ...
    @property
    def max_curvature(self) -> float: ...
    @property
    def max_jerk(self) -> float: ...
    @property
    def max_lateral_acceleration(self) -> float: ...

class OffManifold:
    """
    An effect on all scenes, and where the edit stayed on the manifold.
    """
    def __repr__(self) -> str: ...
    @property
    def all(self) -> Interval: ...
    @property
    def flagged(self) -> bool:
        """
        `all` excludes 0, and `on_manifold` does not on the same side.
        """
    @property
    def off_share(self) -> float:
        """
        Of the scenes.
        """
    @property
    def on_manifold(self) -> Interval | None:
        """
        None with fewer than 2 groups left.
        """

class MatchedDonors:
    """
    The donor of each scene, and how far it is.
    """
    @property
    def distances(self) -> torch.Tensor:
        """
        f64 [n], Mahalanobis, in within-class standard deviations.
        """
    @property
    def donors(self) -> torch.Tensor:
        """
        int64 [n], places among the scenes.
        """

class RotaryPairs:
    """
    Which two numbers of a head turn together.

    Members:

      halves

      interleaved
    """

    __members__: typing.ClassVar[dict[str, RotaryPairs]]
    halves: typing.ClassVar[RotaryPairs]
    interleaved: typing.ClassVar[RotaryPairs]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Restoration:
    """
    How much of a twin effect some activations carry, as ratios of sums.
    """
    def __repr__(self) -> str: ...
    @property
    def denoising(self) -> Interval:
        """
        sum(m(off <- on) - m_off) / sum(m_on - m_off).
        """
    @property
    def noising(self) -> Interval:
        """
        sum(m_on - m(on <- off)) / sum(m_on - m_off).
        """
    @property
    def twin_effect(self) -> float:
        """
        Mean m_on - m_off.
        """

class PathShare:
    """
    The share of a concept's whole effect on one path.
    """
    def __repr__(self) -> str: ...
    @property
    def denoising(self) -> Interval: ...
    @property
    def name(self) -> str: ...
    @property
    def noising(self) -> Interval: ...

class PathShares:
    """
    The paths of a concept's effect to control.
    """
    @property
    def blocks(self) -> list[PathShare]:
        """
        States at the tokens of each block, words held.
        """
    @property
    def direct(self) -> Interval:
        """
        The same with the words held.
        """
    @property
    def text(self) -> Interval:
        """
        The same by the words alone.
        """
    @property
    def total(self) -> Interval:
        """
        Mean m_on - m_off, words regenerated.
        """
    @property
    def words(self) -> PathShare:
        """
        What is said, and nothing else.
        """

class Interchange:
    """
    How well an edit of the concept alone foretells the counterfactual.
    """
    @property
    def counterfactual(self) -> torch.Tensor:
        """
        f64 [scenes], m_cf.
        """
    @property
    def interchanged(self) -> torch.Tensor:
        """
        f64 [scenes], m_int.
        """
    @property
    def r2(self) -> Interval: ...
    @property
    def r2_of_change(self) -> Interval: ...

class Completeness:
    """
    Whether a site holds all that its inputs do to control.
    """
    @property
    def complete(self) -> bool: ...
    @property
    def error(self) -> float:
        """
        Mean |m(patched) - m(donor)|.
        """
    @property
    def functional(self) -> str: ...
    @property
    def moved(self) -> float:
        """
        Mean |m(donor) - m(base)|.
        """
    @property
    def note(self) -> str: ...
    @property
    def ratio(self) -> float: ...

class PositionEffects:
    """
    What the states at some tokens do, beside as many others.
    """
    @property
    def control(self) -> torch.Tensor:
        """
        f64 [draws, rows].
        """
    @property
    def difference(self) -> Interval:
        """
        Mean |patched| - mean |control|.
        """
    @property
    def patched(self) -> torch.Tensor:
        """
        f64 [rows].
        """

class JointErasure:
    """
    What is lost when a concept is erased at all places in the same run.
    """
    def __repr__(self) -> str: ...
    @property
    def ci90(self) -> Interval: ...
    @property
    def functional(self) -> str: ...
    @property
    def refit_variance(self) -> float: ...
    @property
    def refits(self) -> list[float]: ...
    @property
    def scenes(self) -> torch.Tensor:
        """
        f64 [scenes], m - m_erased.
        """
    @property
    def test_variance(self) -> float: ...
    @property
    def theta(self) -> Interval: ...
    @property
    def words(self) -> Words: ...

class AblationCheck:
    """
    What can still be read at one place.
    """
    def __repr__(self) -> str: ...
    @property
    def check(self) -> ErasureCheck: ...
    @property
    def passed(self) -> bool: ...
    @property
    def scenes(self) -> int:
        """
        That are alike in what goes along, as many with as without.
        """
    @property
    def site(self) -> str: ...
    @property
    def width(self) -> int:
        """
        Numbers a scene that the fresh probe was given.
        """

class _GuardPlace:
    def __init__(self, site: str, manifold: _Manifold, selection: str, over: Over) -> None: ...

class GuardReport:
    """
    How far an edited run leaves what the model meets.
    """
    @property
    def implausible_share(self) -> float: ...
    @property
    def off(self) -> torch.Tensor:
        """
        bool [scenes]: off at a place, or implausible.
        """
    @property
    def off_share(self) -> float: ...
    @property
    def places(self) -> list[ManifoldCheck]: ...

class DoseResponse:
    """
    How control answers to doses along a direction.
    """
    @property
    def doses(self) -> list[float]:
        """
        Ascending, in natural standard deviations.
        """
    @property
    def effects(self) -> torch.Tensor:
        """
        f64 [scenes, doses].
        """
    @property
    def falling(self) -> Trend: ...
    @property
    def note(self) -> str: ...
    @property
    def off_share(self) -> list[float]:
        """
        Of the scenes at each dose.
        """
    @property
    def on_manifold(self) -> list[float]:
        """
        Doses that count.
        """
    @property
    def rising(self) -> Trend:
        """
        Page's test over the doses that count.
        """

class UnrelatedControl:
    """
    The effect of another concept.
    """
    @property
    def alike(self) -> bool:
        """
        In prevalence and AUROC.
        """
    @property
    def auroc(self) -> float: ...
    @property
    def effect(self) -> Interval: ...
    @property
    def name(self) -> str: ...
    @property
    def prevalence(self) -> float: ...

class NullSiteControl:
    """
    A control that must be exactly 0.
    """
    @property
    def available(self) -> bool: ...
    @property
    def largest(self) -> float:
        """
        Change of any action.
        """
    @property
    def passed(self) -> bool: ...
    @property
    def sites(self) -> list[str]: ...

class ReaderControl:
    """
    What the procedure finds of a reader that is surely there.
    """
    def __repr__(self) -> str: ...
    @property
    def concept_name(self) -> str: ...
    @property
    def detected(self) -> bool: ...
    @property
    def effect(self) -> Interval: ...
    @property
    def multiple(self) -> float:
        """
        Of the smallest effect of interest.
        """
    @property
    def worth(self) -> float: ...

class ShamControl:
    """
    How the procedure does on labels that mean nothing, and on virtual readers.
    """
    @property
    def direct(self) -> list[Interval]: ...
    @property
    def excludes_zero(self) -> Interval: ...
    @property
    def false_used(self) -> Interval:
        """
        Share whose direct interval excludes 0 and whose effect is of interest.
        """
    @property
    def false_used_total(self) -> Interval:
        """
        By direct or total.
        """
    @property
    def refused(self) -> int: ...
    @property
    def total(self) -> list[Interval]: ...

class ConceptControls:
    """
    All controls of one concept.
    """
    @property
    def direct(self) -> ConceptEffect: ...
    @property
    def matched(self) -> list[float]: ...
    @property
    def matched_length(self) -> float:
        """
        Mean length of the matched directions, in units of the direction's own.
        """
    @property
    def notes(self) -> list[str]: ...
    @property
    def null_site(self) -> NullSiteControl: ...
    @property
    def participation_ratio(self) -> float: ...
    @property
    def permuted(self) -> list[float]: ...
    @property
    def plain(self) -> Interval: ...
    @property
    def positive(self) -> ConceptEffect | None: ...
    @property
    def positive_silent(self) -> bool: ...
    @property
    def readers(self) -> list[ReaderControl]: ...
    @property
    def sham(self) -> ShamControl: ...
    @property
    def total(self) -> ConceptEffect | None: ...
    @property
    def unrelated(self) -> list[UnrelatedControl]: ...
    @property
    def wrong_functional(self) -> Interval | None: ...

class _EditSite:
    def __init__(self, site: str, selection: str, over: Over) -> None: ...

class _SiteSweepRequest:
    def __init__(
        self,
        sites: collections.abc.Sequence[str],
        parts: collections.abc.Sequence[tuple[str, str]],
        donors: collections.abc.Sequence[tuple[str, _Donor]],
        edit: typing.Any,
        edit_name: str,
        words: Words,
    ) -> None: ...

class _SiteSweepResult:
    """
    The functional of every cell.
    """
    @property
    def acts(self) -> int: ...
    @property
    def base(self) -> torch.Tensor: ...
    @property
    def complete(self) -> bool: ...
    @property
    def donors(self) -> list[str]: ...
    @property
    def functional(self) -> str: ...
    @property
    def parts(self) -> list[str]: ...
    @property
    def recheck_difference(self) -> float: ...
    @property
    def rechecked(self) -> int: ...
    @property
    def resumed(self) -> int: ...
    @property
    def rollouts(self) -> int: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def source(self) -> torch.Tensor: ...
    @property
    def unit(self) -> str: ...
    @property
    def values(self) -> torch.Tensor: ...

class _Attribution:
    """
    First-order estimates of the cells of a sweep.
    """
    @property
    def donors(self) -> list[str]: ...
    @property
    def parts(self) -> list[str]: ...
    @property
    def ranking(self) -> torch.Tensor: ...
    @property
    def sites(self) -> list[str]: ...
    @property
    def values(self) -> torch.Tensor: ...

class Status:
    """
    What was shown of a claim.

    Members:

      yes

      no

      open

      unavailable
    """

    __members__: typing.ClassVar[dict[str, Status]]
    no: typing.ClassVar[Status]
    open: typing.ClassVar[Status]
    unavailable: typing.ClassVar[Status]
    yes: typing.ClassVar[Status]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class EffectGate:
    """
    What is known of one effect on control.
    """
    def __init__(
        self,
        status: Status,
        sign: typing.SupportsInt | typing.SupportsIndex = 0,
        size: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        excludes_zero: bool = False,
    ) -> None: ...
    @property
    def excludes_zero(self) -> bool: ...
    @property
    def sign(self) -> int: ...
    @property
    def size(self) -> float: ...
    @property
    def status(self) -> Status: ...

class StratumGate:
    """
    What is known of the effect in one stratum.
    """
    def __init__(
        self, stratification: str, level: str, decides: bool, effect: EffectGate
    ) -> None: ...

class InteractionGate:
    """
    Whether the effect differs between strata.
    """
    def __init__(self, stratification: str, significant: bool) -> None: ...

class ProxyGate:
    """
    The effect of what goes along with a concept.
    """
    def __init__(self, name: str, status: Status) -> None: ...

class GateResults:
    """
    All that a verdict follows from.
    """

    complete: bool
    direct: EffectGate
    encoded: Status
    encoded_nonlinearly: bool
    enough_clusters: bool
    enough_scenes: bool
    erasure: Status
    erasure_verified: bool
    naive: EffectGate
    only_off_manifold: bool
    positive_control_heard: bool
    self_tests_passed: bool
    stated: Status
    text: Status
    total: EffectGate
    twin: EffectGate
    def __init__(self) -> None: ...
    @property
    def interactions(self) -> list[InteractionGate]: ...
    @interactions.setter
    def interactions(self, arg0: collections.abc.Sequence[InteractionGate]) -> None: ...
    @property
    def proxies(self) -> list[ProxyGate]: ...
    @proxies.setter
    def proxies(self, arg0: collections.abc.Sequence[ProxyGate]) -> None: ...
    @property
    def strata(self) -> list[StratumGate]: ...
    @strata.setter
    def strata(self, arg0: collections.abc.Sequence[StratumGate]) -> None: ...

class Decision:
    """
    A verdict, and why it is that one.
    """
    def __repr__(self) -> str: ...
    @property
    def flags(self) -> list[str]: ...
    @property
    def reason(self) -> str: ...
    @property
    def verdict(self) -> str: ...

class AuditOutcome:
    """
    How an audit ended.

    Members:

      finished

      self_test_failed
    """

    __members__: typing.ClassVar[dict[str, AuditOutcome]]
    finished: typing.ClassVar[AuditOutcome]
    self_test_failed: typing.ClassVar[AuditOutcome]
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    def __ne__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class RecordDifference:
    """
    One place where a record does not say what follows from it.
    """
    def __repr__(self) -> str: ...
    @property
    def recomputed(self) -> str: ...
    @property
    def recorded(self) -> str: ...
    @property
    def where(self) -> str:
        """
        JSON pointer.
        """

def _accumulate_moments(
    arg0: ActivationReader,
    arg1: str,
    arg2: collections.abc.Sequence[str],
    arg3: collections.abc.Sequence[str],
    arg4: typing.SupportsInt | typing.SupportsIndex,
    arg5: bool,
    arg6: typing.SupportsInt | typing.SupportsIndex,
) -> FoldMoments: ...
def _attribute_sites(
    run: _PairedRun, request: _SiteSweepRequest, functional: ControlFunctional
) -> _Attribution: ...
def _completeness(
    run: _PairedRun,
    donors: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    sites: collections.abc.Sequence[str],
    selection: str,
    fields: collections.abc.Sequence[str],
    functionals: collections.abc.Sequence[ControlFunctional],
    bound: typing.SupportsFloat | typing.SupportsIndex,
) -> Completeness: ...
def _concept_controls(
    run: _PairedRun,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    data: ProbeDataset,
    concept_name: str,
    sites: collections.abc.Sequence[_EditSite],
    adjust_for: collections.abc.Sequence[str] | None,
    interactions: bool,
    folds: typing.SupportsInt | typing.SupportsIndex,
    total_folds: typing.SupportsInt | typing.SupportsIndex,
    functional: ControlFunctional,
    wrong_functional: ControlFunctional | None,
    positive_name: str | None,
    positive_directions: ConceptDirections,
    positive_labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    positive_functional: ControlFunctional,
    sesoi: typing.SupportsFloat | typing.SupportsIndex,
    permuted: typing.SupportsInt | typing.SupportsIndex,
    matched: typing.SupportsInt | typing.SupportsIndex,
    shams: typing.SupportsInt | typing.SupportsIndex,
    readers: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    total: bool,
    seed: typing.SupportsInt | typing.SupportsIndex,
    progress: typing.Any,
) -> ConceptControls: ...
def _concept_effect(
    run: _PairedRun,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    directions: ConceptDirections,
    functional: ControlFunctional,
    words: Words,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
    derivative: bool,
    checked: typing.SupportsInt | typing.SupportsIndex,
    tolerance: typing.SupportsFloat | typing.SupportsIndex,
) -> ConceptEffect: ...
def _conclude(linear: Evaluation, nonlinear: Evaluation | None) -> list[Conclusion]: ...
def _dose_response(
    run: _PairedRun,
    places: collections.abc.Sequence[_DirectionPlace],
    functional: ControlFunctional,
    doses: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    words: Words,
    guard: collections.abc.Sequence[_GuardPlace],
    limits: Plausible,
    groups: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    most_off: typing.SupportsFloat | typing.SupportsIndex,
) -> DoseResponse: ...
@typing.overload
def _evaluate(
    dataset: ProbeDataset,
    fitter: LinearFitter,
    options: EvaluationOptions,
    random_init: ProbeDataset | None,
    progress: typing.Any,
) -> Evaluation: ...
@typing.overload
def _evaluate(
    dataset: ProbeDataset,
    fitter: RowFitter,
    options: EvaluationOptions,
    random_init: ProbeDataset | None,
    progress: typing.Any,
) -> Evaluation: ...
@typing.overload
def _evaluate(
    dataset: ProbeDataset,
    fitter: LogisticFitter,
    options: EvaluationOptions,
    random_init: ProbeDataset | None,
    progress: typing.Any,
) -> Evaluation: ...
def _evaluate_targets(
    dataset: ProbeDataset,
    fitter: LinearFitter,
    options: EvaluationOptions,
    random_init: ProbeDataset | None,
    progress: typing.Any,
) -> TargetEvaluation: ...
def _export_numpy(
    arg0: ActivationReader,
    arg1: str,
    arg2: collections.abc.Sequence[str] | None,
    arg3: collections.abc.Sequence[str] | None,
    arg4: typing.Any,
) -> list[str]: ...
def _fit_directions(
    data: ProbeDataset,
    concept_name: str,
    sites: collections.abc.Sequence[_EditSite],
    adjust_for: collections.abc.Sequence[str] | None,
    interactions: bool,
    folds: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> ConceptDirections: ...
def _guard_edit(
    run: _PairedRun,
    edit: _Edit,
    words: Words,
    places: collections.abc.Sequence[_GuardPlace],
    limits: Plausible,
) -> GuardReport: ...
def _implausible(rollout: Rollout, limits: Plausible) -> torch.Tensor: ...
def _interchange(
    run: _PairedRun,
    twin_by: str,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    sources: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    places: collections.abc.Sequence[_DirectionPlace],
    functional: ControlFunctional,
    words: Words,
    replicates: typing.SupportsInt | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> Interchange: ...
def _joint_erasure(
    run: _PairedRun,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    directions: ConceptDirections,
    functional: ControlFunctional,
    words: Words,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
) -> JointErasure: ...
def _matched_donors(
    covariates: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    eligible: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
) -> MatchedDonors: ...
def _mediated_share(
    run: _PairedRun,
    twin_by: str,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    ablation: _Edit,
    functional: ControlFunctional,
    words: Words,
    replicates: typing.SupportsInt | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> Mediation: ...
def _off_manifold_effect(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    off: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    confidence: typing.SupportsFloat | typing.SupportsIndex,
) -> OffManifold: ...
def _path_shares(
    run: _PairedRun,
    twin_by: str,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    blocks: collections.abc.Sequence[tuple[str, collections.abc.Sequence[str]]],
    functional: ControlFunctional,
    sites: collections.abc.Sequence[str],
    replicates: typing.SupportsInt | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> PathShares: ...
def _plan_sample(
    dataset: ProbeDataset, site: str, concept_name: str, splits: Splits | None
) -> SamplePlan: ...
def _plan_sweep(model: BlockModel, request: _SweepRequest, options: _SweepOptions) -> SweepPlan: ...
def _position_effects(
    run: _PairedRun,
    donor: _Donor,
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    sites: collections.abc.Sequence[str],
    span: str,
    control: collections.abc.Sequence[str],
    functional: ControlFunctional,
    draws: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> PositionEffects: ...
def _residual_direction(
    dataset: ProbeDataset,
    site: str,
    concept_name: str,
    adjust_for: collections.abc.Sequence[str] | None,
    interactions: bool,
    shrinkage: typing.SupportsFloat | typing.SupportsIndex,
    most_vif: typing.SupportsFloat | typing.SupportsIndex,
    least_cell: typing.SupportsInt | typing.SupportsIndex,
    folds: typing.SupportsInt | typing.SupportsIndex,
    least_units: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> ResidualFits: ...
def _rotary_frequencies(
    head_width: typing.SupportsInt | typing.SupportsIndex,
    theta: typing.SupportsFloat | typing.SupportsIndex,
) -> torch.Tensor: ...
def _rotate_keys(
    keys: torch.Tensor,
    from_positions: torch.Tensor,
    to_positions: torch.Tensor,
    inverse_frequencies: torch.Tensor,
    pairs: RotaryPairs,
) -> torch.Tensor: ...
def _set_labels(arg0: str, arg1: str, arg2: torch.Tensor, arg3: torch.Tensor, arg4: str) -> int: ...
def _sham_labels(
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    others: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    units: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    seed: typing.SupportsInt | typing.SupportsIndex,
    nearest: typing.SupportsInt | typing.SupportsIndex,
) -> list[int]: ...
def _shuffled_donors(
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> torch.Tensor: ...
def _site_sweep(
    run: _PairedRun,
    request: _SiteSweepRequest,
    functional: ControlFunctional,
    recheck: typing.SupportsInt | typing.SupportsIndex,
    tolerance: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
    file: str,
    progress: typing.Any,
) -> _SiteSweepResult: ...
def _sweep(model: BlockModel, request: _SweepRequest, options: _SweepOptions) -> _SweepResult: ...
def _twin_restoration(
    run: _PairedRun,
    twin_by: str,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    sites: collections.abc.Sequence[str],
    selection: str,
    functional: ControlFunctional,
    replicates: typing.SupportsInt | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> Restoration: ...
def _verify_ablation(
    run: _PairedRun,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    places: collections.abc.Sequence[_DirectionPlace],
    others: torch.Tensor | None,
    words: Words,
    folds: typing.SupportsInt | typing.SupportsIndex,
    positive_units: typing.SupportsInt | typing.SupportsIndex,
    most: typing.SupportsFloat | typing.SupportsIndex,
    most_upper: typing.SupportsFloat | typing.SupportsIndex,
) -> list[AblationCheck]: ...
def audit_plan(model: Model, scenes: SceneSource, protocol: str) -> str:
    """
    Say what an audit would do, as JSON.
    """

def audit_protocol(json: str, model: Model, scenes: SceneSource, quick: bool = False) -> str:
    """
    Fill in what a protocol leaves open, and return it as canonical JSON.
    """

def audit_protocol_sha256(json: str) -> str:
    """
    Return the SHA-256 of a protocol's canonical JSON.
    """

def audit_run(
    model: Model,
    scenes: SceneSource,
    protocol: str,
    out: str,
    resume: bool = False,
    progress: typing.Any = None,
) -> tuple[AuditOutcome, str]:
    """
    Audit a model by a complete protocol (JSON); return how it ended and the record (JSON).
    """

def auprc(
    scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> float:
    """
    Return the area under the precision-recall curve.
    """

def auroc(
    scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> float:
    """
    Return the area under the ROC curve.
    """

def auroc_influence(
    scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
) -> Influence:
    """
    Return the AUROC with its clusters' contributions.
    """

def balanced_influence(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
) -> Influence:
    """
    Return the concept-balanced mean with its clusters' contributions.
    """

def benjamini_hochberg(
    p: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return p values adjusted by Benjamini & Hochberg.
    """

def benjamini_yekutieli(
    p: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return p values adjusted by Benjamini & Yekutieli.
    """

def bootstrap_weights(
    clusters: typing.SupportsInt | typing.SupportsIndex,
    replicates: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
    first: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return the multinomial counts [replicates, clusters].
    """

def buffer_pool_idle_bytes() -> int: ...
def build_index(path: str) -> None:
    """
    Write index.h5, which shows all shards as one.
    """

def calibration(
    probabilities: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    bins: typing.SupportsInt | typing.SupportsIndex = 10,
) -> Calibration:
    """
    Measure how well probabilities fit labels.
    """

def callback_part() -> CallbackPart:
    """
    Return what the callback at hand was given: with `ragged`, of which rows its tokens are.

    Raises StateError outside of a callback.
    """

def check_options(options: RolloutOptions, description: ModelDescription) -> None:
    """
    Raise unless the model can do all that is asked for.
    """

def check_selection(json: str) -> str:
    """
    Parse a selection and write it in its canonical form.
    """

def check_truth(
    model: DrivingModel,
    *,
    scenes: typing.SupportsInt | typing.SupportsIndex = 700,
    natural_scenes: typing.SupportsInt | typing.SupportsIndex = 1000,
    seed: typing.SupportsInt | typing.SupportsIndex = 1,
    batch_size: typing.SupportsInt | typing.SupportsIndex = 128,
    progress: typing.Any = None,
) -> Truth:
    """
    Hold a model against its specification by twins and by other words, on fresh scenes.
    """

def cluster_bootstrap(
    estimator: collections.abc.Callable[..., typing.Any],
    clusters: typing.SupportsInt | typing.SupportsIndex,
    options: BootstrapOptions,
    vectorised: bool,
) -> BootstrapResult:
    """
    Bootstrap whole clusters and refit.
    """

def cluster_design(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
) -> ClusterDesign:
    """
    Estimate intraclass correlation, design effect and effective sample size.
    """

def cluster_mean_sd(
    sd: typing.SupportsFloat | typing.SupportsIndex,
    icc: typing.SupportsFloat | typing.SupportsIndex,
    rows: typing.SupportsInt | typing.SupportsIndex,
) -> float:
    """
    Return the standard deviation of a mean of rows of one cluster.
    """

def cluster_t_interval(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
) -> Interval:
    """
    Return the t interval of the mean of cluster means.
    """

def cluster_tost(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    margin: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> Equivalence:
    """
    Test equivalence of the mean of cluster means within +-margin.
    """

def common_scale(fits: LinearFits, training: TrainingStatistics) -> LinearFits:
    """
    Put scores on the scale of the fits' own training rows, so that folds may be pooled.
    """

def concatenate_rollouts(parts: collections.abc.Sequence[Rollout]) -> Rollout:
    """
    Put rollouts of several batches behind each other.
    """

def conclude_record(evidence: str) -> str:
    """
    Fill in all that follows from what was measured.
    """

def control_labels(
    keys: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
    draw: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.uint8]:
    """
    Return the labels [n] of a control task.
    """

def control_targets(
    keys: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    targets: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
    draw: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return the targets [n] of a control task.
    """

def cot_cut(to_the_end: bool = True) -> list[Knockout]:
    """
    Return the knockouts that hide the chain of thought from control: the words alone, or, with `to_the_end`,
    everything from its start onward, after which no text can matter (a known null).
    """

def cot_vocabulary() -> CotVocabulary:
    """
    Return the words for parsers of the language.
    """

def cross_validate(
    fitter: LinearFitter,
    rows: torch.Tensor,
    labels: torch.Tensor,
    folds: torch.Tensor,
    fold_count: typing.SupportsInt | typing.SupportsIndex,
    precision: Precision = Precision.automatic,
) -> CrossValidation:
    """
    Fit every fold's complement and score the fold.
    """

def cross_validate_moments(
    fitter: LinearFitter, moments: FoldMoments, site: str
) -> MomentsValidation:
    """
    Fit every fold's complement and tell from moments how well the fold is read.
    """

def decide(gates: GateResults) -> Decision:
    """
    Decide: the first rule that matches (docs/audit.md).
    """

def decode_cot(tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> str:
    """
    Turn tokens into text.
    """

def default_layout(name: str, ndim: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    Return the axes, a letter each, of a tensor with ndim dimensions at a site.
    """

def delete_group_refits(
    estimator: collections.abc.Callable[..., typing.Any],
    clusters: typing.SupportsInt | typing.SupportsIndex,
    blocks: typing.SupportsInt | typing.SupportsIndex = 20,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return the refits that each leave one block of clusters out.
    """

def delete_group_variance(refits: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> float:
    """
    Return (K - 1) / K sum (theta_k - mean)^2.
    """

def encode_cot(text: str) -> list[int]:
    """
    Turn text into tokens.
    """

def energy_distance(
    rows: torch.Tensor, labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]
) -> float:
    """
    Return the squared energy distance of two samples.
    """

def energy_distance_test(
    rows: torch.Tensor,
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    strata: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    options: PermutationOptions,
) -> PermutationResult:
    """
    Test equality of two distributions by the energy distance.
    """

def equivalence_power(
    margin: typing.SupportsFloat | typing.SupportsIndex,
    effect: typing.SupportsFloat | typing.SupportsIndex,
    sd: typing.SupportsFloat | typing.SupportsIndex,
    groups: typing.SupportsInt | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> float:
    """
    Return the power of tost.
    """

def fit_linear(
    fitter: LinearFitter,
    statistics: FoldStatistics,
    held_out: typing.SupportsInt | typing.SupportsIndex | None = None,
) -> LinearFits:
    """
    Fit all concepts under all settings without one fold, or on all rows.
    """

def fold_auroc(
    scores: torch.Tensor,
    labels: torch.Tensor,
    folds: torch.Tensor,
    fold_count: typing.SupportsInt | typing.SupportsIndex,
) -> torch.Tensor:
    """
    Return the AUROC of scores within each fold [K, P, C].
    """

def fold_of_group(
    group: typing.SupportsInt | typing.SupportsIndex,
    folds: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> int:
    """
    Return the fold of a group: the same in every process and order.
    """

def framing_names() -> list[str]:
    """
    Return the prompt framings.
    """

def get_labels(
    store: str, concept_name: str, version: typing.SupportsInt | typing.SupportsIndex | None = None
) -> Labels:
    """
    Read the labels of a concept; the newest version unless one is named.
    """

def groups_for_effect(
    effect: typing.SupportsFloat | typing.SupportsIndex,
    sd: typing.SupportsFloat | typing.SupportsIndex,
    power: typing.SupportsFloat | typing.SupportsIndex = 0.8,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
    most: typing.SupportsInt | typing.SupportsIndex = 10000000,
) -> GroupPlan:
    """
    Return the least number of groups that finds the effect.
    """

def groups_for_equivalence(
    margin: typing.SupportsFloat | typing.SupportsIndex,
    effect: typing.SupportsFloat | typing.SupportsIndex,
    sd: typing.SupportsFloat | typing.SupportsIndex,
    power: typing.SupportsFloat | typing.SupportsIndex = 0.8,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
    most: typing.SupportsInt | typing.SupportsIndex = 10000000,
) -> GroupPlan:
    """
    Return the least number of groups that shows equivalence.
    """

def has_store() -> bool:
    """
    Tell whether this build has the activation store.
    """

def held_out_scores(
    rows: torch.Tensor, folds: torch.Tensor, fits: collections.abc.Sequence[LinearFits]
) -> torch.Tensor:
    """
    Return the scores [P, C, n] of rows by the fits that have not seen their fold.
    """

def holm(
    p: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Return p values adjusted by Holm.
    """

def hook_point(x: torch.Tensor, site: Site) -> torch.Tensor:
    """
    Let open sessions act on x, and return what to go on with.
    """

def influence_interval(
    influence: Influence, confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95
) -> Interval:
    """
    Return the t interval from the contributions.
    """

def influence_variance(
    contributions: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> float:
    """
    Return s^2 / G of the contributions.
    """

def jackknife_blocks(
    clusters: typing.SupportsInt | typing.SupportsIndex,
    blocks: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.int64]:
    """
    Return the block of each cluster.
    """

def jackknife_interval(
    estimator: collections.abc.Callable[..., typing.Any],
    clusters: typing.SupportsInt | typing.SupportsIndex,
    blocks: typing.SupportsInt | typing.SupportsIndex = 0,
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> Interval:
    """
    Return the t interval of an estimate from its delete-group refits.
    """

def label_concepts(store: str) -> list[str]:
    """
    Return the concepts that have labels.
    """

def language_tokens() -> list[str]:
    """
    Return the text of each token.
    """

def lateral_offset(
    rollout: Rollout, at_s: typing.SupportsFloat | typing.SupportsIndex = 3.0
) -> torch.Tensor:
    """
    Return the lateral position at at_s, m, left positive.
    """

def law_actions(
    spec: Spec,
    scenes: Scenes,
    ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    twin_by: str = "",
    cot_tokens: torch.Tensor | None = None,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> torch.Tensor:
    """
    Return the law's actions f64 [rows, 16, 2].
    """

def least_lane_margin(
    rollout: Rollout,
    lanes: collections.abc.Sequence[Lane],
    ego_width_m: typing.SupportsFloat | typing.SupportsIndex = 1.8,
) -> torch.Tensor:
    """
    Return the least distance to the lane's edge, m.
    """

def least_time_to_collision(
    rollout: Rollout,
    agents: collections.abc.Sequence[collections.abc.Sequence[Agent]],
    ego_radius_m: typing.SupportsFloat | typing.SupportsIndex = 1.0,
    cap_s: typing.SupportsFloat | typing.SupportsIndex = 10.0,
) -> torch.Tensor:
    """
    Return the least time to collision, s.
    """

def logit_difference(
    right: typing.SupportsInt | typing.SupportsIndex,
    wrong: typing.SupportsInt | typing.SupportsIndex,
) -> Metric:
    """
    Return the metric logit `right` - logit `wrong` at the last position (Wang et al. 2022, 2211.00593).

    Raises InvalidArgument if they are the same or negative.
    """

def mahalanobis_directions(
    write: torch.Tensor,
    covariance: torch.Tensor,
    count: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> torch.Tensor:
    """
    Return vectors [count, d], f64, as far in the distribution (Mahalanobis) as `write` [d], in directions uniform
    once the covariance [d, d] is whitened. Their length is another one.

    Raises InvalidArgument, NumericalError as matched_directions.
    """

def matched_directions(
    write: torch.Tensor,
    covariance: torch.Tensor,
    count: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> torch.Tensor:
    """
    Return vectors [count, d], f64, that are to `write` [d] what chance is: random signs in the eigenbasis of the
    covariance [d, d], so that each is as long and as far in the distribution (Mahalanobis). With a
    participation ratio below 20 there are too few independent signs.

    Raises InvalidArgument on other shapes or a covariance that is not symmetric, NumericalError on NaN.
    """

def max_t(
    observed: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    permuted: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> MaxT:
    """
    Adjust statistics [S] by the maximum over sites of permuted ones [B, S].
    """

def mean_acceleration(
    rollout: Rollout, until_s: typing.SupportsFloat | typing.SupportsIndex = 2.0
) -> torch.Tensor:
    """
    Return the mean acceleration over [0, until_s], m/s^2.
    """

def mean_curvature(
    rollout: Rollout, until_s: typing.SupportsFloat | typing.SupportsIndex = 2.0
) -> torch.Tensor:
    """
    Return the mean curvature over [0, until_s], 1/m, left positive.
    """

def mean_influence(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> Influence:
    """
    Return the weighted mean with its clusters' contributions.
    """

def merge_stores(
    sources: collections.abc.Sequence[str],
    target: str,
    reference: bool = False,
    progress: typing.Any = None,
) -> MergeReport:
    """
    Make one store of several, without copying a shard.
    """

def nearest_names(
    name: str,
    candidates: collections.abc.Sequence[str],
    limit: typing.SupportsInt | typing.SupportsIndex = 3,
) -> list[str]:
    """
    Return the candidates nearest to name by edit distance.
    """

def normal_cdf(z: typing.SupportsFloat | typing.SupportsIndex) -> float: ...
def normal_quantile(p: typing.SupportsFloat | typing.SupportsIndex) -> float: ...
def open_session_count() -> int:
    """
    Return how many sessions are open in the process.
    """

def page_trend(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    columns: typing.SupportsInt | typing.SupportsIndex,
    method: TrendMethod,
) -> Trend:
    """
    Test whether values rise along the columns.
    """

def parser_agreement(
    first: collections.abc.Sequence[ParsedCot],
    second: collections.abc.Sequence[ParsedCot],
    vocabulary: CotVocabulary,
) -> ParserAgreement:
    """
    Compare two readings of the same texts, in all concepts of the vocabulary.
    """

def participation_ratio(covariance: torch.Tensor) -> float:
    """
    Return (sum of eigenvalues)^2 / sum of their squares of a covariance [d, d].
    """

def permutation_test(
    statistic: collections.abc.Callable[..., typing.Any],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    strata: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    options: PermutationOptions,
) -> PermutationResult:
    """
    Test 'the labels do not matter' by moving whole groups.
    """

def permutations_needed(
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    tests: typing.SupportsInt | typing.SupportsIndex = 1,
) -> int:
    """
    Return the number of permutations that can reach alpha / tests.
    """

def philox4x32(
    counter: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    key: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
) -> typing.Annotated[list[int], "FixedSize(4)"]:
    """
    Return one block of Philox4x32-10 (Salmon et al. 2011).
    """

def plan_sample(
    concept_name: str,
    width: typing.SupportsInt | typing.SupportsIndex,
    units: typing.SupportsInt | typing.SupportsIndex,
    positive_units: typing.SupportsInt | typing.SupportsIndex,
    test_units: typing.SupportsInt | typing.SupportsIndex = 0,
    test_positives: typing.SupportsInt | typing.SupportsIndex = 0,
) -> SamplePlan:
    """
    Plan how many independent units a direction and its erasure need.
    """

def plan_store(
    path: str,
    streams: collections.abc.Sequence[StreamSpec],
    rows: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
    memory_bytes: typing.SupportsInt | typing.SupportsIndex = 268435456,
    shard_bytes: typing.SupportsInt | typing.SupportsIndex = 268435456,
) -> StorePlan:
    """
    Plan a capture of so many rows in each stream.
    """

def pooled_copy(x: torch.Tensor) -> torch.Tensor:
    """
    Copy into memory of the buffer pool.
    """

def probe_direction(
    training: TrainingStatistics,
    concept_index: typing.SupportsInt | typing.SupportsIndex,
    read: torch.Tensor,
    write: WritePattern = WritePattern.mean_difference,
    site: str = "",
) -> Direction:
    """
    Return the direction that reads with the weights of a linear probe.
    """

def proportion_interval(
    successes: typing.SupportsInt | typing.SupportsIndex,
    trials: typing.SupportsInt | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
) -> Interval:
    """
    Interval of a proportion of independent trials (Clopper and Pearson 1934).
    """

def ranking_difference(
    scores_a: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    scores_b: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    options: RankingOptions,
) -> Interval:
    """
    Return the paired difference of AUROC or AUPRC.
    """

def ranking_interval(
    scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    options: RankingOptions,
) -> Interval:
    """
    Return AUROC or AUPRC with an interval over clusters.
    """

def ratio_of_sums(
    numerator: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    denominator: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    options: BootstrapOptions,
) -> BootstrapResult:
    """
    Return the bootstrap interval of a ratio of sums.
    """

def recover_store(path: str, progress: typing.Any = None) -> RecoverReport:
    """
    Bring a store into a consistent state after a crash.
    """

def refit_interval(
    test: Influence,
    refits: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
) -> RefitInterval:
    """
    Return theta +- t sqrt(V_A + V_C).
    """

def ridge_direction(
    training: TrainingStatistics,
    concept_index: typing.SupportsInt | typing.SupportsIndex,
    penalty: typing.SupportsFloat | typing.SupportsIndex,
    write: WritePattern = WritePattern.mean_difference,
    site: str = "",
) -> Direction:
    """
    Return the ridge direction of a concept.
    """

def rollout_scenes(
    model: Model,
    source: SceneSource,
    ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    options: RolloutOptions = ...,
    batch_size: typing.SupportsInt | typing.SupportsIndex = 256,
) -> Rollout:
    """
    Roll out scenes in batches, check everything, and return one rollout.
    """

def row_table_bytes() -> int:
    """
    Return the bytes of one row of a row table.
    """

def run_completed(model: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
    """
    Count the end of a run of the model.
    """

def run_started(model: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
    """
    Count the start of a run of the model.
    """

def set_buffer_pool_limit(bytes: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def sha256_hex(data: bytes) -> str:
    """
    Return the SHA-256 digest as hexadecimal text.
    """

def site_alias(port: str, layer: typing.SupportsInt | typing.SupportsIndex, tower: str = "") -> str:
    """
    Return the site name of (port, layer): ('resid_post', 3) is 'layers.3.resid_post'.
    """

def site_max_t(
    group_means: collections.abc.Sequence[torch.Tensor],
    labels: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
    strata: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    permutations: typing.SupportsInt | typing.SupportsIndex = 1999,
    folds: typing.SupportsInt | typing.SupportsIndex = 5,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
    batch: typing.SupportsInt | typing.SupportsIndex = 512,
) -> SiteMaxT:
    """
    Test at every site whether group means tell a concept.
    """

def speed_change(
    rollout: Rollout, at_s: typing.SupportsFloat | typing.SupportsIndex = 3.0
) -> torch.Tensor:
    """
    Return the change of speed at at_s, m/s.
    """

def stat_store(path: str) -> StoreStat:
    """
    Sum up a store.
    """

def stopping_distance(
    rollout: Rollout, cap_m: typing.SupportsFloat | typing.SupportsIndex = 200.0
) -> torch.Tensor:
    """
    Return the distance until it stands, m.
    """

def student_t_cdf(
    t: typing.SupportsFloat | typing.SupportsIndex, df: typing.SupportsFloat | typing.SupportsIndex
) -> float: ...
def student_t_quantile(
    p: typing.SupportsFloat | typing.SupportsIndex, df: typing.SupportsFloat | typing.SupportsIndex
) -> float: ...
def student_t_sf(
    t: typing.SupportsFloat | typing.SupportsIndex, df: typing.SupportsFloat | typing.SupportsIndex
) -> float: ...
def suspend_depth() -> int:
    """
    Return how many Suspend surround the caller.
    """

def t_interval(
    estimate: typing.SupportsFloat | typing.SupportsIndex,
    standard_error: typing.SupportsFloat | typing.SupportsIndex,
    df: typing.SupportsFloat | typing.SupportsIndex,
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
) -> Interval:
    """
    Return estimate +- t standard_error.
    """

def t_test(interval: Interval, null: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> float:
    """
    Return the two-sided p of 'the parameter is null'.
    """

def t_test_power(
    effect: typing.SupportsFloat | typing.SupportsIndex,
    sd: typing.SupportsFloat | typing.SupportsIndex,
    groups: typing.SupportsInt | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> float:
    """
    Return the power of the two-sided t test over groups.
    """

def tost(
    estimate: Interval,
    margin: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> Equivalence:
    """
    Test equivalence within +-margin.
    """

def tost_between(
    estimate: Interval,
    lower: typing.SupportsFloat | typing.SupportsIndex,
    upper: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.05,
) -> Equivalence:
    """
    Test equivalence within (lower, upper).
    """

def training_statistics(
    moments: FoldMoments,
    site: str,
    held_out: typing.SupportsInt | typing.SupportsIndex | None = None,
) -> TrainingStatistics:
    """
    Return what linear probes need from streamed moments.
    """

def truthful_cot(
    spec: Spec,
    scenes: Scenes,
    ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    twin_by: str = "",
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> torch.Tensor:
    """
    Return what a truthful model writes, int64 [rows, longest], padded with -1.
    """

def unicycle(
    actions: torch.Tensor,
    initial_speed: torch.Tensor,
    dt_s: typing.SupportsFloat | typing.SupportsIndex,
) -> torch.Tensor:
    """
    Return the trajectory [..., waypoints, 3] of held (acceleration, curvature).
    """

def unicycle_inverse(
    trajectory: torch.Tensor,
    initial_speed: torch.Tensor,
    dt_s: typing.SupportsFloat | typing.SupportsIndex,
) -> UnicycleActions:
    """
    Return the actions that drive a trajectory.
    """

def unicycle_speed(
    actions: torch.Tensor,
    initial_speed: torch.Tensor,
    dt_s: typing.SupportsFloat | typing.SupportsIndex,
) -> torch.Tensor:
    """
    Return the speeds at the waypoints.
    """

@typing.overload
def verify_erasure(
    eraser: Eraser,
    rows: torch.Tensor,
    labels: torch.Tensor,
    groups: torch.Tensor,
    folds: typing.SupportsInt | typing.SupportsIndex = 5,
    penalties: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [
        0.0001,
        0.01,
        1.0,
    ],
    most: typing.SupportsFloat | typing.SupportsIndex = 0.6,
    most_upper: typing.SupportsFloat | typing.SupportsIndex = 0.65,
    positive_units: typing.SupportsInt | typing.SupportsIndex = 150,
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
    replicates: typing.SupportsInt | typing.SupportsIndex = 2000,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> ErasureCheck:
    """
    Refit probes on erased rows of groups that the eraser has not seen.
    """

@typing.overload
def verify_erasure(
    erased: torch.Tensor,
    rows: torch.Tensor,
    labels: torch.Tensor,
    groups: torch.Tensor,
    folds: typing.SupportsInt | typing.SupportsIndex = 5,
    penalties: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [
        0.0001,
        0.01,
        1.0,
    ],
    most: typing.SupportsFloat | typing.SupportsIndex = 0.6,
    most_upper: typing.SupportsFloat | typing.SupportsIndex = 0.65,
    positive_units: typing.SupportsInt | typing.SupportsIndex = 150,
    confidence: typing.SupportsFloat | typing.SupportsIndex = 0.95,
    replicates: typing.SupportsInt | typing.SupportsIndex = 2000,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
) -> ErasureCheck:
    """
    The same of rows [n, d] that any map has erased.
    """

def verify_record(record: str) -> list[RecordDifference]:
    """
    Recompute everything from the record alone and return where it differs.
    """

def verify_store(path: str, progress: typing.Any = None) -> VerifyReport:
    """
    Read everything and compare: checksums, counts, finite values.
    """

def version() -> str:
    """
    Return the version of the loaded library.
    """

def zoo_concepts() -> list[str]:
    """
    Return the ids of the concepts.
    """
