"""Does similarity tell right from wrong? Two histograms."""

import numpy as np
from matplotlib.figure import Figure

from fashion_clip.plots.style import BLUE, RED, new_figure, plain, quiet
from fashion_clip.predictions import Predictions


def similarities(predictions: Predictions) -> Figure:
    """How similar photos are to the label they were given, the right ones and the wrong ones.

    Raises:
        ValueError: no photos.
    """
    from sklearn.metrics import roc_auc_score

    hits, similarity = predictions.hits, predictions.top.similarity[:, 0].astype(np.float64)
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(similarity, 40).tolist()
    for rows, colour, name in ((hits, BLUE, "right"), (~hits, RED, "wrong")):
        of_all = predictions.weights[rows] / predictions.weights.sum()
        label = f"{name} ({rows.sum():,} photos)"
        axes.hist(similarity[rows], edges, weights=of_all, color=colour, alpha=0.3)
        axes.hist(
            similarity[rows], edges, weights=of_all, color=colour, histtype="step", linewidth=1.5, label=label
        )
    axes.set(xlabel="similarity to the given label (cosine)", ylabel="share of photos")
    axes.legend(frameon=False)
    quiet(axes)
    told = "all photos are wrong" if not hits.any() else "all photos are right"
    if 0 < hits.sum() < len(hits):
        area = roc_auc_score(hits, similarity, sample_weight=predictions.weights)
        told = f"similarity tells right from wrong with AUROC {area:.2f}"
    figure.suptitle(f"{plain(predictions.attribute)}: {told}")
    return figure
