#!/bin/sh
# Runs as the first process of an emulated host, inside its new namespaces: host.sh NAME HOME COMMAND...
# It mounts what HOME/fstab says (hostroot.py), moves in, and lets go of the machine's files, so that nothing is left to
# uncover; then it becomes COMMAND.
set -e
name=$1 home=$2
shift 2
hostname "$name"
ip link set lo up
mount --all --fstab "$home/fstab"

# The root of the mount namespace is one folder above what the host sees. For the kernel its processes are in a chroot,
# and so may make no user namespace, in which they would have every capability again.
cd "$home/top"
# the host's own interfaces; a container that hides parts of /sys lets no user namespace have one
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs host/sys || echo "$name has no /sys" >&2
# of the kernel's settings, those of the host's own network are for writing
mount -o remount,bind,ro,nosuid,nodev,noexec host/proc
# a daemon that may do nothing else listens at whatever port it is to
echo 0 >host/proc/sys/net/ipv4/ip_unprivileged_port_start
for switch in host/proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$switch"; done 2>/dev/null || true

# the programs that are left to run, until the chroot
ln -s host/usr host/bin host/sbin host/lib* host/proc .
pivot_root . host/mnt
umount -l host/mnt
exec chroot host "$@" 2>&1 # until here, errors were for the log of the set-up
