#!/bin/bash
# Everything at once, from what was pulled before, as a timer would do it at night.
set -euo pipefail
. /etc/sysconfig/provisioning

atomic pull --storage ostree $GOOD_IMAGE
atomic pull --storage ostree $BAD_IMAGE
code=0
atomic containers update --all >/tmp/update-all.out || code=$?
cat /tmp/update-all.out
[ $code -eq 1 ]
sed -n '/^SUMMARY$/,$p' /tmp/update-all.out >/tmp/summary
grep -Eq '^good .* Updated now *$' /tmp/summary
grep -Eq '^bad .* Failed *$' /tmp/summary
grep -Eq '^kubelet .* Updated *$' /tmp/summary

# The one that failed goes on as it was
systemctl is-active good bad
atomic run good cat /etc/version | grep -x new
atomic run bad cat /etc/version | grep -x old
atomic -y containers delete good bad
