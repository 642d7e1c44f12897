"""Machine learning: data frame analytics, trained models, evaluation, inference.

The pure parts (`definition`, `encodings`, `target`, `training`, `outliers`, `importance`, `metrics`,
`field_selection`) know neither HTTP nor the cluster; `jobs`, `job_run`, the analyses, `trained_models` and `inference`
tie them to the backend; `routes` is the HTTP surface. `anomaly` is anomaly detection.
The scores are the sandbox's own (gradient boosted trees by xgboost, neighbours by scikit-learn): shapes, states and
rules are Elasticsearch's, figures are not.
"""

from elastic_sandbox.ml.service import MachineLearning

__all__ = ["MachineLearning"]
