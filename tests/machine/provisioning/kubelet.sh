#!/bin/sh
# The kubelet on a minion, as the fragments of an OpenStack Magnum cluster template set it up.
. /etc/sysconfig/heat-params

set -eux

_prefix=${CONTAINER_INFRA_PREFIX:-docker.io/openstackmagnum/}
mkdir -p /opt/cni
_addtl_mounts=',{"type":"bind","source":"/opt/cni","destination":"/opt/cni","options":["bind","rw","slave","mode=777"]}'
atomic install --storage ostree --system --set=ADDTL_MOUNTS="${_addtl_mounts}" --system-package=no --name=kubelet ${_prefix}kubernetes-kubelet:${KUBE_TAG}

# The image's files on the host are the configuration, and edited in place
sed -i '
    /^KUBE_MASTER=/ s|=.*|="--master=https://'"$KUBE_MASTER_IP"':6443"|
' /etc/kubernetes/config
sed -i '
    /^KUBELET_ARGS=/ s|=.*|="--pod-manifest-path=/etc/kubernetes/manifests --cadvisor-port=0"|
' /etc/kubernetes/kubelet

for service in kubelet; do
    echo "activating service $service"
    systemctl enable $service
    systemctl --no-block start $service
done
until [ "$(systemctl is-active kubelet)" = active ] && [ -e /var/lib/kubelet/started-with ]; do sleep 0.1; done
