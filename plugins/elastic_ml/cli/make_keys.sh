#!/usr/bin/env bash
# Makes one API key per *.key.json beside this script. For whoever may make keys: the new key can do what its role says,
# and never more than who makes it.
#
#   ELASTICSEARCH_URL        such as https://es.example.org:9200
#   ELASTIC_ADMIN_API_KEY    an encoded API key with manage_api_key; or
#   ELASTIC_ADMIN_USER       a user with that privilege; the password is asked for
#   ELASTIC_CA_CERTS         path of the CA certificate, where the system does not know it
#
# Each key goes into <name>.key, readable by you alone, and nowhere else: not on the screen, not into the process list.
# It is the extra `api_key` of the Airflow connection. A key that is there already is not made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077

: "${ELASTICSEARCH_URL:?set ELASTICSEARCH_URL to the address of Elasticsearch}"
if [[ -n "${ELASTIC_ADMIN_API_KEY:-}" ]]; then
  credentials="header = \"Authorization: ApiKey ${ELASTIC_ADMIN_API_KEY}\""
elif [[ -n "${ELASTIC_ADMIN_USER:-}" ]]; then
  read -r -s -p "Password of ${ELASTIC_ADMIN_USER}: " password && echo
  password=${password//\\/\\\\}
  credentials="user = \"${ELASTIC_ADMIN_USER}:${password//\"/\\\"}\""
else
  echo "Set ELASTIC_ADMIN_API_KEY, or ELASTIC_ADMIN_USER and type the password." >&2
  exit 2
fi

failed=0
for request in *.key.json; do
  name=${request%.key.json}
  if [[ -s "${name}.key" ]]; then
    echo "kept     ${name}: ${PWD}/${name}.key is there; remove it to make another"
    continue
  fi
  # The credentials come by a pipe: arguments are seen by everybody on this machine.
  if ! answer=$(curl --silent --show-error --config <(printf '%s\n' "${credentials}") \
      ${ELASTIC_CA_CERTS:+--cacert "${ELASTIC_CA_CERTS}"} \
      --request POST "${ELASTICSEARCH_URL%/}/_security/api_key" \
      --header 'Content-Type: application/json' --data-binary "@${request}"); then
    echo "failed   ${name}: ${ELASTICSEARCH_URL} was not reached" >&2
    failed=1
    continue
  fi
  key=$(sed -n 's/.*"encoded" *: *"\([^"]*\)".*/\1/p' <<<"${answer}")
  if [[ -z "${key}" ]]; then
    echo "failed   ${name}: ${answer}" >&2
    failed=1
    continue
  fi
  printf '%s' "${key}" > "${name}.key"
  echo "made     ${name}: ${PWD}/${name}.key"
done
exit "${failed}"
