"""Machine learning: data frame analytics, trained models, evaluation, inference.

The pure parts (`definition`, `encodings`, `training`, `importance`, `metrics`, `field_selection`) know neither HTTP nor
the cluster; `jobs`, `trained_models` and `inference` tie them to the backend; `routes` is the HTTP surface.
Classification is here. Regression, outlier detection and anomaly detection answer 501 until their issue adds a module.
The scores are the sandbox's own (gradient boosted trees by xgboost): shapes, states and rules are Elasticsearch's,
figures are not.
"""

from elastic_sandbox.ml.service import MachineLearning

__all__ = ["MachineLearning"]
