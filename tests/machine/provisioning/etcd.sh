#!/bin/bash
# etcd as a system container, as the etcd role of an OpenShift installer of 2017 went about it, one task after the other.
set -euo pipefail
. /etc/sysconfig/provisioning

# Pre-pull etcd image
pull_result=$(atomic pull --storage=ostree "${ETCD_IMAGE}")
grep -q "Pulling layer" <<<"${pull_result}" && echo "changed: pre-pull etcd image"

# Check etcd system container package
atomic containers list --no-trunc -a -f container=etcd -f backend=ostree -q | grep -q . && exit 1

# Ensure the unit of a package is gone; the installer does not overwrite a unit
systemctl stop etcd.service 2>/dev/null || true
systemctl disable etcd.service 2>/dev/null || true
rm -f /etc/systemd/system/etcd.service

# Install or update etcd system container package
install_result=$(atomic install --system --system-package=no --storage ostree --name=etcd \
    --set ETCD_NAME="${ETCD_NAME}" \
    --set ETCD_INITIAL_CLUSTER="${ETCD_NAME}=http://127.0.0.1:2380" \
    --set ETCD_INITIAL_CLUSTER_STATE=new \
    --set ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster-1 \
    --set ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379 \
    --set "ADDTL_MOUNTS=,{\"type\":\"bind\",\"source\":\"/etc/ssl\",\"destination\":\"/etc/ssl\",\"options\":[\"rbind\",\"ro\",\"rslave\",\"mode=755\"]}" \
    "oci:${ETCD_IMAGE#http:}")
echo "${install_result}"
[[ ${install_result} == *Extracting* ]] && echo "changed: etcd is installed"

# Ensure etcd is enabled but not yet running
systemctl is-enabled etcd
systemctl is-active etcd && exit 1

# Deploy the environment file, then start etcd
mkdir -p /etc/etcd
echo "ETCD_HEARTBEAT_INTERVAL=150" >/etc/etcd/etcd.conf
systemctl daemon-reload
systemctl start etcd
until atomic run etcd etcdctl endpoint health; do sleep 0.2; done

# A second run of the role changes nothing
atomic install --system --system-package=no --storage ostree --name=etcd "oci:${ETCD_IMAGE#http:}" | grep "already present"
atomic containers update etcd | grep "Latest version already installed"
