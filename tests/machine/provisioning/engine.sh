#!/bin/bash
# The container engine itself as a system container, as OpenShift's installer did it: by its default name.
set -euo pipefail
. /etc/sysconfig/provisioning

# Ensure the host's own engine is out of the way
systemctl stop container-engine 2>/dev/null || true
rm -f /etc/systemd/system/container-engine.service

# What can be set, before anything is
atomic pull --storage=ostree "${ENGINE_IMAGE}"
atomic images info "${ENGINE_IMAGE}" | grep -A 9 "Template variables with default value, but overridable with --set:" | grep "^STORAGE_DRIVER: overlay2"

# A dry run changes nothing
atomic install --system --display "${ENGINE_IMAGE}" | grep "^Extracting to .*/container-engine.0$"
[ ! -e /etc/systemd/system/container-engine.service ]

atomic install --system --system-package=no --storage=ostree --set STORAGE_DRIVER=devicemapper "${ENGINE_IMAGE}" | tee /tmp/install.out
grep "^Created file /etc/container-engine/engine.json$" /tmp/install.out

systemctl daemon-reload
systemctl enable container-engine
systemctl start container-engine

# A command inside, with its own exit code
atomic run container-engine cat /etc/engine/hosts
code=0
atomic run container-engine sh -c "exit 7" || code=$?
[ ${code} -eq 7 ]
atomic containers list --no-trunc -n | awk '$1 == "container-engine" && / running / { found = 1 } END { exit !found }'
