#!/bin/sh
# A stand-in for flanneld: takes its network from etcd, leaves a lease on the host, and says when it is ready.
key=$(echo -n "$FLANNELD_ETCD_PREFIX/config" | base64)
until answer=$(wget -q -O - --post-data "{\"key\":\"$key\"}" "$FLANNELD_ETCD_ENDPOINTS/v3/kv/range") &&
    echo "$answer" | grep -q '"value"'; do
    sleep 0.2
done
value=$(echo "$answer" | sed 's/.*"value":"\([^"]*\)".*/\1/' | base64 -d)
network=$(echo "$value" | sed 's/.*"Network": *"\([^"]*\)".*/\1/')
{
    echo "FLANNEL_NETWORK=$network"
    echo "FLANNEL_MTU=1450"
} >/run/flannel/subnet.env
# Not by the first process, as with flanneld's launcher.
(perl /usr/bin/notify.pl READY=1)
trap 'exit 0' TERM
while :; do sleep 0.2; done
