"""Agreement with scikit-learn on drawn inputs of every task, dtype, layout and dimension."""

from __future__ import annotations

from functools import partial
from math import nan

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import segmetrics
from definition import plain_confusion_matrix
from segmetrics import functional
from strategies import Case, cases

close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
pytestmark = pytest.mark.filterwarnings("ignore")  # scikit-learn's, of undefined scores

PER_CLASS = {
    functional.mean_iou: sk.jaccard_score,
    functional.dice_score: sk.f1_score,
    functional.precision: sk.precision_score,
    functional.recall: sk.recall_score,
    partial(functional.fbeta_score, beta=2.0): partial(sk.fbeta_score, beta=2.0),
}


def accumulated(metric: segmetrics.ConfusionMatrix, case: Case) -> segmetrics.ConfusionMatrix:
    """The metric, updated image by image."""
    for image in range(len(case.target)):
        metric.update(case.preds[image : image + 1], case.target[image : image + 1])
    return metric


@settings(max_examples=60)
@given(cases("multiclass"))
def test_multiclass_confusion_matrix_is_sklearns(case: Case) -> None:
    classes = case.labels
    truth, predicted = case.pairs()
    metric = accumulated(segmetrics.ConfusionMatrix(**case.arguments), case)
    expected = np.zeros((classes + 1, classes + 1), int)
    if len(truth):
        expected = sk.confusion_matrix(truth, predicted, labels=range(classes + 1))
    np.testing.assert_array_equal(metric.compute(), expected[:classes, :classes])
    plain = plain_confusion_matrix(case.preds, case.target, **case.arguments)
    np.testing.assert_array_equal(plain, expected[:classes, :classes])
    np.testing.assert_array_equal(metric.abstained, expected[:classes, classes])
    assert metric.compute().dtype == metric.abstained.dtype == torch.int64


@settings(max_examples=45)
@given(cases("binary"))
def test_binary_confusion_matrix_is_sklearns(case: Case) -> None:
    truth, predicted = case.pairs()
    metric = accumulated(segmetrics.ConfusionMatrix(**case.arguments), case)
    expected = np.zeros((3, 3), int)
    if len(truth):
        expected = sk.confusion_matrix(truth, predicted, labels=range(3))
    np.testing.assert_array_equal(metric.compute(), expected[:2, :2])
    plain = plain_confusion_matrix(case.preds, case.target, **case.arguments)
    np.testing.assert_array_equal(plain, expected[:2, :2])
    np.testing.assert_array_equal(metric.abstained, expected[:2, 2])


@settings(max_examples=45)
@given(cases("multilabel"))
def test_multilabel_confusion_matrix_is_sklearns_of_each_channel(case: Case) -> None:
    metric = accumulated(segmetrics.ConfusionMatrix(**case.arguments), case)
    plain = plain_confusion_matrix(case.preds, case.target, **case.arguments)
    for matrix, plainly, abstained, (truth, predicted) in zip(
        metric.compute(), plain, metric.abstained, case.channels(), strict=True
    ):
        expected = np.zeros((3, 3), int)
        if len(truth):
            expected = sk.confusion_matrix(truth, predicted, labels=range(3))
        np.testing.assert_array_equal(matrix, expected[:2, :2])
        np.testing.assert_array_equal(plainly, expected[:2, :2])
        np.testing.assert_array_equal(abstained, expected[:2, 2])


@settings(max_examples=25)
@given(cases("multilabel", ignoring=False))
def test_multilabel_confusion_matrix_is_sklearns_of_indicators(case: Case) -> None:
    matrices = functional.confusion_matrix(case.preds, case.target, **case.arguments)
    truth, predicted = (
        np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]) for x in (case.truth, case.predicted)
    )
    if truth.shape[1] > 1:  # one column is read as labels there
        np.testing.assert_array_equal(matrices, sk.multilabel_confusion_matrix(truth, predicted))


@settings(max_examples=25)
@given(cases("multiclass"), st.sampled_from(["true", "pred", "all"]))
def test_normalized_confusion_matrix_is_sklearns(case: Case, normalize: str) -> None:
    truth, predicted = case.pairs()
    assume(len(truth))
    classes = case.labels
    matrix = functional.confusion_matrix(
        case.preds, case.target, normalize=normalize, **case.arguments
    )
    expected = sk.confusion_matrix(truth, predicted, labels=range(classes + 1), normalize=normalize)
    close(matrix, expected[:classes, :classes])
    assert matrix.dtype == torch.float32


@settings(max_examples=60)
@given(
    cases("multiclass"),
    st.sampled_from(["macro", "micro", "weighted", "none"]),
    st.sampled_from([0.0, 1.0]),
    st.booleans(),
)
def test_multiclass_scores_are_sklearns(
    case: Case, average: str, zero_division: float, include_background: bool
) -> None:
    truth, predicted = case.pairs()
    first = 0 if include_background else 1
    kept = [label for label in range(first, case.labels) if label not in case.ignored]
    assume(len(truth) and kept)
    if average == "weighted":  # without support scikit-learn falls back to other averages
        assume(np.isin(truth, kept).any())
    for ours, theirs in PER_CLASS.items():
        score = ours(
            case.preds,
            case.target,
            average=average,
            zero_division=zero_division,
            include_background=include_background,
            **case.arguments,
        )
        expected = theirs(
            truth,
            predicted,
            labels=kept,
            average=None if average == "none" else average,
            zero_division=zero_division,
        )
        if average == "none":
            assert score.shape == (case.labels - first,)
            left_out = set(range(first, case.labels)) - set(kept)
            assert all(score[label - first].isnan() for label in left_out)
            score = score[[label - first for label in kept]]
        close(score, expected)


@settings(max_examples=45)
@given(cases("multiclass"), st.sampled_from(["macro", "weighted", "none"]))
def test_undefined_classes_stay_out_of_averages_as_in_sklearn(case: Case, average: str) -> None:
    truth, predicted = case.pairs()
    kept = [label for label in range(case.labels) if label not in case.ignored]
    assume(len(truth) and (average == "none" or np.isin(truth, kept).any()))
    if average == "weighted":  # where all defined classes weigh nothing we say 0/0
        assume(np.isin(truth, np.intersect1d(predicted, kept)).any())
    for ours, theirs in list(PER_CLASS.items())[1:]:  # jaccard_score refuses nan
        score = ours(case.preds, case.target, average=average, **case.arguments)
        expected = theirs(
            truth,
            predicted,
            labels=kept,
            average=None if average == "none" else average,
            zero_division=nan,
        )
        close(score[kept] if average == "none" else score, expected)


@settings(max_examples=60)
@given(cases("multiclass"), st.sampled_from(["macro", "weighted"]))
def test_mean_iou_leaves_absent_classes_out(case: Case, average: str) -> None:
    truth, predicted = case.pairs()
    kept = [c for c in range(case.labels) if c not in case.ignored]
    present = [c for c in kept if (truth == c).any() or (predicted == c).any()]
    assume(np.isin(truth, kept).any())
    expected = sk.jaccard_score(truth, predicted, labels=present, average=average)
    close(functional.mean_iou(case.preds, case.target, average=average, **case.arguments), expected)


@settings(max_examples=45)
@given(cases("binary"), st.sampled_from([0.0, 1.0]))
def test_binary_scores_are_sklearns_of_the_foreground(case: Case, zero_division: float) -> None:
    truth, predicted = case.pairs()
    assume(len(truth))
    for ours, theirs in PER_CLASS.items():
        score = ours(case.preds, case.target, zero_division=zero_division, **case.arguments)
        expected = theirs(
            truth, predicted, labels=[1], average="macro", zero_division=zero_division
        )
        assert score.shape == ()
        close(score, expected)


@settings(max_examples=60)
@given(
    cases("multilabel", ignoring=False),
    st.sampled_from(["macro", "micro", "weighted", "none"]),
    st.sampled_from([0.0, 1.0]),
)
def test_multilabel_scores_are_sklearns(case: Case, average: str, zero_division: float) -> None:
    truth, predicted = (
        np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]) for x in (case.truth, case.predicted)
    )
    assume(truth.shape[1] > 1)
    if average == "weighted":
        assume(truth.any())
    for ours, theirs in PER_CLASS.items():
        score = ours(
            case.preds, case.target, average=average, zero_division=zero_division, **case.arguments
        )
        expected = theirs(
            truth,
            predicted,
            average=None if average == "none" else average,
            zero_division=zero_division,
        )
        close(score, expected)


@settings(max_examples=60)
@given(cases("multilabel"))
def test_multilabel_scores_with_ignored_entries_are_sklearns_of_each_channel(case: Case) -> None:
    channels = case.channels()
    assume(all(len(truth) for truth, _ in channels))
    for ours, theirs in PER_CLASS.items():
        score = ours(case.preds, case.target, average="none", zero_division=1.0, **case.arguments)
        expected = [
            theirs(truth, predicted, labels=[1], average="macro", zero_division=1.0)
            for truth, predicted in channels
        ]
        close(score, expected)


@settings(max_examples=60)
@given(cases())
def test_agreement_scores_are_sklearns(case: Case) -> None:
    truth, predicted = case.pairs()
    assume(len(truth))
    arguments = case.arguments
    close(
        functional.pixel_accuracy(case.preds, case.target, **arguments),
        sk.accuracy_score(truth, predicted),
    )
    close(
        functional.matthews_corrcoef(case.preds, case.target, zero_division=0.0, **arguments),
        sk.matthews_corrcoef(truth, predicted),
    )
    labels = range(case.labels + 1)
    expected = nan  # one label everywhere: 0/0
    if len({*truth.tolist(), *predicted.tolist()}) > 1:
        expected = sk.cohen_kappa_score(truth, predicted, labels=labels)
    close(functional.cohen_kappa(case.preds, case.target, **arguments), expected)


@settings(max_examples=60)
@given(cases("multiclass"), st.sampled_from(["macro", "micro", "none"]))
def test_specificity_is_sklearns_recall_of_the_other_labels(case: Case, average: str) -> None:
    truth, predicted = case.pairs()
    kept = [c for c in range(case.labels) if c not in case.ignored]
    assume(len(truth))
    matrices = sk.multilabel_confusion_matrix(truth, predicted, labels=kept)
    tn, fp = matrices[:, 0, 0], matrices[:, 0, 1]
    if average == "micro":
        tn, fp = tn.sum(), fp.sum()
    expected = np.where(tn + fp > 0, tn / np.maximum(tn + fp, 1), nan)
    if average == "macro":
        expected = np.nanmean(expected)
    score = functional.specificity(case.preds, case.target, average=average, **case.arguments)
    close(score[kept] if average == "none" else score, expected)
