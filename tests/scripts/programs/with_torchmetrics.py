"""Metrics of torchmetrics: classification, regression, images, retrieval, aggregation, in batches and as functions."""

import torch
import torchmetrics as tm
import torchmetrics.functional as F
from torchmetrics import classification, image, regression, retrieval

torch.manual_seed(0)
scores, labels = torch.randn(3, 20, 4).softmax(-1), torch.randint(0, 4, (3, 20))
chances, truth = torch.rand(3, 20), torch.randint(0, 2, (3, 20))
many, several = torch.rand(3, 20, 3), torch.randint(0, 2, (3, 20, 3))
found, wanted = torch.randn(3, 20), torch.randn(3, 20)
pictures, others = torch.rand(3, 2, 3, 24, 24), torch.rand(3, 2, 3, 24, 24)


def show(name, value):
    if isinstance(value, dict):
        for key, part in value.items():
            show(f"{name}.{key}", part)
    elif isinstance(value, (tuple, list)):
        for i, part in enumerate(value):
            show(f"{name}.{i}", part)
    else:
        print(name, str(value.dtype), tuple(value.shape), [f"{v:.4g}" for v in value.double().flatten().tolist()[:12]])


def run(metric, predictions, targets):
    for p, t in zip(predictions, targets):
        metric(p, t)
    show(type(metric).__name__, metric.compute())


for average in ("micro", "macro", "weighted", "none"):
    for name in ("Accuracy", "Precision", "Recall", "F1Score", "Specificity"):
        run(getattr(classification, "Multiclass" + name)(num_classes=4, average=average), scores, labels)
for name in ("AUROC", "AveragePrecision", "ConfusionMatrix", "CohenKappa", "MatthewsCorrCoef", "CalibrationError", "HingeLoss",
             "ROC", "PrecisionRecallCurve", "StatScores", "JaccardIndex", "ExactMatch"):
    if name != "ExactMatch":
        run(getattr(classification, "Multiclass" + name)(num_classes=4), scores, labels)
    if name not in ("ExactMatch", "ROC", "PrecisionRecallCurve"):
        run(getattr(classification, "Binary" + name)(), chances, truth)
    if name not in ("CohenKappa", "CalibrationError", "HingeLoss", "ROC", "PrecisionRecallCurve"):
        run(getattr(classification, "Multilabel" + name)(num_labels=3), many, several)
for name in ("MeanSquaredError", "MeanAbsoluteError", "R2Score", "ExplainedVariance", "PearsonCorrCoef", "SpearmanCorrCoef",
             "KendallRankCorrCoef", "ConcordanceCorrCoef", "MeanAbsolutePercentageError", "LogCoshError",
             "SymmetricMeanAbsolutePercentageError"):
    run(getattr(regression, name)(), found, wanted)
run(image.PeakSignalNoiseRatio(data_range=1.0), pictures, others)
run(image.StructuralSimilarityIndexMeasure(data_range=1.0), pictures, others)
run(image.UniversalImageQualityIndex(), pictures, others)
run(image.SpectralAngleMapper(), pictures, others)
for name in ("RetrievalMAP", "RetrievalMRR", "RetrievalNormalizedDCG", "RetrievalPrecision"):
    metric = getattr(retrieval, name)()
    metric(chances.flatten(), truth.flatten(), indexes=torch.arange(60) // 10)
    show(name, metric.compute())
both = tm.MetricCollection([classification.MulticlassAccuracy(4), classification.MulticlassF1Score(4)], prefix="val_")
for p, t in zip(scores, labels):
    both.update(p, t)
show("collection", both.compute())
print(both)
mean = tm.MeanMetric()
for v in found:
    mean.update(v, weight=v.abs())
show("mean", mean.compute())
show("running", tm.wrappers.Running(tm.SumMetric(), window=2)(found[0]))
tracker = tm.wrappers.MetricTracker(classification.BinaryAccuracy())
for p, t in zip(chances, truth):
    tracker.increment()
    tracker.update(p, t)
show("tracker", tracker.compute_all())
show("pairwise", F.pairwise_cosine_similarity(found, wanted))
x = found.clone().requires_grad_()
F.structural_similarity_index_measure(pictures[0] * x[0, 0], others[0], data_range=1.0).backward()
F.mean_squared_error(x, wanted).backward()
show("gradient", x.grad[0, :4])
again = classification.MulticlassAccuracy(4)
again.persistent(True)
again.update(scores[0], labels[0])
print({k: v.tolist() if torch.is_tensor(v) else v for k, v in again.state_dict().items()}, again.metric_state.keys())
for bad in (lambda: F.accuracy(scores[0], labels[0] + 9, task="multiclass", num_classes=4),
            lambda: classification.BinaryAccuracy()(chances[0], labels[0]), lambda: F.r2_score(found[0, :1], wanted[0, :1])):
    try:
        bad()
    except Exception as e:
        print(type(e).__name__, str(e)[:160])
