#!/bin/bash
# Images that are not in a registry: saved by another engine, built by this host's own, and one that is only run.
set -euxo pipefail
. /etc/sysconfig/provisioning

# "docker save", and both ways to name the file
atomic install --system --system-package=no --storage ostree --name=saved dockertar:/$ARCHIVE | grep "Extracting"
atomic install --system --system-package=no --storage ostree --name=saved dockertar:$ARCHIVE | grep "already present"
systemctl start saved
atomic containers list --json -f container=saved | grep '"state": "running"'

# "docker build"
atomic install --system --system-package=no --name=built docker:$BUILT_IMAGE
systemctl start built
[ "$(atomic containers list -n -f container=built | wc -l)" -eq 1 ]

# A command beside a stopped container, with its root and its configuration
atomic stop built
atomic run built cat /etc/made | grep "by docker"

# Installing this one means running it, and so does running it
atomic install --system --system-package=no $ONCE_IMAGE | grep "ran once with hello"
atomic run --set MESSAGE=goodbye $ONCE_IMAGE | grep "ran once with goodbye"
[ -z "$(atomic containers list -a -q -f container=once)" ]

atomic --assumeyes containers delete saved built
