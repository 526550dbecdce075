"""Per-image counts → intervals, comparisons, rankings, slices and sample sizes.

Every score is a function of counts and of ``weights (B, N)``, the multiplicity of each of N images
in each of B resamples. So a bootstrap, a jackknife and a sign flip are matrix products without
another pass over the data, and the data set itself is the resample whose weights are 1.
``Resampled`` is the protocol of tables; ``ImageCounts`` is the table of pixel counts.
"""

from segmetrics.statistics.bootstrap import Method
from segmetrics.statistics.calibration import CalibrationCounts
from segmetrics.statistics.cases import CaseScores
from segmetrics.statistics.classes import ClassDifferences, ClassOfModel, class_differences
from segmetrics.statistics.counts import (
    FORMULAS,
    KEYS,
    KEYS_OF_IMAGES,
    USUAL_KEYS,
    HasImageCounts,
    ImageCounts,
    Presence,
    all_scores,
)
from segmetrics.statistics.curves import CurveCounts
from segmetrics.statistics.differences import (
    ScoreDifferences,
    ScoreOfModel,
    score_differences,
)
from segmetrics.statistics.intervals import (
    Comparison,
    Interval,
    compare,
    confidence_interval,
    confidence_intervals,
)
from segmetrics.statistics.objects import ObjectCounts
from segmetrics.statistics.pairing import Groups
from segmetrics.statistics.panoptic import PanopticCounts
from segmetrics.statistics.planning import SampleSize, sample_size
from segmetrics.statistics.ranks import ModelPair, RankedModel, Ranking, RankingMethod, ranking
from segmetrics.statistics.resampled import ImageId, PerImage, Resampled, statistic
from segmetrics.statistics.subgroups import Slices, slices
from segmetrics.statistics.tables import Table, Tabular
from segmetrics.statistics.temperature import best_temperature
from segmetrics.statistics.treatments import Convention, Conventions, conventions
from segmetrics.statistics.weighting import ALL_SHARES, WORST, Statistic, Sums, mean_of

__all__ = [
    "ALL_SHARES",
    "FORMULAS",
    "KEYS",
    "KEYS_OF_IMAGES",
    "USUAL_KEYS",
    "WORST",
    "CalibrationCounts",
    "CaseScores",
    "ClassDifferences",
    "ClassOfModel",
    "Comparison",
    "Convention",
    "Conventions",
    "CurveCounts",
    "Groups",
    "HasImageCounts",
    "ImageCounts",
    "ImageId",
    "Interval",
    "Method",
    "ModelPair",
    "ObjectCounts",
    "PanopticCounts",
    "PerImage",
    "Presence",
    "RankedModel",
    "Ranking",
    "RankingMethod",
    "Resampled",
    "SampleSize",
    "ScoreDifferences",
    "ScoreOfModel",
    "Slices",
    "Statistic",
    "Sums",
    "Table",
    "Tabular",
    "all_scores",
    "best_temperature",
    "class_differences",
    "compare",
    "confidence_interval",
    "confidence_intervals",
    "conventions",
    "mean_of",
    "ranking",
    "sample_size",
    "score_differences",
    "slices",
    "statistic",
]
