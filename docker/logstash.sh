#!/usr/bin/env bash
# Start Logstash with its secrets in its keystore, made anew at each start and encrypted with LOGSTASH_KEYSTORE_PASS,
# which Logstash needs to read it.
set -euo pipefail
cd /usr/share/logstash
rm -f config/logstash.keystore
bin/logstash-keystore create
put() { printf '%s\n' "$2" | bin/logstash-keystore add "$1" --stdin; }
put ES_API_KEY "$(cat /secrets/api_key)"
put HTTP_PASSWORD "$LOGSTASH_HTTP_PASSWORD"
put TLS_KEY_PASSPHRASE "$PASSPHRASE"
unset LOGSTASH_HTTP_PASSWORD PASSPHRASE
exec /usr/local/bin/docker-entrypoint "$@"
