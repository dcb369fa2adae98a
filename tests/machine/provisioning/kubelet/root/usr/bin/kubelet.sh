#!/bin/sh
# A stand-in for the kubelet: reads its configuration from the host and mounts a volume that the host must see.
. /etc/kubernetes/config
. /etc/kubernetes/kubelet
volume=/var/lib/kubelet/pods/one/volume
mkdir -p $volume
mount -t tmpfs kubelet-volume $volume
trap 'umount $volume; exit 0' TERM
echo "kubelet $(cat /etc/kubelet-version) $KUBE_MASTER $KUBELET_ARGS" >/var/lib/kubelet/started-with
while :; do sleep 0.2; done
