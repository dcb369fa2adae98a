#!/bin/bash
# state=absent, and the images with it.
set -euo pipefail
. /etc/sysconfig/provisioning

atomic uninstall etcd
[ -z "$(atomic containers list --json --all -f container=etcd | tr -d '[] \n')" ]
for image in $(atomic images list -f repo="${CONTAINER_INFRA_PREFIX}etcd" -q); do
    atomic --assumeyes images delete -f "${image}"
done
atomic images prune
