#!/bin/sh
# Installs the Debian packages that the tests talk to. Without root it only says what will be skipped.
set -eu
missing=""
for package in "$@"; do
  case "$package" in
    nodejs) command -v node >/dev/null 2>&1 && continue ;;
    npm) command -v npm >/dev/null 2>&1 && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed (needs root and apt-get):$missing; tests that need them will be skipped"
  exit 0
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
# packages of servers would start them on every interface; the tests start their own on loopback
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"; trap 'rm -f "$policy"' EXIT; }
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null
