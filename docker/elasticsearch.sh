#!/usr/bin/env bash
# Start Elasticsearch with a keystore that KEYSTORE_PASSWORD encrypts; it holds the passphrase of the TLS keys.
# Made anew at each start. The image's own entry point adds the password of `elastic` and gives the keystore's
# password to Elasticsearch. It takes both from stdin, the keystore's first, and so does this.
set -euo pipefail
cd /usr/share/elasticsearch
rm -f config/elasticsearch.keystore
printf '%s\n%s\n' "$KEYSTORE_PASSWORD" "$KEYSTORE_PASSWORD" | bin/elasticsearch-keystore create -p
for layer in http transport; do
  printf '%s\n%s\n' "$KEYSTORE_PASSWORD" "$TLS_KEY_PASSPHRASE" \
    | bin/elasticsearch-keystore add -x "xpack.security.$layer.ssl.secure_key_passphrase"
done
unset TLS_KEY_PASSPHRASE
exec /usr/local/bin/docker-entrypoint.sh eswrapper
