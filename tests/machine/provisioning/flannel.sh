#!/bin/sh
# flannel for a cluster without an orchestrator, in the order of a cloud-init of 2017; etcd runs already.
set -eux
. /etc/sysconfig/provisioning

atomic install --system --name flanneld --system-package=no \
    --set FLANNELD_ETCD_ENDPOINTS=http://127.0.0.1:2379 --set FLANNELD_ETCD_PREFIX=/coreos.com/network --set AFTER=etcd.service \
    ${CONTAINER_INFRA_PREFIX}flannel:v0.9 | tee /tmp/install.out
grep '^Extracting to ' /tmp/install.out

# What systemctl says of a unit without [Install] is no failure
systemctl enable flanneld || true

# The network is put into etcd while flannel waits for it: the start returns when flannel has said that it is ready
systemctl --no-block start flanneld
until [ "$(systemctl is-active flanneld)" = activating ]; do sleep 0.1; done
key=$(printf %s /coreos.com/network/config | base64)
value=$(printf %s '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}' | base64 -w 0)
curl -sf http://127.0.0.1:2379/v3/kv/put -X POST -d "{\"key\": \"$key\", \"value\": \"$value\"}"
systemctl start flanneld

. /run/flannel/subnet.env
test "$FLANNEL_NETWORK" = 10.5.0.0/16
atomic run flanneld cat /run/flannel/subnet.env
test "$(atomic containers list -n -f container=flannel | awk '{print $1}')" = flanneld

atomic stop flanneld
test "$(atomic containers list -q)" = etcd
atomic containers list -a | grep -w inactive
atomic run flanneld
