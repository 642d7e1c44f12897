"""Outlier detection: score every row; no trained model is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from elastic_sandbox.ml.analysis_config import analysis_of
from elastic_sandbox.ml.encodings import numeric_column
from elastic_sandbox.ml.outliers import detect_outliers
from elastic_sandbox.ml.rows import Rows

if TYPE_CHECKING:
    from elastic_sandbox.ml.field_selection import Selection
    from elastic_sandbox.ml.job_run import JobRun

DEFAULT_THRESHOLD: Final = 0.1
"""`feature_influence_threshold`: what the documentation of the API gives as default."""


def run_outliers(run: JobRun, rows: Rows, selection: Selection) -> None:
    """Everything after loading: scores, feature influence, results."""
    options = analysis_of(run.job.config)[1]
    run.admit(rows, selection, len(rows.ids))
    names = selection.features
    matrix = np.column_stack([numeric_column(rows.columns[name]) for name in names])
    found = detect_outliers(matrix, options, lambda percent: run.advance("computing_outliers", percent))
    parameters = {
        "feature_influence_threshold": DEFAULT_THRESHOLD,
        "method": "ensemble",
        "n_neighbors": found.neighbors,
    }
    run.report(
        "outlier_detection_stats",
        {"parameters": parameters | options, "timing_stats": {"elapsed_time": run.elapsed_ms}},
    )
    threshold = options.get("feature_influence_threshold", DEFAULT_THRESHOLD)
    influenced = options["compute_feature_influence"]

    def results(picked: list[int]) -> list[dict[str, Any]]:
        written = []
        for row in picked:
            result: dict[str, Any] = {"outlier_score": float(found.scores[row])}
            if influenced and found.scores[row] >= threshold:
                shares = found.influence(row).tolist()
                result["feature_influence"] = [
                    {"feature_name": name, "influence": share} for name, share in zip(names, shares, strict=True)
                ]
            written.append(result)
        return written

    run.write_results({doc_id: i for i, doc_id in enumerate(rows.ids)}, results, "writing_results")
