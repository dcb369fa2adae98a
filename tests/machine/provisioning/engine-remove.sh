#!/bin/bash
# Everything that was installed goes, after a question that nobody is there to answer has stopped it once.
set -euo pipefail

code=0
atomic containers delete --all </dev/null || code=$?
[ ${code} -eq 2 ]
systemctl is-active container-engine
atomic -y containers delete --all
[ ! -e /etc/systemd/system/container-engine.service ]
