#!/bin/sh
# What the configuration file on the host says goes before the image's own environment.
if [ -f /etc/etcd/etcd.conf ]; then
    set -a
    . /etc/etcd/etcd.conf
    set +a
fi
exec "$@"
