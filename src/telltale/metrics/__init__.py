"""Measures of a detector as plain functions of scores and labels; numpy only.

Label 1 means that the claim holds (forged). A higher score speaks for it, and an item counts as
forged when ``score >= threshold``. What needs both classes and gets one, or gets a NaN, raises
ValueError.
"""

from telltale.metrics.decisions import (
    Confusion,
    accuracy,
    acer,
    apcer,
    aurc,
    bpcer,
    bpcer_at_apcer,
    confusion,
    f1,
    hter,
    iinc,
    iou,
    risk_at,
    risk_coverage,
)
from telltale.metrics.groups import bootstrap, by_source, mean, per_source, worst_source
from telltale.metrics.likelihood import brier, cllr, ece, log_odds, min_cllr
from telltale.metrics.masks import (
    best_pixel_f1,
    false_alarm_area,
    permuted_pixel_f1,
    pixel_auc,
    pixel_f1,
    pixel_iou,
    pixel_mcc,
    pooled_pixel_f1,
)
from telltale.metrics.ranking import (
    OneClassError,
    Roc,
    auc,
    average_precision,
    convex_roc,
    eer,
    eer_at_point,
    roc,
    threshold_at_eer,
    threshold_at_fpr,
    tpr_at_fpr,
)

__all__ = [
    "Confusion",
    "OneClassError",
    "Roc",
    "accuracy",
    "acer",
    "apcer",
    "auc",
    "aurc",
    "average_precision",
    "best_pixel_f1",
    "bootstrap",
    "bpcer",
    "bpcer_at_apcer",
    "brier",
    "by_source",
    "cllr",
    "confusion",
    "convex_roc",
    "ece",
    "eer",
    "eer_at_point",
    "f1",
    "false_alarm_area",
    "hter",
    "iinc",
    "iou",
    "log_odds",
    "mean",
    "min_cllr",
    "per_source",
    "permuted_pixel_f1",
    "pixel_auc",
    "pixel_f1",
    "pixel_iou",
    "pixel_mcc",
    "pooled_pixel_f1",
    "risk_at",
    "risk_coverage",
    "roc",
    "threshold_at_eer",
    "threshold_at_fpr",
    "tpr_at_fpr",
    "worst_source",
]
