#!/bin/bash
# The steps of docs/atomic.md ("Containers that the ancestor installed") for a container called app.
set -euxo pipefail
. /etc/sysconfig/provisioning

syscontainer pull $APP_IMAGE
cp /var/lib/containers/atomic/app/info /root/app.info
systemctl disable --now app
rm /etc/systemd/system/app.service /etc/tmpfiles.d/app.conf
syscontainer install --now --name app --set GREETING=hello $APP_IMAGE
rm -r /var/lib/containers/atomic/app*
