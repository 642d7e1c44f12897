# Airflow with this package, installed editable over the mounted folders.
FROM apache/airflow:3.3.2-python3.12
USER root
COPY --chown=airflow:0 pyproject.toml README.md LICENSE requirements.txt /opt/project/
COPY --chown=airflow:0 plugins /opt/project/plugins
COPY --chown=airflow:0 include /opt/project/include
COPY --chown=airflow:0 sandbox /opt/project/sandbox
USER airflow
RUN pip install --no-cache-dir "elasticsearch>=9.2,<10" holidays faker orjson hatchling editables \
 && pip install --no-cache-dir --no-deps --no-build-isolation -e /opt/project
