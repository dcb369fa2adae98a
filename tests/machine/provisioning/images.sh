#!/bin/bash
# Housekeeping of images.
set -euxo pipefail
. /etc/sysconfig/provisioning

atomic pull $LOCAL_IMAGE
atomic info $LOCAL_IMAGE | grep -x "Version: 7"
atomic images info $LOCAL_IMAGE | grep -A 1 -x "Template variables with default value, but overridable with --set:"
atomic images version $LOCAL_IMAGE | grep -E "^[0-9a-f]{12} test/local-7 1$"

atomic images tag $LOCAL_IMAGE example.com/alias:2
[ "$(atomic images list -n -f repo=example.com/alias -f tag=2 | wc -l)" -eq 1 ]
atomic images update $LOCAL_IMAGE

# Damage is found, and said
atomic images verify $LOCAL_IMAGE
echo damage >>"$(find /var/lib/syscontainers/storage/overlay -path '*/diff/etc/made')"
if atomic images verify $LOCAL_IMAGE >/tmp/verify.out; then exit 1; fi
grep "etc/made" /tmp/verify.out

# By the beginning of its ID an image goes with all its names
id=$(atomic images list -f repo=example.com/alias -q)
code=0
atomic images delete "$id" </dev/null || code=$?
[ $code -eq 2 ]
atomic --assumeyes images delete "$id" "$id"
atomic images prune | grep "^Deleting "
[ -z "$(atomic images list -q -f repo="${LOCAL_IMAGE%:1}")" ]
[ -z "$(find /var/lib/syscontainers/storage/overlay -path '*/diff/etc/made')" ]
