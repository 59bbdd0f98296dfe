#!/bin/sh
# Runs as the first process of an emulated host, inside its new namespaces: host.sh NAME HOME KEEP COMMAND...
# It gives the host its own name, /proc, directories and /etc files, then becomes COMMAND (Mininet's shell).
# KEEP: directories, separated by colons, that stay visible even when they lie below the machine's /tmp.
set -e
name=$1 home=$2 keep=$3
shift 3
hostname "$name"
mount -t proc proc /proc

# The machine's own file systems are for reading, so that a lab's `rm -rf /` ends at the host's private directories.
# A guard against accidents, not a wall: root on a host may take it down.
{ findmnt -rno TARGET,VFS-OPTIONS /; findmnt -rno TARGET,VFS-OPTIONS --real; } | sort -u | while read -r target options; do
    mount -o "remount,bind,$options,ro" "$(printf '%b' "$target")" || true
done 2>/dev/null

IFS=:
for directory in $keep; do
    case $directory in /tmp/*)
        mkdir -p "$home$directory"
        mount --bind "$directory" "$home$directory"
    esac
done
unset IFS
mount --rbind "$home/tmp" /tmp
mount --bind "$home/log" /var/log
mount --bind "$home/etc/hosts" /etc/hosts
bundle=/etc/ssl/certs/ca-certificates.crt
[ ! -e $bundle ] || mount --bind "$home/etc/ca-certificates.crt" $bundle
[ -L /etc/resolv.conf ] || [ ! -e /etc/resolv.conf ] || mount --bind "$home/etc/resolv.conf" /etc/resolv.conf
mount --bind "$home/run" /run
for switch in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$switch"; done 2>/dev/null || true
ip link set lo up
# a session of its own around the terminal that is its standard input: Ctrl-C reaches what runs there
exec setsid --ctty "$@"
