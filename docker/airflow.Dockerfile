# Airflow as adopters have it: the official image and the wheel, held to the constraints Airflow was released with.
# The build context has one wheel in build/dist: `make stack-up` sees to it.
ARG AIRFLOW_VERSION=3.3.2
ARG PYTHON_VERSION=3.12
FROM apache/airflow:${AIRFLOW_VERSION}-python${PYTHON_VERSION}
ARG AIRFLOW_VERSION
ARG PYTHON_VERSION
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --chown=airflow:0 docker/airflow-constraints.sh build/dist/airflow_provider_elastic_ml-*.whl /tmp/wheel/
RUN bash /tmp/wheel/airflow-constraints.sh "${AIRFLOW_VERSION}" "${PYTHON_VERSION}" >/tmp/wheel/constraints.txt \
 && pip install --no-cache-dir --constraint /tmp/wheel/constraints.txt "apache-airflow==${AIRFLOW_VERSION}" /tmp/wheel/*.whl
