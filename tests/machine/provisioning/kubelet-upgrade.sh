#!/bin/bash
# The upgrade of every Kubernetes service of a node, as Magnum's upgrade fragment did it.
. /etc/sysconfig/heat-params
set -eux

declare -A service_image_mapping
service_image_mapping=( ["kubelet"]="kubernetes-kubelet" ["kube-proxy"]="kubernetes-proxy" )

SERVICE_LIST=$(atomic containers list -f container=kube -q --no-trunc)

for service in ${SERVICE_LIST}; do
    systemctl stop ${service}
done

for service in ${SERVICE_LIST}; do
    atomic pull --storage ostree "${CONTAINER_INFRA_PREFIX}${service_image_mapping[${service}]}:${new_kube_tag}"
done

for service in ${SERVICE_LIST}; do
    atomic containers update --rebase ${CONTAINER_INFRA_PREFIX}${service_image_mapping[${service}]}:${new_kube_tag} ${service}
done

for service in ${SERVICE_LIST}; do
    systemctl restart ${service}
done

for service in ${SERVICE_LIST}; do
    atomic --assumeyes images delete ${CONTAINER_INFRA_PREFIX}${service_image_mapping[${service}]}:${KUBE_TAG}
done

atomic images prune
