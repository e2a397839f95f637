#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The baseline: what a careful shell script does to bring VMs up and down, with the same end state as bangerd's and the same no-op VMM.
# Asks nothing, retries nothing, keeps no database.   script.sh networks-up|networks-down|up|down FILE
# FILE: "name uid tap bridge" a line (networks: "bridge cidr"). From the environment: BASE INITRD SIZE STATE RUN CGROUP VMM DM.
set -euo pipefail

vm_up() {
  local name=$1 uid=$2 tap=$3 bridge=$4 dir=$STATE/$2 run=$RUN/$1 disk
  mkdir -p "$dir" "$run"
  printf '{"uid":"%s","name":"%s","nics":[{"tap":"%s","bridge":"%s"}]}\n' "$uid" "$name" "$tap" "$bridge" >"$dir/vm.json"
  if [ "$DM" = 1 ]; then
    fallocate -l 8M "$dir/root.cow"
    disk=$(losetup --find --show "$dir/root.cow")
    dmsetup create --noudevsync "bench-$name" --table "0 $((SIZE / 512)) snapshot $BASE_LOOP $disk PO 128"
  else
    cp --sparse=always "$BASE" "$dir/root.img"
    truncate -s "$SIZE" "$dir/root.img"
  fi
  cp "$INITRD" "$dir/initrd"
  printf 'name=%s\n' "$name" >>"$dir/initrd"
  sync "$dir"/root.* "$dir/vm.json" "$dir"
  ip tuntap add dev "$tap" mode tap vnet_hdr
  ip link set dev "$tap" alias "bench:uid=$uid"
  ip link set dev "$tap" master "$bridge" up
  mkdir "$CGROUP/$name"
  ( echo "$BASHPID" >"$CGROUP/$name/cgroup.procs"
    exec setsid "$VMM" -name "bench,process=$name" -uuid "$uid" -qmp "unix:$run/qmp.sock,server=on,wait=off" </dev/null >/dev/null 2>&1 ) &
}

vm_down() {
  local name=$1 uid=$2 tap=$3 dir=$STATE/$2 loop
  echo 1 >"$CGROUP/$name/cgroup.kill"
  while ! grep -q 'populated 0' "$CGROUP/$name/cgroup.events"; do sleep 0.001; done
  ip link del dev "$tap"
  if [ "$DM" = 1 ]; then
    dmsetup remove --noudevsync "bench-$name"
    loop=$(losetup --noheadings --output NAME --associated "$dir/root.cow")
    losetup --detach "$loop"
  fi
  rmdir "$CGROUP/$name"
  rm -rf "$dir" "${RUN:?}/$name"
}

network_up() {
  ip link add "$1" type bridge
  ip addr add "$2" dev "$1"
  ip link set "$1" up
  nft "add table ip bench-$1; add chain ip bench-$1 post { type nat hook postrouting priority srcnat; }; add rule ip bench-$1 post iifname $1 masquerade"
}

network_down() {
  ip link del "$1"
  nft "delete table ip bench-$1"
}

what=$1 list=$2
if [ "$DM" = 1 ] && [ "$what" = up ]; then
  BASE_LOOP=$(losetup --noheadings --output NAME --associated "$BASE" | head -1)
  [ -n "$BASE_LOOP" ] || BASE_LOOP=$(losetup --find --show --read-only "$BASE")
fi
while read -r -a row; do
  case $what in
    up) vm_up "${row[@]}" ;;
    down) vm_down "${row[@]}" ;;
    networks-up) network_up "${row[@]}" ;;
    networks-down) network_down "${row[@]}" ;;
    *) echo "script.sh: unknown word $what" >&2; exit 2 ;;
  esac
done <"$list"
# The base's loop goes with the last VM.
if [ "$DM" = 1 ] && [ "$what" = networks-down ]; then
  for loop in $(losetup --noheadings --output NAME --associated "$BASE"); do losetup --detach "$loop"; done
fi
