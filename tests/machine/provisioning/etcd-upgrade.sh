#!/bin/bash
# Upgrade, a mishap, and back: the module that OpenShift's installer drove system containers with, as shell.
set -euo pipefail
. /etc/sysconfig/provisioning

image_name() {
    atomic containers list --json --all -f container=etcd |
        python3 -c 'import json, sys; rows = json.load(sys.stdin); print(rows[0]["image_name"] if rows else "")'
}

[ "$(image_name)" = "${ETCD_IMAGE#http:}" ]

# state=latest with another value: the service runs, so it is restarted
out=$(atomic containers update --set=ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://127.0.0.1:4001 etcd)
[[ ${out} == *Extracting* ]] && echo "changed: values"

# A newer image
atomic pull --storage ostree "${ETCD_NEW_IMAGE}"
atomic containers update --rebase "${ETCD_NEW_IMAGE}" etcd | grep "Extracting to"
[ "$(image_name)" = "${ETCD_NEW_IMAGE#http:}" ]

# One that needs a value which nobody gave: the old version goes on
if atomic containers update --rebase "${ETCD_NEEDY_IMAGE}" etcd 2>/tmp/update.err; then exit 1; fi
grep "still contains an unreplaced value for: ''ETCD_CIPHER_SUITES''" /tmp/update.err
systemctl is-active etcd
[ "$(image_name)" = "${ETCD_NEW_IMAGE#http:}" ]

# state=rollback
out=$(atomic containers rollback etcd)
[[ ${out} == *"Rolling back"* ]] && echo "changed: rolled back"
[ "$(image_name)" = "${ETCD_IMAGE#http:}" ]
until atomic run etcd etcdctl endpoint health; do sleep 0.2; done
