#!/bin/bash
# Runs on the host before the engine: what the engine mounts in its directory has to reach the host.
set -eu
findmnt "$1" >/dev/null || mount --bind "$1" "$1"
mount --make-shared "$1"
