#!/bin/bash
# Runs what the test outside asks for. One request per line: a script in base64; one answer per line: exit status,
# standard output and standard error in base64, "-" for nothing.
port() { compgen -G '/dev/vport*p1'; } # its number is that of the virtio device
until port >/dev/null; do sleep 0.05; done
mkdir -p /run/agent
exec 3<>"$(port)"
echo ready >&3
while read -r line <&3; do
    base64 -d <<<"$line" >/run/agent/script
    bash /run/agent/script </dev/null >/run/agent/out 2>/run/agent/err 3>&-
    status=$?
    out=$(base64 -w0 /run/agent/out) err=$(base64 -w0 /run/agent/err)
    echo "$status ${out:--} ${err:--}" >&3
done
