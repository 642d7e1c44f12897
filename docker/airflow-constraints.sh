#!/usr/bin/env bash
# Print the constraints Airflow was released with: airflow-constraints.sh 3.3.2 3.12
# Without the pins of what the wheel itself asks for: they hold the libraries of every provider at the versions of that
# day (Airflow 3.0's: elasticsearch 8, numpy 1), and Airflow's own dependencies do not need them. Airflow itself is not
# in that file, and is held to its version here.
set -euo pipefail
curl -fsSL "https://raw.githubusercontent.com/apache/airflow/constraints-$1/constraints-$2.txt" \
  | grep -vE '^(elasticsearch|elastic-transport|numpy|holidays)=='
echo "apache-airflow==$1"
