#!/bin/sh
# What this host is, as far as containers go, one line for each fact: to be compared with what it was.
cd / || exit 1
# Not what a payload writes.
ours() {
    (cd var/lib/syscontainers && find containers transactions trials -xdev ! -path '*/upper/*' ! -path '*/work/*' "$@")
    find etc/systemd/system etc/tmpfiles.d ! -lname /dev/null "$@"
} 2>/dev/null
{
    ours -printf '%M %U:%G %p %l\n'
    ours -type f ! -name info -exec sha256sum {} +
    # In these records are a time and a random number.
    sed -E 's/"created": ?[0-9.]+|"UUID": ?"[^"]*"//g' var/lib/syscontainers/containers/*.*/info
} 2>/dev/null | sort
for unit in steady second app; do
    systemctl show -p Id,LoadState,ActiveState,UnitFileState,MainPID $unit.service | {
        while IFS='=' read -r key value; do
            if [ "$key" = MainPID ]; then
                [ "$value" = 0 ] || read -r version <"/proc/$value/root/version"
            else
                printf '%s ' "$value"
            fi
        done
        echo "${version-}"
    }
done
