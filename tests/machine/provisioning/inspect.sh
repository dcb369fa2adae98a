#!/bin/bash
# Looking into images and containers, and a second instance of a tree that is unpacked already.
set -euxo pipefail
. /etc/sysconfig/provisioning

# An image, by its name and by its ID
mkdir -p /mnt/image /srv/tree
atomic mount $LOCAL_IMAGE /mnt/image
grep "by docker" /mnt/image/etc/made
touch /mnt/image/etc/made 2>/dev/null && exit 1
cp -a /mnt/image /srv/tree/rootfs
atomic unmount /mnt/image
id=$(atomic images list -f repo="${LOCAL_IMAGE%:1}" -q)
atomic mount "$id" /mnt/image
ls /mnt/image/exports/manifest.json
atomic unmount /mnt/image
[ -z "$(ls /mnt/image)" ]

# Many instances from one tree
for name in one two; do
    atomic install --system --system-package=no --rootfs=/srv/tree --name=$name --set NAME_OF_INSTANCE=$name $LOCAL_IMAGE
    systemctl start $name
done
[ "$(atomic containers list -n -f image=local | wc -l)" -eq 2 ]
atomic containers update --set NAME_OF_INSTANCE=changed two | grep Extracting

# A container
atomic mount one /mnt/image
grep "by docker" /mnt/image/etc/made
atomic unmount /mnt/image

atomic uninstall one
atomic uninstall two
[ -e /srv/tree/rootfs/etc/made ]
