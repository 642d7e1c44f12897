#!/usr/bin/env bash
# Start Kibana with its secrets in its keystore, made anew at each start.
set -euo pipefail
cd /usr/share/kibana
rm -f config/kibana.keystore
bin/kibana-keystore create
put() { printf '%s' "$2" | bin/kibana-keystore add "$1" --stdin --force; }
put elasticsearch.password "$KIBANA_PASSWORD"
put xpack.encryptedSavedObjects.encryptionKey "$KIBANA_ENCRYPTION_KEY"
put server.ssl.keyPassphrase "$TLS_KEY_PASSPHRASE"
unset KIBANA_PASSWORD KIBANA_ENCRYPTION_KEY TLS_KEY_PASSPHRASE
exec /usr/local/bin/kibana-docker
