#!/bin/sh
# Runs a command in a network namespace of its own with nothing but loopback, because Orthanc binds every interface.
set -eu
if [ "$(id -u)" -eq 0 ]; then
  unshare -n true 2>/dev/null && exec unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$@"
else
  unshare -rn true 2>/dev/null && exec unshare -rn sh -c 'ip link set lo up 2>/dev/null || ifconfig lo up; exec "$@"' sh "$@"
fi
echo "no network namespace can be made here; tests with Orthanc will be skipped" >&2
exec "$@"
