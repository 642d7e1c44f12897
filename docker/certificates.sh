#!/usr/bin/env bash
# An authority and a certificate per server, made once: runs in Elasticsearch's image, into the volume on /certs.
# Private keys are encrypted with TLS_KEY_PASSPHRASE. Steps: Elastic's page "Install Elasticsearch with Docker".
set -euo pipefail
tools=/usr/share/elasticsearch/bin
cd "$(mktemp -d)"

# A folder appears whole or not at all: an interrupted run is made good by the next.
if [ ! -d /certs/ca ]; then
  "$tools/elasticsearch-certutil" ca --silent --pem --out "$PWD/ca.zip"
  unzip -q ca.zip -d new
  mv new/ca /certs/ca
fi
if [ ! -d /certs/shipper ]; then
  "$tools/elasticsearch-certutil" cert --silent --pem --in /stack/instances.yml --pass "$TLS_KEY_PASSPHRASE" \
    --ca-cert /certs/ca/ca.crt --ca-key /certs/ca/ca.key --out "$PWD/certificates.zip"
  unzip -q certificates.zip -d certificates
  for name in elasticsearch kibana logstash shipper; do
    rm -rf "/certs/$name"
    mv "certificates/$name" "/certs/$name"
  done
fi
# The servers' users are in the group root.
chown -R root:root /certs
find /certs -type d -exec chmod 750 {} +
find /certs -type f -exec chmod 640 {} +
# Nobody but this service needs to sign.
chmod 600 /certs/ca/ca.key
echo "Certificates are in place."
