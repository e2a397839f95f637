# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts in tools/: installs what is missing and builds. Quiet and quick when there is nothing to do.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"

# The package lists are data of this one file; docs and tests read them from here (tools/lib/setup.sh --list).
packages_build=(g++ meson ninja-build pkg-config ccache python3
  libyaml-cpp-dev librocksdb-dev libnl-3-dev libnftnl-dev libmnl-dev libdevmapper-dev libssh2-1-dev
  libspdlog-dev libfmt-dev doctest-dev libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev libcli11-dev
  libext2fs-dev libarchive-dev libssl-dev liblzma-dev libzstd-dev zlib1g-dev)
packages_run=(qemu-system-x86 linux-image-cloud-amd64 openssh-client)
packages_demo=(busybox-static dropbear-bin iproute2)
packages_test=(git clang-format-19 clang-tidy-19 pyflakes3 e2fsprogs xfsprogs nftables xz-utils zstd)
packages_testhost=(qemu-system-x86 linux-image-amd64 busybox-static e2fsprogs kmod iproute2)  # the generic kernel: the cloud one has no 9p

say() { printf '%s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || { say "this needs root for: $* (run it as root, or install sudo)"; exit 1; }
  sudo "$@"
}

# install_missing PACKAGE...: asks dpkg once; asks apt only when something is missing.
install_missing() {
  local missing=() have
  have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' || true)
  local package
  for package in "$@"; do
    grep -qxF "$package" <<<"$have" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build_dir DIR MESON-OPTION...: configures DIR once and brings it up to date; only $targets where that is set.
build_dir() {
  local dir=$1
  shift
  if [ ! -f "$dir/build.ninja" ]; then
    say "configuring $dir"
    meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
    rm -f "$dir.log"
  fi
  local log
  log=$(mktemp)
  # shellcheck disable=SC2086
  set -- ${targets:-}
  if ninja -C "$dir" -n "$@" | grep -q 'no work to do'; then rm -f "$log"; return 0; fi
  say "building $dir"
  if [ -t 2 ]; then
    ninja -C "$dir" "$@" >&2 || { rm -f "$log"; exit 1; }
  else
    ninja -C "$dir" "$@" >"$log" 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\]' "$log" >&2; rm -f "$log"; exit 1; }
  fi
  rm -f "$log"
}
